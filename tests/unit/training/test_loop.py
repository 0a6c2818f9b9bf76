import math
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from aigc_pipeline.core.errors import ConfigError, TrainingDivergedError
from aigc_pipeline.training import loop
from aigc_pipeline.training.batch import Batch
from aigc_pipeline.training.checkpoint import Checkpointer
from aigc_pipeline.training.ema import ema_weight
from aigc_pipeline.training.health import Finding
from aigc_pipeline.training.loop import Hooks, LoopSettings, Phase, TrainingData, Validation, train
from aigc_pipeline.training.samplers import ClassPower
from aigc_pipeline.training.schedule import Cosine, constant
from aigc_pipeline.training.strength import Adaptation
from aigc_pipeline.training.team import Team


def make_data(n: int = 64) -> TrainingData:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=generator)
    labels = (x.sum(1) > 0).long()
    return TrainingData(x, labels, ClassPower(labels, 1.0))


def make_model() -> dict[str, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return {"model": nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))}


def loss_of(networks, batch: Batch):
    noise = batch.draws.normal(3)
    return nn.functional.cross_entropy(networks["model"](batch.x + 0.1 * noise), batch.labels), {}


PHASES = [Phase("model", ("model",), loss_of, constant(1e-2))]


class KilledError(Exception):
    """Stands for the end of the process."""


def kill_at(samples: int) -> Hooks:
    def progress(done: int, total: int) -> None:
        del total
        if done >= samples:
            raise KilledError

    return Hooks(progress=progress)


def weights(networks) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in networks["model"].parameters()])


@pytest.mark.parametrize("killed_at", [16, 80, 240, 304])
def test_a_killed_and_resumed_run_ends_with_the_same_weights_bit_for_bit(tmp_path, killed_at):
    settings = LoopSettings(320, 16, seed=5, ema_half_life_samples=50, checkpoint_every_samples=48)
    whole = train(make_model(), PHASES, make_data(), settings)

    with pytest.raises(KilledError):
        train(
            make_model(), PHASES, make_data(), settings, checkpointer=Checkpointer(tmp_path), hooks=kill_at(killed_at)
        )
    resumed = train(make_model(), PHASES, make_data(), settings, checkpointer=Checkpointer(tmp_path))

    assert torch.equal(weights(whole.networks), weights(resumed.networks))


