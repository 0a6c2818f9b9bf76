"""Short trainings on points, and draws as a loss gets them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from aigc_pipeline.generators.base import Generator
from aigc_pipeline.modalities import VectorSpec
from aigc_pipeline.training.batch import Batch, Draws
from aigc_pipeline.training.loop import LoopSettings, TrainingData, train


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Return a maker of batches whose draws are fixed by a seed."""

    def make(x: Tensor, labels: Tensor, seed: int = 5) -> Batch:
        draws = Draws(torch.Generator().manual_seed(seed), len(x), slice(0, len(x)))
        return Batch(x, labels, torch.ones(len(x)), draws, 0.0)

    return make


@pytest.fixture
def points_after_training() -> Callable[..., Tensor]:
    """Return a function that trains a family on points and draws 2,000 points of one class."""

    def run(family: Generator, x: Tensor, labels: Tensor, *, steps: int, label: int = 0) -> Tensor:
        spec = VectorSpec(num_values=x.shape[1], scale=1.0)
        repeats = max(phase.repeats for phase in family.phases(spec, len(x)))
        settings = LoopSettings(
            steps * repeats * family.batch_size, family.batch_size, seed=2, ema_half_life_samples=100_000
        )
        data = TrainingData(x, labels, family.sampler(labels))
        networks = family.networks(spec, int(labels.max()) + 1, seed=1)
        trained = train(networks, family.phases(spec, len(x)), data, settings)
        with torch.no_grad():
            return family.sample(trained.networks, range(2_000), torch.full((2_000,), label), spec=spec).x

    return run
