import math

import pytest
import torch

from aigc_pipeline.generators.mlp_gan import MLPGAN
from aigc_pipeline.modalities import ImageSpec, VectorSpec

POINTS = VectorSpec(num_values=2, scale=1.0)
PICTURES = ImageSpec(height=8, width=8, channels=1)


@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])
def test_a_discriminator_that_cannot_tell_has_the_papers_loss_of_log_4(loss, make_batch):
    family = MLPGAN(loss=loss)
    networks = family.networks(POINTS, 2, seed=1)
    for parameter in networks["discriminator"].parameters():
        torch.nn.init.zeros_(parameter)
    discriminator, generator = family.phases(POINTS, 40)
    batch = make_batch(torch.randn(6, 2), torch.arange(6) % 2)

    assert discriminator.loss(networks, batch)[0].item() == pytest.approx(math.log(4))
    assert abs(generator.loss(networks, batch)[0].item()) == pytest.approx(math.log(2))


def test_pictures_stay_in_range_and_points_are_unbounded():
    largest = {}
    for spec in (PICTURES, POINTS):
        generator = MLPGAN().networks(spec, 2, seed=1)["generator"]
        made = generator(100 * torch.randn(50, 64), torch.arange(50) % 2)
        largest[spec.kind] = made.abs().max().item()

    assert largest["image"] <= 1
    assert largest["vector"] > 1


def test_both_players_see_the_class():
    family = MLPGAN()
    networks = family.networks(POINTS, 2, seed=1)
    x, zero, one = torch.randn(5, 2), torch.zeros(5, dtype=torch.long), torch.ones(5, dtype=torch.long)
    made = [family.sample(networks, range(5), labels, spec=POINTS).x for labels in (zero, one)]

    assert not torch.allclose(*made)
    assert not torch.allclose(family.d_logit(networks, x, zero), family.d_logit(networks, x, one))


def test_a_class_of_points_is_learned(points_after_training):
    labels = torch.arange(400) % 2
    noise = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    x = noise * 0.3 + (2.0 * labels - 1)[:, None]

    points = points_after_training(MLPGAN(size="tiny"), x, labels, steps=600, label=1)

    assert points.mean(0).tolist() == pytest.approx([1.0, 1.0], abs=0.15)