def test_a_torn_state_falls_back_to_the_one_before(tmp_path):
    settings = LoopSettings(320, 16, seed=5, checkpoint_every_samples=48)
    whole = train(make_model(), PHASES, make_data(), settings)
    with pytest.raises(KilledError):
        train(make_model(), PHASES, make_data(), settings, checkpointer=Checkpointer(tmp_path), hooks=kill_at(240))
    newest = max(tmp_path.glob("state-*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-7])

    resumed = train(make_model(), PHASES, make_data(), settings, checkpointer=Checkpointer(tmp_path))

    assert torch.equal(weights(whole.networks), weights(resumed.networks))


def test_a_loss_that_is_not_finite_stops_and_names_the_last_good_checkpoint(tmp_path):
    def explode(networks, batch: Batch):
        loss, values = loss_of(networks, batch)
        return loss * (math.nan if batch.progress > 0.5 else 1.0), values

    phases = [Phase("model", ("model",), explode, constant(1e-2))]
    settings = LoopSettings(320, 16, seed=5, checkpoint_every_samples=48)

    with pytest.raises(TrainingDivergedError, match=r"became nan after 192 samples.*Last good checkpoint: 144 samples"):
        train(make_model(), phases, make_data(), settings, checkpointer=Checkpointer(tmp_path))


def infinitely_steep(networks, batch: Batch):
    loss, values = loss_of(networks, batch)
    zero = (next(networks["model"].parameters()) * 0).sum()
    return loss + zero.sqrt() * 0, values


def test_a_gradient_that_is_not_finite_is_an_alarm_before_its_step_is_stored(tmp_path):
    def explode_once(networks, batch: Batch):
        return (infinitely_steep if round(batch.progress * 320) == 176 and not notes else loss_of)(networks, batch)

    notes: list[str] = []
    settings = LoopSettings(320, 16, seed=5, checkpoint_every_samples=48)
    trained = train(
        make_model(), [Phase("model", ("model",), explode_once, constant(1e-2))], make_data(), settings,
        checkpointer=Checkpointer(tmp_path), hooks=Hooks(note=notes.append),
    )  # fmt: skip

    assert notes[0].startswith(
        "the gradient of phase 'model' became nan after 192 samples: back to the checkpoint at 144"
    )
    assert torch.isfinite(weights(trained.networks)).all()


def test_a_scaler_steps_over_a_gradient_that_is_not_finite():
    phases = [Phase("model", ("model",), infinitely_steep, constant(1e-2))]
    trained = train(make_model(), phases, make_data(), LoopSettings(64, 16, seed=5, precision=torch.float16))

    assert trained.events == ()
    assert torch.equal(weights(trained.networks), weights(make_model()))


def test_a_state_is_looked_at_before_it_is_stored(tmp_path):
    def watch(_networks, _history, progress):
        return Finding("mode collapse" if progress >= 0.3 else None)

    settings = LoopSettings(320, 16, seed=5, checkpoint_every_samples=48, report_every_samples=320)
    with pytest.raises(TrainingDivergedError, match="Last good checkpoint: 48 samples"):
        train(make_model(), PHASES, make_data(), settings, checkpointer=Checkpointer(tmp_path), watch=watch)


def test_a_state_that_did_not_help_gives_way_to_the_one_before(tmp_path):
    alarms_left = [3]

    def watch(_networks, _history, progress):
        alarms_left[0] -= progress >= 0.55
        return Finding("mode collapse" if progress >= 0.55 and alarms_left[0] >= 0 else None)

    settings = LoopSettings(320, 16, seed=5, checkpoint_every_samples=80, report_every_samples=16)
    trained = train(make_model(), PHASES, make_data(), settings, checkpointer=Checkpointer(tmp_path), watch=watch)

    went_to = [re.search(r"checkpoint at (\d+)", event)[1] for event in trained.events]
    assert went_to == ["160", "80", "160"]
    assert trained.samples_seen == 320


def make_greedy(*, most_rows: int) -> tuple[list[Phase], list[int]]:
    """A phase that runs out of memory above so many rows, and the numbers of rows that it was asked for."""
    asked: list[int] = []

    def greedy(networks, batch: Batch):
        asked.append(len(batch.x))
        if len(batch.x) > most_rows:
            raise torch.cuda.OutOfMemoryError
        return loss_of(networks, batch)

    return [Phase("model", ("model",), greedy, constant(1e-2))], asked


def test_running_out_of_memory_retries_once_with_accumulated_gradients_and_says_so():
    notes: list[str] = []
    phases, asked = make_greedy(most_rows=8)
    train(make_model(), phases, make_data(), LoopSettings(32, 16, seed=5), hooks=Hooks(note=notes.append))

    assert asked == [16] + [4] * 8
    assert "micro-batches of 4" in notes[0]


def test_one_of_several_processes_cuts_its_own_share():
    class Alone(Team):
        def add_up(self, tensors):
            pass

    phases, asked = make_greedy(most_rows=2)
    train(make_model(), phases, make_data(), LoopSettings(16, 16, seed=5, report_every_samples=64), team=Alone(1, 2))

    assert asked == [8] + [2] * 4


def test_accumulated_gradients_equal_the_whole_batch():
    def plain(networks, batch: Batch):
        return nn.functional.cross_entropy(networks["model"](batch.x), batch.labels), {}

    def refuse_once(networks, batch: Batch):
        if len(batch.x) > 8:
            raise torch.cuda.OutOfMemoryError
        return plain(networks, batch)

    settings = LoopSettings(160, 16, seed=5)
    whole, parts = (
        train(make_model(), [Phase("model", ("model",), loss, constant(1e-2))], make_data(), settings)
        for loss in (plain, refuse_once)
    )

    assert torch.allclose(weights(whole.networks), weights(parts.networks), atol=1e-5)


def test_validation_keeps_the_best_weights_and_patience_ends_training():
    scores = iter([0.1, 0.9, 0.3, 0.2, 0.1, 0.0])
    seen: list[torch.Tensor] = []

    def numbers(networks) -> dict[str, float]:
        seen.append(weights(networks).clone())
        return {"score": next(scores), "other": 7.0}

    curves: dict[str, list[float]] = {}
    hooks = Hooks(metric=lambda name, value, _: curves.setdefault(name, []).append(value))
    result = train(
        make_model(), PHASES, make_data(), LoopSettings(1600, 16, seed=5),
        validation=Validation(16, numbers, patience=2), hooks=hooks,
    )  # fmt: skip

    assert result.best_score == 0.9
    assert result.samples_seen == 64
    assert torch.equal(weights(result.networks), seen[1])
    assert curves["validation/score"] == [0.1, 0.9, 0.3, 0.2]
    assert curves["validation/other"] == [7.0] * 4


def test_only_the_networks_of_a_phase_move():
    networks = make_model() | {"other": nn.Linear(3, 3)}
    before = networks["other"].weight.detach().clone()

    train(networks, PHASES, make_data(), LoopSettings(64, 16, seed=5))

    assert torch.equal(networks["other"].weight, before)


def test_an_alarm_goes_back_to_the_last_good_checkpoint_and_on_at_half_the_rate(tmp_path):
    notes: list[str] = []
    rates: list[float] = []

    def explode_once(networks, batch: Batch):
        loss, values = loss_of(networks, batch)
        seen = round(batch.progress * 320)
        first_time = seen == 208 and not notes
        return loss * (math.nan if first_time else 1.0), values

    def metric(name: str, value: float, _step: int) -> None:
        if name == "model/loss":
            rates.append(value)

    settings = LoopSettings(320, 16, seed=5, checkpoint_every_samples=48, report_every_samples=16)
    trained = train(
        make_model(), [Phase("model", ("model",), explode_once, constant(1e-2))], make_data(), settings,
        checkpointer=Checkpointer(tmp_path), hooks=Hooks(note=notes.append, metric=metric),
    )  # fmt: skip

    assert "back to the checkpoint at 192 samples, going on at 0.5 of the learning rate" in notes[0]
    assert trained.events == (notes[0].removesuffix("."),)
    assert trained.samples_seen == 320
    assert all(math.isfinite(value) for value in rates)
    assert torch.isfinite(weights(trained.networks)).all()


def test_the_first_process_replaces_a_state_only_after_all_have_read_it(tmp_path):
    order: list[str] = []

    class Recorded(Checkpointer):
        def load_latest(self, device):
            order.append("read")
            return super().load_latest(device)

        def save(self, state, samples_seen):
            order.append("save")
            return super().save(state, samples_seen)

    class Waiting(Team):
        def wait(self):
            order.append("wait")

    alarms = [Finding("a planted alarm")]
    settings = LoopSettings(64, 16, seed=5, checkpoint_every_samples=320, report_every_samples=48)
    train(
        make_model(), PHASES, make_data(), settings, checkpointer=Recorded(tmp_path), team=Waiting(),
        watch=lambda *_: alarms.pop() if alarms else Finding(),
    )  # fmt: skip

    assert order == ["read", "save", "read", "wait", "save", "wait"]


def test_a_run_killed_after_a_rollback_ends_with_the_same_weights(tmp_path):
    settings = LoopSettings(320, 16, seed=5, checkpoint_every_samples=48, report_every_samples=16)

    def run(folder, hooks=None):
        alarms = [Finding("a planted alarm")]

        def watch(_networks, _history, progress):
            return alarms.pop() if progress > 0.6 and alarms and not folder.joinpath("answered").exists() else Finding()

        hooks = hooks or Hooks()
        hooks.note = lambda _message: folder.joinpath("answered").touch()
        return train(
            make_model(), PHASES, make_data(), settings, checkpointer=Checkpointer(folder), watch=watch, hooks=hooks
        )

    whole = run(tmp_path / "whole")
    with pytest.raises(KilledError):
        run(tmp_path / "killed", kill_at(256))
    resumed = run(tmp_path / "killed")

    assert torch.equal(weights(whole.networks), weights(resumed.networks))
    assert len(resumed.events) == 1
    assert resumed.events == whole.events


def test_alarms_that_do_not_end_stop_training_with_the_best_weights(tmp_path):
    scores = iter([1.0, 3.0, 2.0, 2.0, 2.0, 2.0])

    def watch(_networks, _history, progress):
        return Finding("mode collapse" if progress > 0.6 else None, {"diversity": 0.1})

    settings = LoopSettings(320, 16, seed=5, checkpoint_every_samples=32, report_every_samples=16, max_rollbacks=1)
    trained = train(
        make_model(), PHASES, make_data(), settings, checkpointer=Checkpointer(tmp_path), watch=watch,
        validation=Validation(64, lambda _: {"score": next(scores)}, patience=9),
    )  # fmt: skip

    assert trained.best_score == 3.0
    assert trained.best_samples_seen == 128
    assert "training ends with the best weights so far, of 128 samples" in trained.events[-1]


def test_alarms_without_any_best_weights_are_an_error(tmp_path):
    settings = LoopSettings(320, 16, seed=5, checkpoint_every_samples=32, report_every_samples=16)

    with pytest.raises(TrainingDivergedError, match="mode collapse, and 4 restarts at a lower rate did not help"):
        train(
            make_model(), PHASES, make_data(), settings, checkpointer=Checkpointer(tmp_path),
            watch=lambda _networks, _history, progress: Finding("mode collapse" if progress > 0.6 else None),
        )  # fmt: skip


def test_repeats_step_on_samples_of_their_own_and_count_as_seen():
    shown: list[torch.Tensor] = []

    def look(networks, batch: Batch):
        shown.append(batch.x)
        return loss_of(networks, batch)

    phases = [Phase("model", ("model",), look, constant(1e-2), repeats=3)]
    trained = train(make_model(), phases, make_data(), LoopSettings(96, 16, seed=5))

    assert trained.samples_seen == 96
    assert len(shown) == 6
    assert len({tuple(x.flatten().tolist()) for x in shown}) == 6


def test_frozen_parameters_do_not_move():
    model = make_model()
    before = {name: value.clone() for name, value in model["model"].state_dict().items()}

    train(model, PHASES, make_data(), LoopSettings(160, 16, seed=5, frozen=("model.0",)))

    after = model["model"].state_dict()
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert torch.equal(before["0.bias"], after["0.bias"])
    assert not torch.equal(before["2.weight"], after["2.weight"])


def test_freezing_all_that_a_phase_moves_is_refused_in_words():
    with pytest.raises(ConfigError, match=r"frozen is \['mod'\]: that leaves phase 'model' nothing to train"):
        train(make_model(), PHASES, make_data(), LoopSettings(160, 16, seed=5, frozen=("mod",)))


def test_adaptive_strength_reaches_the_losses_and_survives_a_kill(tmp_path):
    strengths: list[float] = []

    def look(networks, batch: Batch):
        strengths.append(batch.strength)
        return loss_of(networks, batch)

    phases = [Phase("model", ("model",), look, constant(1e-2))]
    settings = LoopSettings(320, 16, seed=5, checkpoint_every_samples=48)
    adaptation = Adaptation(lambda _: 0.9, every_samples=32, horizon_samples=320, start=0.1)
    train(make_model(), phases, make_data(), settings, adaptation=adaptation)
    whole, strengths[:] = list(strengths), []

    with pytest.raises(KilledError):
        train(make_model(), phases, make_data(), settings, adaptation=adaptation,
              checkpointer=Checkpointer(tmp_path), hooks=kill_at(160))  # fmt: skip
    strengths.clear()
    train(make_model(), phases, make_data(), settings, adaptation=adaptation, checkpointer=Checkpointer(tmp_path))

    assert whole[0] == pytest.approx(0.1)
    assert max(whole) == pytest.approx(0.8)
    assert strengths == whole[-len(strengths) :]


def test_half_precision_scales_gradients_and_keeps_weights_in_float32():
    settings = LoopSettings(160, 16, seed=5, precision=torch.float16)
    trained = train(make_model(), PHASES, make_data(), settings)

    assert {parameter.dtype for parameter in trained.networks["model"].parameters()} == {torch.float32}
    assert torch.isfinite(weights(trained.networks)).all()


@pytest.mark.parametrize(("before", "after"), [(torch.float32, torch.float16), (torch.float16, torch.float32)])
def test_a_training_resumes_in_another_precision(tmp_path, before, after):
    first, second = (
        LoopSettings(total, 16, seed=5, precision=precision, checkpoint_every_samples=64)
        for total, precision in ((64, before), (128, after))
    )
    train(make_model(), PHASES, make_data(), first, checkpointer=Checkpointer(tmp_path))

    assert train(make_model(), PHASES, make_data(), second, checkpointer=Checkpointer(tmp_path)).samples_seen == 128


def test_a_resumed_run_of_channels_last_convolutions_ends_with_the_same_weights(tmp_path):
    def make_convolution():
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 2))
        return {"model": model.to(memory_format=torch.channels_last)}

    def loss(networks, batch: Batch):
        pictures = batch.x[:, :, None, None].expand(-1, -1, 6, 6) + 0.1 * batch.draws.normal(3, 6, 6)
        return nn.functional.cross_entropy(networks["model"](pictures), batch.labels), {}

    phases = [Phase("model", ("model",), loss, constant(1e-2))]
    settings = LoopSettings(320, 16, seed=5, checkpoint_every_samples=48)
    whole = train(make_convolution(), phases, make_data(), settings)
    with pytest.raises(KilledError):
        train(
            make_convolution(), phases, make_data(), settings, checkpointer=Checkpointer(tmp_path), hooks=kill_at(160)
        )
    resumed = train(make_convolution(), phases, make_data(), settings, checkpointer=Checkpointer(tmp_path))

    assert torch.equal(weights(whole.networks), weights(resumed.networks))


