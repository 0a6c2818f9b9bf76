import math
from typing import get_args

import pytest
import torch

from aigc_pipeline.generators.losses import LOSSES, LossName, gradient_penalty, squared_norm

REAL, FAKE = torch.tensor([2.0, 0.5]), torch.tensor([-1.0, 0.5])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("relativistic", (softplus(-3) + softplus(0)) / 2, (softplus(3) + softplus(0)) / 2),
        (
            "non_saturating",
            (softplus(-2) + softplus(-0.5) + softplus(-1) + softplus(0.5)) / 2,
            (softplus(1) + softplus(-0.5)) / 2,
        ),
        (
            "minimax",
            (softplus(-2) + softplus(-0.5) + softplus(-1) + softplus(0.5)) / 2,
            -(softplus(-1) + softplus(0.5)) / 2,
        ),
        ("hinge", (0 + 0.5 + 0 + 1.5) / 2, 0.25),
        ("wasserstein", -0.25 - 1.25, 0.25),
    ],
)
def test_losses_have_their_papers_values(name, discriminator, generator):
    loss = LOSSES[name]

    assert float(loss.discriminator(REAL, FAKE)) == pytest.approx(discriminator, rel=1e-6)
    assert float(loss.generator(REAL if loss.pairs else None, FAKE)) == pytest.approx(generator, rel=1e-6)


def test_every_name_has_a_loss():
    assert set(get_args(LossName)) == set(LOSSES)


@pytest.mark.parametrize("name", get_args(LossName))
def test_both_players_pull_a_fakes_logit_in_opposite_directions(name):
    pulls = []
    for player in ("discriminator", "generator"):
        fake = torch.zeros(4, requires_grad=True)
        real = torch.zeros(4)
        value = (
            LOSSES[name].discriminator(real, fake) if player == "discriminator" else LOSSES[name].generator(real, fake)
        )
        (gradient,) = torch.autograd.grad(value, fake)
        pulls.append(gradient.sign().unique().tolist())

    assert pulls == [[1.0], [-1.0]]


def test_the_minimax_generator_hardly_learns_where_d_wins_but_the_non_saturating_one_does():
    slopes = {}
    for name in ("minimax", "non_saturating"):
        fake = torch.full((1,), -8.0, requires_grad=True)
        (slopes[name],) = torch.autograd.grad(LOSSES[name].generator(None, fake), fake)

    assert abs(float(slopes["minimax"])) < 1e-3
    assert abs(float(slopes["non_saturating"])) > 0.99


def test_the_penalty_of_a_linear_d_is_its_squared_weight():
    weight = torch.tensor([3.0, -4.0])
    x = torch.randn(5, 2, requires_grad=True)

    assert float(gradient_penalty(x, x @ weight)) == pytest.approx(25.0)
    assert float(squared_norm(weight.expand(5, 2))) == pytest.approx(25.0)
