import os

from aigc_pipeline.core.context import RuntimeConfig
from aigc_pipeline.core.seeding import seed_for


def test_where_a_system_does_not_tell_which_cores_are_ours_all_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)

    assert RuntimeConfig().num_threads == 6
    assert RuntimeConfig(threads=2).num_threads == 2


def test_the_same_name_is_another_seed_in_another_stage_and_in_another_run(context):
    other_stage = context.for_stage("another_stage", 1, context.fingerprint, context.out)

    assert context.seed_for("init") == seed_for(context.seed, "some_stage", "init")
    assert other_stage.seed_for("init") == seed_for(context.seed, "another_stage", "init")
