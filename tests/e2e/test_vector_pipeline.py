import io
import json
import shutil
import sys
from collections import Counter
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from aigc_pipeline import read_manifest
from aigc_pipeline.cli import app
from aigc_pipeline.cli.console import ConsoleReporter
from aigc_pipeline.cli.history import show_history
from aigc_pipeline.core.context import Context
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.store import Store
from aigc_pipeline.core.tables import CANDIDATES, LEDGER, METADATA
from aigc_pipeline.data.shards import read_table
from aigc_pipeline.inference.rebuilding import rebuild
from aigc_pipeline.metrics import uplift
from aigc_pipeline.metrics.command import WITHOUT, synthetic_weight
from aigc_pipeline.metrics.command_run import CommandError
from aigc_pipeline.metrics.worth import MAX_CLASS_CURVES
from aigc_pipeline.pipeline import plan_pipeline
from aigc_pipeline.publishing.history import history_of
from aigc_pipeline.publishing.versions import resolve, verify
from tests.e2e.running import fast_config, run

pytestmark = pytest.mark.e2e


def test_the_same_command_again_reuses_every_stage_and_publishes_nothing_new(vector_workspace, recording_reporter):
    before = sorted((vector_workspace / "versions").iterdir())

    manifest = run(fast_config("mixture"), vector_workspace, recording_reporter)

    assert {event for _, event in recording_reporter.stages} == {"reused"}
    assert len(recording_reporter.stages) == 12
    assert sorted((vector_workspace / "versions").iterdir()) == before
    assert manifest.version == "v0001"


def test_changing_when_to_publish_retrains_nothing(vector_workspace, recording_reporter):
    run(fast_config("mixture", "publish.when=unless_harmful"), vector_workspace, recording_reporter)

    computed = [name for name, event in recording_reporter.stages if event == "started"]
    assert computed == ["publish"]


def test_a_run_that_finds_an_earlier_version_again_makes_it_the_latest(vector_workspace):
    other = run(fast_config("mixture", "publish.when=unless_harmful"), vector_workspace)
    assert resolve(vector_workspace).name == other.version

    again = run(fast_config("mixture"), vector_workspace)

    assert again.version == "v0001"
    assert resolve(vector_workspace).name == "v0001"


def test_the_ledger_says_why_accepted_samples_are_not_published_where_none_is(vector_workspace):
    manifest = run(fast_config("mixture", "publish.when=helps"), vector_workspace)
    ledger = pq.read_table(vector_workspace / "versions" / str(manifest.version) / "ledger.parquet").to_pandas()
    run(fast_config("mixture"), vector_workspace)

    assert manifest.num_synthetic == 0
    assert set(ledger.loc[ledger["state"] == "accepted", "detail"]) == {manifest.reason}


def test_every_published_file_has_the_listed_hash(vector_workspace):
    verify(resolve(vector_workspace))


def test_tables_hold_exactly_the_documented_columns(vector_workspace):
    version = vector_workspace / "versions" / "v0001"

    for name, columns, extra in (
        ("metadata", METADATA, ["values"]),
        ("candidates", CANDIDATES, []),
        ("ledger", LEDGER, []),
    ):
        assert pq.read_schema(version / f"{name}.parquet").names == [c.name for c in columns] + extra


def test_ledger_states_sum_to_inputs_plus_candidates_and_join_the_other_tables(vector_workspace):
    version = vector_workspace / "versions" / "v0001"
    ledger = pq.read_table(version / "ledger.parquet").to_pandas()
    candidates = pq.read_table(version / "candidates.parquet").to_pandas()
    metadata = pq.read_table(version / "metadata.parquet").to_pandas()

    assert Counter(ledger["kind"])["input"] == 660
    assert Counter(ledger["kind"])["candidate"] == len(candidates)
    assert ledger["sample_id"].is_unique
    assert set(candidates["sample_id"]) <= set(ledger["sample_id"])
    assert set(metadata["sample_id"]) <= set(ledger["sample_id"])
    refused = ledger[ledger["state"].isin(["rejected", "quarantined"])]
    assert refused["reason"].notna().all()
    assert ledger[ledger["state"].isin(["kept", "accepted"])]["reason"].isna().all()


