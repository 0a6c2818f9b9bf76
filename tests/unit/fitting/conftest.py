import numpy as np
import pytest
import torch

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.generators import R3GAN
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.modalities import VectorSpec, modality_of

SPEC = VectorSpec(num_values=2, scale=1.0)


def make_points(n: int = 80, seed: int = 0) -> LabelledCells:
    """Return two unit-variance classes around (-2, 0) and (2, 0)."""
    labels = np.arange(n, dtype=np.int64) % 2
    noise = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    centers = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])[labels]
    return LabelledCells([f"p{i}" for i in range(n)], labels, modality_of(SPEC).from_tensor(centers + noise, SPEC))


@pytest.fixture
def synthesizer() -> Synthesizer:
    family = R3GAN()
    networks = family.networks(SPEC, 2, seed=1)
    return Synthesizer(family, networks, SPEC, make_points(), frozenset(), torch.device("cpu"))
