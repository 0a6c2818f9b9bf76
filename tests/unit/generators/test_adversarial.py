"""The penalty: both ways agree, also in mixed precision, and it holds D back. What D sees is augmented."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from aigc_pipeline.generators import DCGAN, R3GAN, adversarial, parse_generator
from aigc_pipeline.generators.adversarial import Objective, ZeroCentered
from aigc_pipeline.generators.losses import LOSSES
from aigc_pipeline.modalities import ImageSpec
from aigc_pipeline.training.batch import Batch, Draws
from aigc_pipeline.training.schedule import Cosine, constant

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


class Bowl(nn.Module):
    """D(x) = |x|^2 / 2, whose gradient is x; remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x, labels):
        del labels
        self.seen.append(x)
        return x.square().flatten(1).sum(1) / 2

    def logit_and_gradient(self, x, labels):
        return self(x, labels), x


def constant_generator(value: float):
    return lambda z, _labels: torch.full((len(z), 1, 8, 8), value)


@pytest.mark.parametrize("mode", ["adjoint", "autograd"])
def test_the_penalty_is_half_of_gamma_times_both_mean_squared_gradients(mode):
    networks = {"discriminator": Bowl(), "generator": constant_generator(0.5)}
    objective = Objective(LOSSES["relativistic"], ZeroCentered(Cosine(2.0, 4.0), mode))
    real = batch()  # half way: gamma is 3

    _, values = objective.discriminator(networks, real)

    r1, r2 = real.x.square().flatten(1).sum(1).mean(), 64 * 0.5**2
    torch.testing.assert_close(values["penalty"], 1.5 * (r1 + r2))


@pytest.mark.parametrize(("fixed", "strength"), [(0.25, 0.25), (None, 0.75)])
def test_whatever_d_sees_in_either_phase_is_augmented(fixed, strength, monkeypatch):
    monkeypatch.setattr(adversarial, "diff_augment", lambda x, p, _: x + p)
    networks = {"discriminator": Bowl(), "generator": constant_generator(0.5)}
    objective = Objective(LOSSES["relativistic"], augment_probability=fixed)
    real = replace(batch(), strength=0.75)
    objective.discriminator(networks, real)
    objective.generator(networks, real)

    fake = torch.full((8, 1, 8, 8), 0.5)
    for seen, plain in zip(networks["discriminator"].seen, [real.x, fake, fake, real.x], strict=True):
        assert torch.equal(seen, plain + strength)


def test_dcgan_begins_with_the_weights_of_its_paper():
    for module in DCGAN(size="medium").networks(ImageSpec(height=32, width=32, channels=3), 2, seed=0).values():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
                assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.3)
                assert float(layer.weight.detach().mean()) == pytest.approx(
                    float(isinstance(layer, nn.BatchNorm2d)), abs=0.01
                )
