import io

import pytest
from rich.console import Console

from aigc_pipeline.cli.outcome import describe_plan, markdown_outcome, next_commands, print_outcome, sentence_of
from aigc_pipeline.core.store import Store
from aigc_pipeline.records import ClassPlan, Manifest, SynthesisPlan

UNPUBLISHED = Manifest(
    fingerprint="f", path="stages/publish/f", created_by="publish@1", version=None, directory=None, table_sha256=None,
    num_real=0, num_synthetic=0, num_recommended=0, reason="not proven", sentence="No.",
)  # fmt: skip


@pytest.mark.parametrize(("total", "advised"), [(500_000, ["train.total_samples=1000000"]), (0, [])])
def test_a_longer_training_is_advised_in_samples_which_no_cap_cuts(total, advised, tmp_path):
    store = Store(tmp_path)
    planned = SynthesisPlan(
        fingerprint="f", path="stages/plan/f", created_by="plan@1", classes=(), total_samples=total,
        samples_per_second=1e4, minutes=1, num_bytes=0,
    )  # fmt: skip
    with store.open_partial("plan", "f"):
        store.commit("plan", "f", planned)

    commands = [command for _, command in next_commands(UNPUBLISHED, tmp_path)]

    assert [command.split()[-1] for command in commands if "train." in command] == advised


@pytest.mark.parametrize(
    ("clause", "sentence"),
    [
        ("not proven", "Not proven."),
        ("accepted.", "Accepted."),
        ("publish.when is 'always'", "publish.when is 'always'."),
    ],
)
def test_a_clause_becomes_a_sentence_and_a_setting_keeps_its_case(clause, sentence):
    assert sentence_of(clause) == sentence


PUBLISHED = UNPUBLISHED.model_copy(
    update={
        "version": "v0003", "directory": "versions/v0003", "num_real": 1_200, "num_synthetic": 300, "num_recommended": 40
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("computed", "is_said"), [({"publish"}, False), ({"train"}, True), (set(), True), (None, False)]
)
def test_nothing_new_is_said_where_the_last_stage_was_answered_from_the_store(computed, is_said, tmp_path):
    console = Console(file=io.StringIO(), width=200)
    print_outcome(console, PUBLISHED, workspace=tmp_path, computed=computed)
    said = console.file.getvalue()

    assert ("Nothing new" in said) == is_said
    assert "v0003: 1,200 real and 300 synthetic rows, 40 of them recommended" in said
    if computed is not None:
        page = markdown_outcome(PUBLISHED, workspace=tmp_path, computed=computed)
        assert ("Nothing new" in page) == is_said


def test_a_plan_is_described_in_minutes_of_training():
    cat, dog = (
        ClassPlan(class_name=name, have=9, want=want, method="vary", expectation="")
        for name, want in (("cat", 20), ("dog", 30))
    )
    planned = SynthesisPlan(
        fingerprint="f", path="p", created_by="test", classes=(cat, dog), total_samples=9, samples_per_second=1,
        minutes=2.5, num_bytes=3_000_000,
    )  # fmt: skip

    assert describe_plan(planned).startswith(
        "A full run would aim at 50 accepted samples: about 2 min 30 s of training and 3.0 MB on disk."
    )
