"""What encoders are fitted on, how long they serve, and what is noticed about samples that came since, on a real folder."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from aigc_pipeline.config import load_config
from aigc_pipeline.core.context import Context
from aigc_pipeline.core.samples import ROLES
from aigc_pipeline.core.store import Store
from aigc_pipeline.data.shards import read_table
from aigc_pipeline.features import Classifier, RandomNetwork
from aigc_pipeline.pipeline import StageCaller
from aigc_pipeline.records import DatasetSplits, Embeddings
from aigc_pipeline.stages.clean import clean
from aigc_pipeline.stages.embed import EmbedConfig, _encoder_for, _write_features, embed
from aigc_pipeline.stages.ingest import ingest, list_source
from aigc_pipeline.stages.split import split

BRIGHTNESS = {"cat": 80, "dog": 160}


def add(folder: Path, name: str, numbers: range, brightness: int) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        noise = np.random.default_rng([number, brightness]).normal(brightness, 20, (8, 8))
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")


@pytest.fixture
def folder(tmp_path):
    for name, brightness in BRIGHTNESS.items():
        add(tmp_path / "pictures", name, range(80), brightness)
    return tmp_path / "pictures"


def embedded(folder, workspace, reporter, *overrides: str) -> Embeddings:
    fixed = ("embed.encoder.kind=random_network", "runtime.device=cpu")
    config = load_config(source=folder, overrides=(*fixed, *overrides))
    run = StageCaller.of(config, Context(Store(workspace), config.seed, config.runtime, reporter), None)
    raw = run(ingest, config.ingest, list_source(config.ingest))
    return run(embed, config.embed, run(split, config.split, raw, run(clean, config.clean, raw)))


def test_the_first_run_and_one_without_new_samples_compare_nothing(folder, tmp_path, recording_reporter):
    assert embedded(folder, tmp_path / "w", recording_reporter).arrivals is None

    (folder / "cat" / "0.png").unlink()

    assert embedded(folder, tmp_path / "w", recording_reporter).arrivals is None


def test_samples_like_the_others_are_counted_and_raise_no_warning(folder, tmp_path, recording_reporter):
    embedded(folder, tmp_path / "w", recording_reporter)
    for name, brightness in BRIGHTNESS.items():
        add(folder, name, range(100, 103), brightness)

    arrivals = embedded(folder, tmp_path / "w", recording_reporter).arrivals

    assert arrivals is not None
    assert (arrivals.num_samples, arrivals.warning) == (6, None)
    assert arrivals.num_unlike <= 1


@pytest.mark.parametrize("refit_after", ["serves", "refitted"])
def test_samples_unlike_their_class_are_named_whether_the_encoder_serves_or_not(
    folder, tmp_path, recording_reporter, refit_after
):
    embedded(folder, tmp_path / "w", recording_reporter)
    add(folder, "dog", range(100, 106), BRIGHTNESS["cat"])  # wrong labels
    if refit_after == "refitted":
        add(folder, "cat", range(200, 208), BRIGHTNESS["cat"])

    found = embedded(folder, tmp_path / "w", recording_reporter)

    assert found.refitted == (refit_after == "refitted")
    assert found.arrivals is not None
    assert found.arrivals.warning is not None
    assert "dog 6" in found.arrivals.warning
    assert len(found.arrivals.unlike) == found.arrivals.num_unlike >= 6
    assert any(found.arrivals.warning in note for note in recording_reporter.notes)


def last_split(workspace: Path) -> DatasetSplits:
    found = Store(workspace).previous("split", DatasetSplits)
    assert found is not None
    return found


def test_encoders_see_the_training_role_and_stop_by_selection(folder, tmp_path, recording_reporter, monkeypatch):
    seen, fit = [], RandomNetwork.fit

    def remember(self, train, selection, **rest):
        seen.append((train.ids, selection.ids))
        return fit(self, train, selection, **rest)

    monkeypatch.setattr(RandomNetwork, "fit", remember)
    embedded(folder, tmp_path / "w", recording_reporter)

    place = tmp_path / "w" / last_split(tmp_path / "w").path
    ids = [read_table(place / f"{role}.arrow")["sample_id"].to_pylist() for role in ("train", "selection")]
    assert seen == [tuple(ids)] * 2


@pytest.mark.parametrize("changed", ["embed.judge.num_features=7", "seed=1", "embed.refit_after=0", "a small class"])
def test_an_encoder_serves_no_longer_where_what_shaped_it_is_another(folder, tmp_path, recording_reporter, changed):
    first = embedded(folder, tmp_path / "w", recording_reporter)
    add(folder, "cat", range(100, 102), BRIGHTNESS["cat"])
    serving = embedded(folder, tmp_path / "w", recording_reporter)
    if changed == "a small class":
        add(folder, "emu", range(3), 120)
    other = embedded(folder, tmp_path / "w", recording_reporter, *([changed] if "=" in changed else []))

    assert (first.refitted, serving.refitted, other.refitted) == (True, False, True)
    assert serving.fingerprint != first.fingerprint  # other features lie beside the same encoder
    assert serving.trained_on == first.trained_on < other.trained_on


def test_growth_is_counted_from_the_samples_that_the_encoder_was_fitted_on(folder, tmp_path, recording_reporter):
    found = [embedded(folder, tmp_path / "w", recording_reporter)]
    for start in (100, 103):
        for name, brightness in BRIGHTNESS.items():
            add(folder, name, range(start, start + 3), brightness)
        found.append(embedded(folder, tmp_path / "w", recording_reporter))

    assert [each.refitted for each in found] == [True, False, True]


def test_the_last_encoder_that_serves_is_taken_also_where_an_earlier_result_is_there(
    folder, tmp_path, recording_reporter
):
    """What was fitted without a deleted sample must not be given up for what was fitted with it."""
    embedded(folder, tmp_path / "w", recording_reporter)
    train = tmp_path / "w" / last_split(tmp_path / "w").path / "train.arrow"
    (folder / read_table(train)["uri"][0].as_py()).unlink()
    serves_on = embedded(folder, tmp_path / "w", recording_reporter)
    without = embedded(folder, tmp_path / "w", recording_reporter, "embed.refit_after=0")
    plain = embedded(folder, tmp_path / "w", recording_reporter)

    assert serves_on.encoder_sha256 != without.encoder_sha256
    assert plain.encoder_sha256 == without.encoder_sha256


def test_the_referee_is_measured_on_selection(folder, tmp_path, recording_reporter):
    embedded(folder, tmp_path / "w", recording_reporter)
    store, splits = Store(tmp_path / "w"), last_split(tmp_path / "w")
    context = Context(store, 0).for_stage("embed", 1, "f", tmp_path)
    cells = {role: read_table(store.workspace / splits.path / f"{role}.arrow") for role in ROLES}

    def accuracy(known: str) -> float | None:
        """Write features with a referee that knows one role by heart."""
        pairs = zip(cells[known]["cell"].to_pylist(), cells[known]["label"].to_pylist(), strict=True)
        labels = {str(cell): label for cell, label in pairs}

        def logits(found):
            said = np.array([labels.get(str(cell), -1) for cell in found.to_pylist()])
            return None, np.stack([said == 0, said == 1, said == -1], axis=1)

        encoder = SimpleNamespace(has_head=True, encode=lambda x: np.zeros((len(x), 1)), encode_with_logits=logits)
        return _write_features(context, splits, encoder, encoder)  # type: ignore[arg-type] # what is asked of one

    assert [accuracy(role) for role in ROLES] == [0, 0, 1, 0]


def test_so_many_samples_as_are_needed_train_the_encoder():
    config = EmbedConfig(min_train=100)

    assert isinstance(_encoder_for(config, 100), Classifier)
    assert isinstance(_encoder_for(config, 99), RandomNetwork)