def test_memory_that_is_too_little_for_parts_too_is_an_error_with_a_remedy():
    with pytest.raises(ConfigError, match=r"too little memory for this training.*split\.size"):
        train(make_model(), make_greedy(most_rows=1)[0], make_data(), LoopSettings(32, 16, seed=5))


def test_a_look_that_runs_out_of_memory_is_an_error_with_a_remedy():
    def look(_networks):
        raise torch.cuda.OutOfMemoryError

    with pytest.raises(ConfigError, match="too little memory for this training"):
        train(make_model(), PHASES, make_data(), LoopSettings(32, 16, seed=5), adaptation=Adaptation(look, 16, 100))


def test_divergence_names_the_remedy_of_what_was_trained():
    phases = [Phase("model", ("model",), lambda *each: (loss_of(*each)[0] * math.nan, {}), constant(1e-2))]

    with pytest.raises(TrainingDivergedError, match=r"Lower embed\.encoder\.learning_rate, then run"):
        train(
            make_model(), phases, make_data(), LoopSettings(32, 16, seed=5, remedy="Lower embed.encoder.learning_rate")
        )


def test_rates_and_second_moments_follow_their_schedules_and_a_rollback_halves_the_rate(tmp_path, monkeypatch):
    used: list[tuple[float, float]] = []

    class Recorded(torch.optim.AdamW):
        def step(self, closure=None):
            (group,) = self.param_groups
            used.append((group["lr"], group["betas"][1]))
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "AdamW", Recorded)
    alarms = [Finding("a planted alarm")]
    phase = Phase("model", ("model",), loss_of, Cosine(1e-2, 0.0), beta2=Cosine(0.9, 0.99))
    train(
        make_model(), [phase], make_data(), LoopSettings(64, 16, 5, checkpoint_every_samples=64, report_every_samples=48),
        checkpointer=Checkpointer(tmp_path), watch=lambda *_: alarms.pop() if alarms else Finding(),
    )  # fmt: skip

    steps = [0, 1 / 4, 1 / 2]  # the third brings the state of 0 samples back
    factors = [1.0] * 3 + [0.5] * 4
    expected = [
        (factor * phase.learning_rate.at(at), phase.beta2.at(at))
        for factor, at in zip(factors, [*steps, *steps, 3 / 4], strict=True)
    ]
    assert [each for pair in used for each in pair] == pytest.approx([each for pair in expected for each in pair])