def test_synthetic_rows_are_train_rows_and_never_recommended_without_a_verdict_that_says_so(vector_workspace):
    frame = read_manifest(vector_workspace / "versions" / "v0001", recommended_only=False)
    synthetic = frame[frame["origin"] != "real"]
    outcome = json.loads((vector_workspace / "versions" / "v0001" / "metrics.json").read_text())["EvalReport"][
        "verdict"
    ]["outcome"]

    assert len(synthetic) > 0
    assert set(synthetic["split"]) == {"train"}
    assert set(synthetic["recommended"]) <= {outcome == "helps"} | {False}
    assert set(frame[frame["origin"] == "real"]["recommended"]) == {True}


def test_published_weights_are_relative_to_the_real_rows_to_train_on(vector_workspace):
    version = vector_workspace / "versions" / "v0001"
    rows = read_manifest(version, recommended_only=False)
    verdict = json.loads((version / "metrics.json").read_text())["EvalReport"]["verdict"]
    num_real = int(((rows["origin"] == "real") & (rows["split"] == "train")).sum())
    synthetic = rows[rows["origin"] != "real"]
    weight = synthetic_weight(num_real, len(synthetic), dose=verdict["dose"], loss_weight=verdict["loss_weight"])

    assert synthetic["weight"].to_numpy() == pytest.approx(weight, rel=1e-5)


def test_seeds_are_distinct_and_probabilities_are_probabilities(vector_workspace):
    candidates = pq.read_table(vector_workspace / "versions" / "v0001" / "candidates.parquet").to_pandas()

    assert candidates["seed"].is_unique
    generated = candidates[candidates["origin"] == "generated"]
    assert len(generated) > 0
    assert generated["p_real"].between(0, 1).all()
    assert generated["real_percentile"].between(0, 1, inclusive="right").all()
    assert generated["ood_p"].between(0, 1, inclusive="right").all()
    assert candidates[candidates["origin"] == "classic"]["ood_p"].isna().all()
    assert candidates["train_distance_quantile"].between(0, 1, inclusive="right").all()


def test_the_critic_says_nothing_about_varied_rows_beside_generated_ones(vector_workspace):
    candidates = pq.read_table(vector_workspace / "versions" / "v0001" / "candidates.parquet").to_pandas()
    beside = candidates[candidates["origin"] == "classic"]

    assert len(beside) > 0
    assert beside[["p_real", "log_density_ratio", "real_percentile", "accept_probability"]].isna().all().all()
    assert set(beside["reject_reason"].dropna()) <= {
        "label_agreement",
        "in_distribution",
        "not_memorised",
        "distinct",
        "class_quota",
    }


def test_a_critic_that_cannot_tell_generated_rows_filters_nothing_and_no_record_says_that_it_did(tmp_path):
    run(fast_config("mixture", "calibrate.min_auc=0.99", "calibrate.max_auc=0.995"), tmp_path)
    table = pq.read_table(tmp_path / "versions" / "v0001" / "candidates.parquet").to_pandas()
    card = (tmp_path / "versions" / "v0001" / "README.md").read_text()

    assert table["accept_probability"].isna().all()
    assert table["p_real"][table["origin"] == "generated"].notna().all()
    assert "Not filtered by probability" in card


def test_varied_real_samples_have_no_critic_and_parents_among_all_real_samples_but_tests(tmp_path, recording_reporter):
    """A critic of varied real samples tells which parents the encoder knows."""
    run(fast_config("mixture", "train.generator.kind=classic"), tmp_path, recording_reporter)
    version = tmp_path / "versions" / "v0001"
    table, card = pq.read_table(version / "candidates.parquet").to_pandas(), (version / "README.md").read_text()
    real = pq.read_table(version / "metadata.parquet", columns=["sample_id", "role"]).to_pandas()
    roles = dict(zip(real["sample_id"], real["role"], strict=True))

    assert table[["p_real", "accept_probability"]].isna().all().all()
    assert "Not filtered by probability" in card
    assert any("no class is generated" in note for note in recording_reporter.notes)
    assert {roles[parent] for ids in table["parent_ids"] for parent in ids} == {"train", "calibration", "selection"}


