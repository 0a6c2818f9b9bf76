import os

from aigc_pipeline.core.context import RuntimeConfig


def test_where_a_system_does_not_tell_which_cores_are_ours_all_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)

    assert RuntimeConfig().num_threads == 6
    assert RuntimeConfig(threads=2).num_threads == 2
