import pytest

from aigc_pipeline.cli.outcome import next_commands, sentence_of
from aigc_pipeline.core.store import Store
from aigc_pipeline.records import Manifest, SynthesisPlan

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