def test_new_samples_move_no_old_one_and_retrain_nothing(tmp_path, recording_reporter):
    run(fast_config("mixture"), tmp_path)
    first = _roles(tmp_path)

    run(fast_config("mixture", "ingest.source.counts=[307,307,60]"), tmp_path, recording_reporter)
    second = _roles(tmp_path)

    assert len(second) == len(first) + 14
    assert {content: second[content] for content in first} == first
    notes = " ".join(recording_reporter.notes)
    assert "the last encoder still serves" in notes
    assert "the last checkpoint still serves" in notes
    checkpoints = {path.parent.name for path in (tmp_path / "stages/train").glob("*/generator.safetensors")}
    assert len(checkpoints) == 1
    assert Counter(second.values())["test"] > Counter(first.values())["test"]
    assert _latest_report(tmp_path)["verdict"]["test_opening"] == 2
    before, after = history_of(tmp_path)
    assert (before.num_arrived, after.num_arrived) == (None, 14)
    assert (before.num_real, after.num_real) == (660, 674)
    assert after.weights_sha256 == before.weights_sha256
    assert after.num_unlike is not None
    assert after.num_unlike <= 3
    assert not any("unlike the earlier ones" in note for note in recording_reporter.notes)


def test_what_was_trained_without_a_deleted_sample_stays_in_later_runs(tmp_path, recording_reporter):
    """An earlier result of the plain command lets the old generator serve; it must not come back."""
    fewer = "ingest.source.counts=[299,300,60]"
    run(fast_config("mixture"), tmp_path)
    serves_on = run(fast_config("mixture", fewer), tmp_path)
    erased = run(fast_config("mixture", fewer, "train.retrain_after=0", "embed.refit_after=0"), tmp_path)

    plain = run(fast_config("mixture", fewer), tmp_path, recording_reporter)
    computed = [name for name, event in recording_reporter.stages if event == "started"]
    recording_reporter.stages.clear()
    again = run(fast_config("mixture", fewer), tmp_path, recording_reporter)

    before, after = history_of(tmp_path)[-2:]
    assert before.weights_sha256 != after.weights_sha256
    assert serves_on.version != erased.version == plain.version == again.version
    assert resolve(tmp_path).name == erased.version
    assert computed == ["embed", "train"]
    assert {event for _, event in recording_reporter.stages} == {"reused"}
    assert len(list((tmp_path / "stages/train").glob("*/generator.safetensors"))) == 2


def test_the_history_is_a_table_that_fits_and_json_with_every_number(vector_workspace):
    outputs = []
    for as_json in (False, True):
        text = io.StringIO()
        reporter = ConsoleReporter(Console(file=text, width=80, color_system=None))
        show_history(vector_workspace, as_json=as_json, reporter=reporter)
        outputs.append(text.getvalue())
    table, rows = outputs[0], json.loads(outputs[1])

    metrics = json.loads((vector_workspace / "versions" / "v0001" / "metrics.json").read_text())
    assert "v0001" in table
    assert rows[0]["uplift"] == metrics["EvalReport"]["verdict"]["uplift"]["value"]
    assert rows[0]["num_real"] == 660
    assert rows[0]["baseline_accuracy"] is not None


