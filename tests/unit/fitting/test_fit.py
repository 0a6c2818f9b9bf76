"""What a training is given: whose samples choose its weights, and the settings that it was asked for with."""

from types import SimpleNamespace

import pytest

from aigc_pipeline.data.shards import read_table
from aigc_pipeline.fitting import fit as module
from aigc_pipeline.fitting.fit import _adaptation, fit
from aigc_pipeline.fitting.told import Told


class StartedError(Exception):
    """The loop would run now."""


@pytest.fixture
def given(tiny_run, tmp_path, monkeypatch):
    """Start the training of the tiny run with changed settings; returns what loop and validation are given."""

    def start(**changed: object) -> dict[str, object]:
        found: dict[str, object] = {}

        def loop(_networks, _phases, data, settings, **rest):
            found.update(rest, data=data, settings=settings)
            raise StartedError

        def validation(_synthesizer, _encoder, selection, **rest):
            found.update(rest, selection=selection)

        monkeypatch.setattr(module, "run_loop", loop)
        monkeypatch.setattr(module, "validation_of", validation)
        config, done = tiny_run.config.train.model_copy(update=changed), tiny_run.done
        context = tiny_run.context.for_stage("train", 1, "f", tmp_path)
        with pytest.raises(StartedError):
            fit(context, config, done.planned, done.splits, done.embeddings)
        return found

    return start


@pytest.fixture
def ids_of(tiny_run):
    folder = tiny_run.context.files_of(tiny_run.done.splits)
    return lambda role: read_table(folder / f"{role}.arrow")["sample_id"].to_pylist()


def test_the_training_role_is_shown_and_the_selection_role_chooses(tiny_run, given, ids_of):
    found = given()
    told = Told.read(tiny_run.context, tiny_run.done.splits, ("class",))

    assert len(found["data"].x) == len(ids_of("train"))
    assert found["selection"].ids == ids_of("selection")
    assert (told.train.ids, told.selection.ids) == (ids_of("train"), ids_of("selection"))


def test_settings_reach_the_loop_and_what_chooses(tiny_run, given):
    found = given(patience=3, max_copy_share=0.5, checkpoint_share=0.25)
    total = tiny_run.done.planned.total_samples

    assert (found["patience"], found["max_copy_share"]) == (3, 0.5)
    assert found["every_samples"] == int(tiny_run.done.planned.validate_share * total)
    assert (found["settings"].total_samples, found["settings"].checkpoint_every_samples) == (total, total // 4)
    assert found["settings"].frozen == ()


def test_what_a_warm_start_freezes_does_not_move(tiny_run, given):
    folder = tiny_run.context.files_of(tiny_run.done.checkpoint)
    warm = module.FitSettings.model_validate(
        {"generator": {"kind": "mlp_gan"}, "warm_start": {"path": folder, "frozen": ["discriminator"]}}
    ).warm_start

    assert given(warm_start=warm)["settings"].frozen == ("discriminator",)


@pytest.mark.parametrize("adapts", [True, False])
@pytest.mark.parametrize("shape", [(3, 8, 8), (2,)])
def test_augmentation_follows_overfitting_where_the_family_asks_for_it_and_there_are_pictures(
    monkeypatch, adapts, shape
):
    monkeypatch.setattr(module, "adaptation_of", lambda *_, **rest: rest["every_samples"])
    config = SimpleNamespace(generator=SimpleNamespace(adapts_augmentation=adapts))
    synthesizer = SimpleNamespace(spec=SimpleNamespace(shape=shape))

    found = _adaptation(config, synthesizer, None, 1_000, 0)  # type: ignore[arg-type]

    assert found == (20 if adapts and len(shape) == 3 else None)


def test_a_precision_that_the_processor_emulates_is_said_before_the_loop(tiny_run, given, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(type(tiny_run.context.reporter), "note", lambda _self, message: said.append(message))
    monkeypatch.setattr(module, "emulation_note", lambda precision, device: f"{precision} is slow on {device}")

    given()

    assert said == ["torch.float32 is slow on cpu"]
