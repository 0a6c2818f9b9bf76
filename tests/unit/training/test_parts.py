import json

import pytest
import torch
from torch import nn

from aigc_pipeline.core.context import RuntimeConfig
from aigc_pipeline.core.errors import CheckpointError, ConfigError
from aigc_pipeline.training.checkpoint import Checkpointer
from aigc_pipeline.training.devices import device_of
from aigc_pipeline.training.ema import ema_weight, update_ema
from aigc_pipeline.training.samplers import ClassPower, Mixed
from aigc_pipeline.training.schedule import Cosine


def test_cosine_starts_halves_and_stays():
    schedule = Cosine(1.0, 0.2, decay_share=0.5)

    assert schedule.at(0.0) == pytest.approx(1.0)
    assert schedule.at(0.25) == pytest.approx(0.6)
    assert schedule.at(0.5) == schedule.at(1.0) == pytest.approx(0.2)


def test_ema_forgets_half_within_its_half_life():
    weight = ema_weight(10, half_life_samples=100, samples_seen=1_000_000)

    assert (1 - weight) ** 10 == pytest.approx(0.5)
    assert ema_weight(10, 0, samples_seen=1_000) == 1.0


def test_ema_forgets_half_within_a_twentieth_of_the_samples_seen_however_long_its_half_life():
    assert ema_weight(10, 1e6, samples_seen=2_000) == ema_weight(10, 100, samples_seen=1_000_000)


def test_averages_move_by_their_weight_and_statistics_are_copied():
    average, current = (nn.BatchNorm1d(2) for _ in range(2))
    current.weight.data.fill_(3.0)
    current.running_mean.fill_(7.0)

    update_ema({"a": average}, {"a": current}, 0.25)

    assert average.weight.tolist() == [1.5, 1.5]
    assert average.running_mean.tolist() == [7.0, 7.0]


@pytest.mark.parametrize(("power", "expected"), [(1.0, 0.1), (0.5, 0.25), (0.0, 0.5)])
def test_class_power_gives_each_class_its_share(power, expected):
    labels = torch.tensor([0] * 900 + [1] * 100)
    rows = ClassPower(labels, power)(0, 20_000, torch.Generator().manual_seed(0))

    assert float(labels[rows].float().mean()) == pytest.approx(expected, abs=0.02)


def test_mixed_batches_hold_exactly_the_dose():
    blocks = (ClassPower(torch.zeros(100, dtype=torch.long), 1.0), ClassPower(torch.zeros(50, dtype=torch.long), 1.0))
    rows = Mixed(blocks, (0.75, 0.25))(0, 64, torch.Generator().manual_seed(0))

    assert int((rows >= 100).sum()) == 16
    assert int(rows.max()) < 150


@pytest.mark.parametrize(
    ("dose", "expected"), [(0.0, [4, 0]), (0.1, [3, 1]), (0.5, [2, 2]), (0.9, [1, 3]), (1.0, [0, 4])]
)
def test_rounding_takes_no_kind_of_rows_out_of_a_small_batch(dose, expected):
    assert Mixed((), (1 - dose, dose)).numbers(4) == expected


def test_checkpoints_round_trip_nested_state_and_keep_two(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    for step in (1, 2, 3):
        checkpointer.save({"a": {"b": torch.arange(step)}, "n": step, "none": None, "list": [torch.ones(1), "x"]}, step)

    state = checkpointer.load_latest(torch.device("cpu"))

    assert state is not None
    assert state["n"] == 3
    assert torch.equal(state["a"]["b"], torch.arange(3))
    assert state["list"][1] == "x"
    assert len(list(tmp_path.glob("state-*"))) == 2


def test_a_state_of_fewer_samples_replaces_those_of_more(tmp_path):
    checkpointer, cpu = Checkpointer(tmp_path), torch.device("cpu")
    for samples_seen in (1, 2):
        checkpointer.save({"n": samples_seen}, samples_seen)

    assert checkpointer.load_before(2, cpu) == {"n": 1}
    assert checkpointer.load_before(1, cpu) is None
    checkpointer.save({"n": 11}, 1)
    assert checkpointer.load_latest(cpu) == {"n": 11}
    assert len(list(tmp_path.glob("state-*"))) == 1


def test_no_intact_state_is_an_error_not_a_fresh_start(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    file = checkpointer.save({"n": 1}, 1)
    file.unlink()

    with pytest.raises(CheckpointError, match="no intact training state"):
        checkpointer.load_latest(torch.device("cpu"))


def test_a_state_names_its_hash(tmp_path):
    Checkpointer(tmp_path).save({"n": 1}, 1)

    assert len(json.loads((tmp_path / "index.json").read_text())[0]["sha256"]) == 64


@pytest.mark.parametrize("name", ["cuda:99", "nonsense"])
def test_a_device_that_is_not_there_is_a_config_error(name):
    with pytest.raises(ConfigError, match="auto"):
        device_of(RuntimeConfig(device=name, threads=1))