def test_a_pruned_workspace_goes_on_as_one_that_was_not(vector_workspace, tmp_path, recording_reporter):
    whole, pruned = tmp_path / "whole", tmp_path / "pruned"
    shutil.copytree(vector_workspace, whole)
    second = fast_config("mixture", "ingest.source.counts=[306,302,62]")
    run(second, whole)
    shutil.copytree(whole, pruned)
    arguments = ["prune", str(pruned), "--keep-versions", "1"]

    shown = CliRunner().invoke(app, arguments)
    removed = CliRunner().invoke(app, [*arguments, "--yes"])
    assert (shown.exit_code, removed.exit_code) == (0, 0)
    assert "--yes" in shown.output
    assert [each.name for each in (pruned / "versions").iterdir()] == [resolve(whole).name]
    for stage in ("split", "embed", "calibrate", "evaluate"):
        assert len([each for each in (pruned / "stages" / stage).iterdir() if each.is_dir()]) == 1, stage
    assert rebuild(pruned, (), None, reporter=recording_reporter).different == []
    run(second, pruned, recording_reporter)
    assert {event for _, event in recording_reporter.stages} == {"reused"}

    third = fast_config("mixture", "ingest.source.counts=[308,304,64]")
    manifests = [run(third, workspace) for workspace in (whole, pruned)]
    assert _roles(whole) == _roles(pruned)
    assert manifests[0].version == manifests[1].version
    assert manifests[0].table_sha256 == manifests[1].table_sha256
    openings = [_latest_report(workspace)["verdict"]["test_opening"] for workspace in (whole, pruned)]
    assert openings[0] == openings[1] > 1


def _roles(workspace) -> dict[str, str]:
    latest = (workspace / "stages/split/LATEST").read_text().split()[0]
    table = read_table(workspace / "stages/split" / latest / "assignments.arrow")
    return dict(zip(table["sha256"].to_pylist(), table["role"].to_pylist(), strict=True))


def _latest_report(workspace) -> dict[str, Any]:
    latest = (workspace / "stages/evaluate/LATEST").read_text().split()[0]
    report: dict[str, Any] = json.loads((workspace / "stages/evaluate" / latest / "record.json").read_text())
    return report


def test_log_density_ratios_are_finite_and_clipped(vector_workspace):
    candidates = pq.read_table(vector_workspace / "versions" / "v0001" / "candidates.parquet").to_pandas()

    candidates = candidates[candidates["origin"] == "generated"]
    assert np.isfinite(candidates["log_density_ratio"]).all()
    assert candidates["log_density_ratio"].abs().max() <= 8


def test_real_rows_can_stay_references_to_the_users_own_files(vector_workspace):
    manifest = run(fast_config("mixture", "publish.real=reference"), vector_workspace)

    assert manifest.directory is not None
    frame = read_manifest(vector_workspace / manifest.directory, recommended_only=False)
    real = frame[frame["origin"] == "real"]
    assert len(real) == manifest.num_real == 660
    assert real["file_name"].isna().all()
    assert (real["sha256"] == real["source_sha256"]).all()


SMALLEST = ("ingest.source.counts=[2,2,2]", "train.total_samples=500", "evaluate.total_samples=500")
"""One sample a class to train on, one to test on."""


def test_two_samples_a_class_hold_none_back_and_still_make_a_version(tmp_path):
    manifest = run(fast_config("mixture", *SMALLEST), tmp_path)

    assert manifest.num_real == 6


def test_a_budget_for_an_unknown_class_is_refused_before_anything_is_trained(tmp_path, recording_reporter):
    gates = "filter.gates=[{kind: rejection_sampling, class_keep_share: {nobody: 0.5}}]"

    with pytest.raises(ConfigError, match="nobody"):
        run(fast_config("mixture", *SMALLEST, gates), tmp_path, recording_reporter)

    assert [name for name, event in recording_reporter.stages if event == "started"] == ["ingest", "clean", "split"]


def test_a_command_that_is_not_there_is_refused_before_anything_is_listed(tmp_path, recording_reporter):
    argv = "evaluate.command.argv=[no-such-trainer, '{manifest}', '{output}', '{seed}']"

    with pytest.raises(CommandError, match="no-such-trainer"):
        run(fast_config("mixture", *SMALLEST, argv), tmp_path, recording_reporter)

    assert recording_reporter.stages == []