def test_after_a_rollback_other_samples_are_drawn(tmp_path):
    shown: list[torch.Tensor] = []

    def look(networks, batch: Batch):
        shown.append(batch.x)
        return loss_of(networks, batch)

    alarms = [Finding("a planted alarm")]
    train(
        make_model(), [Phase("model", ("model",), look, constant(1e-2))], make_data(),
        LoopSettings(16, 16, seed=5, checkpoint_every_samples=16), checkpointer=Checkpointer(tmp_path),
        watch=lambda *_: alarms.pop() if alarms else Finding(),
    )  # fmt: skip

    assert len(shown) == 2
    assert not torch.equal(*shown)


def test_looks_see_the_average_ready_for_inference_and_the_signal_networks_that_do_not_move():
    seen: dict[str, list[tuple[torch.Tensor, bool]]] = {"watch": [], "validation": [], "signal": []}

    def look(name, networks):
        seen[name].append((weights(networks).clone(), networks["model"].training))
        return 0.0

    networks = make_model()
    trained = train(
        networks, PHASES, make_data(), LoopSettings(32, 16, 5, ema_half_life_samples=1e6, report_every_samples=32),
        watch=lambda result, *_: Finding(numbers={"x": look("watch", result)}),
        validation=Validation(32, lambda result: {"score": look("validation", result)}, patience=1),
        adaptation=Adaptation(lambda current: look("signal", current), 32, 100),
    )  # fmt: skip

    current, average = weights(networks), weights(trained.networks)
    assert not torch.equal(current, average)
    for name, expected in (("watch", average), ("validation", average), ("signal", current)):
        ((value, is_training),) = seen[name]
        assert torch.equal(value, expected), name
        assert not is_training, name


