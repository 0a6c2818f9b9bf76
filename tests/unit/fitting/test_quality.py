from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.features import RandomNetwork
from aigc_pipeline.fitting import quality
from aigc_pipeline.fitting.quality import MIN_SELECTION, adaptation_of, validation_of
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.training.loop import Hooks, Validation
from tests.unit.fitting.conftest import SPEC, make_points

LOOKS = {"every_samples": 10, "patience": 2, "max_copy_share": 0.05, "root": 0}


class Center(nn.Module):
    """A generator that adds its latent's first values to a center per class."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, z, labels):
        centers = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])[labels]
        return centers + z[:, :2] + self.offset


class Copier(nn.Module):
    """A generator that gives a share of its samples as training samples, the others as `Center(0)` does."""

    def __init__(self, train: torch.Tensor, labels: torch.Tensor, share: float) -> None:
        super().__init__()
        self.train_x, self.train_labels, self.share = train, labels, share

    def forward(self, z, labels):
        copies = torch.stack([self.train_x[self.train_labels == label][0] for label in labels.tolist()])
        by_heart = (torch.special.ndtr(z[:, 2]) < self.share)[:, None]
        return torch.where(by_heart, copies, Center(0.0)(z, labels))


class Memory(nn.Module):
    """A discriminator that gives 1 to samples it was shown and 0 to all others."""

    def __init__(self, shown: torch.Tensor) -> None:
        super().__init__()
        self.shown = shown

    def forward(self, x, labels):
        del labels
        return ((x[:, None] - self.shown).square().sum(2).amin(1) < 1e-6).float()


@pytest.fixture
def encoder():
    train = make_points()
    return RandomNetwork(num_features=8).fit(
        train, train, spec=SPEC, num_classes=2, seed=0, device=torch.device("cpu"), hooks=Hooks()
    )


def score(validation: Validation, network: nn.Module) -> float:
    return validation.numbers({"generator": network})["held_out_score"]


def test_the_held_out_score_is_highest_for_the_true_distribution(synthesizer, encoder):
    validation = validation_of(synthesizer, encoder, make_points(seed=9), **LOOKS)
    assert validation is not None

    scores = [score(validation, Center(offset)) for offset in (0.0, 0.7, 2.0)]

    assert scores == sorted(scores, reverse=True)
    assert scores[0] > -0.01


def test_the_held_out_score_repeats_exactly(synthesizer, encoder):
    validation = validation_of(synthesizer, encoder, make_points(seed=9), **LOOKS)
    assert validation is not None

    assert validation.numbers({"generator": Center(0.0)}) == validation.numbers({"generator": Center(0.0)})


def test_near_copies_of_training_samples_cost_more_than_a_distance(synthesizer, encoder):
    validation = validation_of(synthesizer, encoder, make_points(seed=9), **LOOKS)
    assert validation is not None
    x = modality_of(SPEC).to_tensor(synthesizer.train.cells, SPEC)
    labels = torch.from_numpy(synthesizer.train.labels)
    shares = (0.0, 0.01, 0.2, 0.5)

    scores = [score(validation, Copier(x, labels, share)) for share in shares]

    assert scores[1] == pytest.approx(scores[0], abs=0.01)  # a few are what chance gives unseen samples, too
    assert scores[2] < score(validation, Center(0.7))
    assert scores[3] < scores[2]


def test_copies_have_a_number_of_their_own_and_a_limit_that_moves(synthesizer, encoder):
    strict, tolerant = (
        validation_of(synthesizer, encoder, make_points(seed=9), **{**LOOKS, "max_copy_share": limit})
        for limit in (0.05, 1.0)
    )
    assert strict is not None
    assert tolerant is not None
    x = modality_of(SPEC).to_tensor(synthesizer.train.cells, SPEC)
    copier = {"generator": Copier(x, torch.from_numpy(synthesizer.train.labels), 0.5)}

    here, there = strict.numbers(copier), tolerant.numbers(copier)

    assert here["near_copy_share"] == there["near_copy_share"] == pytest.approx(0.5, abs=0.1)
    assert there["held_out_score"] == -there["kernel_distance"]
    assert here["held_out_score"] == pytest.approx(-here["kernel_distance"] - 10 * (here["near_copy_share"] - 0.05))


def test_a_small_selection_split_chooses_nothing(synthesizer, encoder):
    few = make_points(MIN_SELECTION - 1)

    assert validation_of(synthesizer, encoder, few, **LOOKS) is None
    assert adaptation_of(synthesizer, few, total_samples=100, every_samples=10, root=0).every_samples == 0


@pytest.mark.parametrize(("knows", "expected"), [("train", 1.0), ("everything", 0.0)])
def test_the_signal_tells_a_discriminator_that_knows_its_samples_by_heart(synthesizer, knows, expected):
    held_out = make_points(seed=9)
    parts = [modality_of(SPEC).to_tensor(each.cells, SPEC) for each in (synthesizer.train, held_out)]
    shown = parts[0] if knows == "train" else torch.cat(parts)
    adaptation = adaptation_of(synthesizer, held_out, total_samples=100, every_samples=10, root=0)

    signal = adaptation.signal({"generator": Center(0.0), "discriminator": Memory(shown)})

    assert signal == pytest.approx(expected)


def test_training_samples_of_the_signal_have_the_class_mix_of_the_held_out_ones(synthesizer):
    held_out = make_points(seed=9)
    lopsided = held_out.take(np.flatnonzero(held_out.labels == 1))
    seen: list[LabelledCells] = []

    class Look(nn.Module):
        def forward(self, x, labels):
            seen.append(labels.unique().tolist())
            return x[:, 0]

    adaptation_of(synthesizer, lopsided, total_samples=100, every_samples=10, root=0).signal(
        {"generator": Center(0.0), "discriminator": Look()}
    )

    assert seen == [[1], [1], [1]]


def test_the_signal_shows_a_discriminator_no_more_than_64_samples_at_once(synthesizer):
    sizes: list[int] = []

    class Look(nn.Module):
        def forward(self, x, labels):
            del labels
            sizes.append(len(x))
            return x[:, 0]

    adaptation_of(synthesizer, make_points(seed=9), total_samples=100, every_samples=10, root=0).signal(
        {"generator": Center(0.0), "discriminator": Look()}
    )

    assert sizes == [64, 16] * 3


def test_the_signal_is_the_same_in_smaller_parts_where_memory_is_short(synthesizer):
    sizes: list[int] = []

    class Greedy(nn.Module):
        def __init__(self, most_rows):
            super().__init__()
            self.most_rows = most_rows

        def forward(self, x, labels):
            del labels
            if len(x) > self.most_rows:
                raise torch.cuda.OutOfMemoryError
            sizes.append(len(x))
            return x[:, 0]

    look = adaptation_of(synthesizer, make_points(seed=9), total_samples=100, every_samples=10, root=0).signal
    plenty, little = (look({"generator": Center(0.0), "discriminator": Greedy(rows)}) for rows in (64, 20))

    assert little == pytest.approx(plenty)
    assert sizes == [64, 16] * 3 + [16] * 15
    with pytest.raises(torch.cuda.OutOfMemoryError):
        look({"generator": Center(0.0), "discriminator": Greedy(0)})


def test_a_look_has_the_class_mix_of_the_selection_split(synthesizer, encoder, monkeypatch):
    asked: list[dict[int, int]] = []
    monkeypatch.setattr(quality, "draw", lambda _s, _n, counts, *_: asked.append(counts) or make_points(seed=3))
    selection = make_points(seed=9)
    lopsided = selection.take(np.flatnonzero((selection.labels == 1) | (np.arange(80) < 20)))  # 10 and 40

    validation_of(synthesizer, encoder, lopsided, **LOOKS).numbers({})

    assert asked == [{0: 100, 1: 400}]


def test_the_kernel_is_half_as_wide_as_reals_are_apart(synthesizer, encoder, monkeypatch):
    widths: list[float] = []
    gaussian = quality.gaussian
    monkeypatch.setattr(quality, "gaussian", lambda variance: widths.append(variance**0.5) or gaussian(variance))
    selection = make_points(seed=9)

    validation_of(synthesizer, encoder, selection, **LOOKS)

    distances = torch.pdist(torch.from_numpy(encoder.encode(selection.cells)))
    assert widths == pytest.approx([float(distances.quantile(0.5)) / 2], rel=1e-3)


def test_copies_cost_nothing_where_samples_are_made_from_parents(synthesizer, encoder, monkeypatch):
    monkeypatch.setattr(quality, "draw", lambda *_: synthesizer.train)
    of_parents = replace(synthesizer, generator=SimpleNamespace(uses_parents=True))

    found = validation_of(of_parents, encoder, make_points(seed=9), **LOOKS).numbers({})

    assert found["near_copy_share"] == 1.0
    assert found["held_out_score"] == -found["kernel_distance"]


@pytest.mark.parametrize(("num_train", "start"), [(80, 0.3), (5_000, 0.0)])
@pytest.mark.parametrize(("total", "horizon"), [(1_000, 1_000), (10_000_000, 500_000)])
def test_augmentation_begins_stronger_on_small_data_and_could_rise_within_half_a_million_samples(
    num_train, start, total, horizon, synthesizer
):
    found = adaptation_of(
        replace(synthesizer, train=make_points(num_train)), make_points(seed=9), total_samples=total, every_samples=9, root=0
    )  # fmt: skip

    assert (found.start, found.horizon_samples, found.every_samples) == (start, horizon, 9)