NEAREST_CENTRE = """
import json, sys
import numpy as np, pandas as pd
manifest, output, seed = sys.argv[1:]
frame = pd.read_parquet(manifest)
train, test = frame[frame["split"] == "train"], frame[frame["split"] == "test"]
names = sorted(set(train["class_name"]))
weights = {name: train.loc[train["class_name"] == name, "weight"] for name in names}
centres = [np.average(np.stack(train.loc[weights[name].index, "values"]), 0, weights[name]) for name in names]
distances = np.stack([((np.stack(test["values"]) - each) ** 2).sum(1) for each in centres])
json.dump({"predictions": dict(zip(test["sample_id"], np.array(names)[distances.argmin(0)]))}, open(output, "w"))
"""


def test_your_own_command_decides_and_one_that_fails_is_known_before_our_network_is_trained(
    vector_workspace, tmp_path, monkeypatch, recording_reporter
):
    workspace, script = tmp_path / "copy", tmp_path / "train.py"
    shutil.copytree(vector_workspace, workspace)
    trainings: list[str] = []
    fit = uplift.fit_downstream
    monkeypatch.setattr(
        uplift, "fit_downstream", lambda arm, *rest, **more: trainings.append(arm.name) or fit(arm, *rest, **more)
    )
    argv = f"evaluate.command.argv=[{sys.executable}, {script}, '{{manifest}}', '{{output}}', '{{seed}}']"
    config = fast_config("mixture", argv, "evaluate.command.num_seeds=2", "evaluate.decide_by=command")
    last_opening = _latest_report(workspace)["verdict"]["test_opening"]

    script.write_text("raise SystemExit('no GPU here')")
    with pytest.raises(CommandError, match="no GPU here"):
        run(config, workspace)
    assert trainings == []
    script.write_text(NEAREST_CENTRE)
    manifest = run(config, workspace, recording_reporter)

    verdict = _latest_report(workspace)["verdict"]
    assert trainings
    assert (verdict["baseline"], verdict["test_opening"]) == (WITHOUT, last_opening + 1)
    assert not (vector_workspace / "versions" / str(manifest.version)).exists()
    assert verdict["sentence"] in recording_reporter.notes


def test_a_plan_that_wants_nothing_makes_a_version_of_the_real_samples(tmp_path):
    nothing = ("plan.strategy={kind: explicit, counts: {}}", "synthesize.audit_per_class=0")

    manifest = run(fast_config("mixture", *SMALLEST, *nothing), tmp_path)

    assert (manifest.num_real, manifest.num_synthetic) == (6, 0)
    assert "the plan wants no synthetic sample" in manifest.reason


@pytest.mark.parametrize("min_selection", [300, 1])
def test_the_trainings_that_a_plan_names_are_those_that_an_evaluation_takes(
    vector_workspace, tmp_path, monkeypatch, recording_reporter, min_selection
):
    workspace = tmp_path / "copy"
    shutil.copytree(vector_workspace, workspace)
    config = fast_config("mixture", f"evaluate.min_selection={min_selection}", "evaluate.num_subsamples=3")
    trainings: list[str] = []
    fit = uplift.fit_downstream
    monkeypatch.setattr(
        uplift, "fit_downstream", lambda arm, *rest, **more: trainings.append(arm.name) or fit(arm, *rest, **more)
    )

    run(config, workspace, recording_reporter)
    plan_pipeline(config, context=Context(Store(workspace), config.seed, config.runtime, recording_reporter))

    [expected] = recording_reporter.tables["evaluation to expect"]
    curve = len(config.evaluate.learning_shares) * config.evaluate.num_seeds
    num_curves = 1 + MAX_CLASS_CURVES  # where accuracy rose, overall or in a class as well; the mixture has three
    assert expected["trainings at most"] - len(trainings) in [curve * left for left in range(num_curves + 1)]
    [minutes] = recording_reporter.tables["minutes to expect"]
    together = minutes.pop("together, without judging")
    assert list(minutes) == ["encoder, at most", "generator", "candidates", "evaluation, at most"]
    assert minutes["evaluation, at most"] > 0  # the others may be under half a hundredth of a minute
    assert together == pytest.approx(sum(minutes.values()), abs=0.03)