def test_the_average_has_its_half_life_in_samples_seen_however_many_a_step_shows(monkeypatch):
    shares: list[float] = []
    monkeypatch.setattr(loop, "update_ema", lambda _average, _current, share: shares.append(share))
    phases = [Phase("model", ("model",), loss_of, constant(1e-2), repeats=2)]

    train(make_model(), phases, make_data(), LoopSettings(640, 16, seed=5, ema_half_life_samples=25))

    assert shares == [ema_weight(32, 25, seen) for seen in range(32, 641, 32)]
    assert shares[-1] == pytest.approx(1 - 0.5 ** (32 / 25))


def test_rows_bring_their_own_weights_and_a_phase_its_decay():
    found: list[torch.Tensor] = []

    def look(networks, batch: Batch):
        found.append(batch.weights - batch.x[:, 0])
        return 0 * loss_of(networks, batch)[0], {}

    data, networks = make_data(), make_model()
    phases = [Phase("model", ("model",), look, constant(1e-2), weight_decay=0.5)]
    train(networks, phases, replace(data, weights=data.x[:, 0]), LoopSettings(16, 16, seed=5))

    assert torch.equal(found[0], torch.zeros(16))
    torch.testing.assert_close(weights(networks), weights(make_model()) * (1 - 1e-2 * 0.5))


