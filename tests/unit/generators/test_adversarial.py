"""The penalty: both ways agree, also in mixed precision, and it holds D back."""

import pytest
import torch

from aigc_pipeline.generators import DCGAN, R3GAN, parse_generator
from aigc_pipeline.generators.adversarial import Objective, ZeroCentered
from aigc_pipeline.generators.losses import LOSSES
from aigc_pipeline.modalities import ImageSpec
from aigc_pipeline.training.batch import Batch, Draws
from aigc_pipeline.training.schedule import constant

SPEC = ImageSpec(height=8, width=8, channels=1)


def batch(size=8):
    x = torch.rand(size, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    draws = Draws(torch.Generator().manual_seed(1), size, slice(None))
    return Batch(x, torch.arange(size) % 2, torch.ones(size), draws, progress=0.5)


def penalty_of(family, mode, *, mixed=False):
    networks = family.networks(SPEC, 2, seed=0)
    objective = Objective(LOSSES[family.loss], ZeroCentered(constant(1.0), mode))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        _, values = objective.discriminator(networks, batch())
    return values["penalty"]


def test_both_ways_give_the_same_penalty():
    family = R3GAN(size="tiny")
    torch.testing.assert_close(penalty_of(family, "autograd"), penalty_of(family, "adjoint"))


@pytest.mark.parametrize(("family", "mode"), [(R3GAN(size="tiny"), "adjoint"), (DCGAN(size="tiny"), "autograd")])
def test_the_penalty_is_taken_in_float32_where_the_rest_is_mixed(family, mode):
    found = penalty_of(family, mode, mixed=True)

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, penalty_of(family, mode), rtol=0.02, atol=1e-4)  # fakes come from a bfloat16 G


def test_dcgan_without_gamma_is_the_papers_training():
    (critic, _) = parse_generator({"kind": "dcgan", "size": "tiny", "gamma": 0}).phases(SPEC, 100)
    (penalized, _) = DCGAN(size="tiny").phases(SPEC, 100)
    networks = DCGAN(size="tiny").networks(SPEC, 2, seed=0)

    assert critic.loss(networks, batch())[1]["penalty"].item() == 0
    assert penalized.loss(networks, batch())[1]["penalty"].item() > 0