def test_parts_of_unequal_size_weigh_as_many_rows_as_they_have():
    reported: dict[int, float] = {}
    for most_rows in (16, 6):  # parts of 4, 4, 2
        train(
            make_model(), make_greedy(most_rows=most_rows)[0], make_data(), LoopSettings(10, 10, 5, report_every_samples=10),
            hooks=Hooks(metric=lambda name, value, _, rows=most_rows: name == "model/loss" and reported.update({rows: value})),
        )  # fmt: skip

    assert reported[6] == pytest.approx(reported[16])


def test_gradient_norms_are_told_without_the_scale_of_half_precision():
    norms: dict[torch.dtype, float] = {}
    for precision in (torch.float32, torch.float16):
        hooks = Hooks(
            metric=lambda name, value, _, of=precision: name == "model/gradient_norm" and norms.update({of: value})
        )
        settings = LoopSettings(16, 16, seed=5, precision=precision, report_every_samples=16)
        train(make_model(), PHASES, make_data(), settings, hooks=hooks)

    assert norms[torch.float16] == pytest.approx(norms[torch.float32], rel=0.02)


def test_without_an_average_looks_see_the_networks_ready_for_inference():
    modes: list[bool] = []
    train(
        make_model(), PHASES, make_data(), LoopSettings(48, 16, seed=5, report_every_samples=16),
        watch=lambda result, *_: Finding(numbers={"x": modes.append(result["model"].training) or 0.0}),
    )  # fmt: skip

    assert modes == [False] * 3


def test_progress_restores_all_patience():
    scores = iter([0.1, 0.0, 0.9, 0.8, 0.7])
    validation = Validation(16, lambda _: {"score": next(scores)}, patience=2)

    trained = train(make_model(), PHASES, make_data(), LoopSettings(1600, 16, seed=5), validation=validation)

    assert (trained.best_samples_seen, trained.samples_seen) == (48, 80)


def test_health_is_judged_on_the_last_twelve_reports():
    lengths: list[int] = []
    train(
        make_model(), PHASES, make_data(), LoopSettings(16 * 14, 16, seed=5, report_every_samples=16),
        watch=lambda _networks, history, _progress: lengths.append(len(history)) or Finding(),
    )  # fmt: skip

    assert lengths == [*range(1, 13), 12, 12]
