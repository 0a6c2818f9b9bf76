import pytest
import torch
from torch import nn

from aigc_pipeline.generators.adversarial import draw_fakes
from aigc_pipeline.generators.backbones import build_pair
from aigc_pipeline.generators.wgan_gp import WGANGP, CriticObjective, unit_length_penalty
from aigc_pipeline.modalities import ImageSpec, VectorSpec

POINTS = VectorSpec(num_values=2, scale=1.0)
PICTURES = ImageSpec(height=32, width=32, channels=1)


class LinearCritic(nn.Module):
    """D(x) = w x; remembers where its gradient was asked for."""

    def __init__(self, *weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.asked_at = torch.empty(0)

    def forward(self, x, labels):
        del labels
        return x @ self.weight

    def logit_and_gradient(self, x, labels):
        self.asked_at = x
        return self(x, labels), self.weight.expand_as(x)


class ConstantGenerator(nn.Module):
    """Makes the same point every time."""

    def forward(self, z, labels):
        del labels
        return torch.tensor([10.0, 0.0]).expand(len(z), 2)


def shaken(module: nn.Module) -> nn.Module:
    """Move every weight off its start, so that branches which begin at zero count."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.mark.parametrize(("length", "penalty"), [(2.0, 1.0), (1.0, 0.0), (0.5, 0.25), (0.0, 1.0)])
def test_the_penalty_is_two_sided_around_length_one(length, penalty):
    gradient = torch.tensor([0.6, 0.8]).expand(5, 2) * length

    assert unit_length_penalty(gradient).item() == pytest.approx(penalty, abs=1e-5)


def test_a_zero_gradient_moves_nothing_and_breaks_nothing():
    gradient = torch.zeros(3, 2, requires_grad=True)
    (slope,) = torch.autograd.grad(unit_length_penalty(gradient), gradient)

    assert torch.equal(slope, torch.zeros(3, 2))


def test_a_linear_critic_of_length_two_pays_ten_and_its_distance_is_known(make_batch):
    networks = {"discriminator": LinearCritic(0.0, 2.0), "generator": ConstantGenerator()}
    batch = make_batch(torch.tensor([[1.0, 3.0], [-1.0, 5.0]]), torch.tensor([0, 1]))

    loss, values = CriticObjective(10.0)(networks, batch)

    assert values["penalty"].item() == pytest.approx(10.0)
    assert values["distance"].item() == pytest.approx(8.0)
    assert loss.item() == pytest.approx(2.0)


def test_the_gradient_is_taken_between_each_real_sample_and_its_fake(make_batch):
    networks = {"discriminator": LinearCritic(0.0, 1.0), "generator": ConstantGenerator()}
    real = torch.tensor([[0.0, 0.0]]).expand(500, 2)

    CriticObjective(10.0)(networks, make_batch(real, torch.zeros(500, dtype=torch.long)))
    share = networks["discriminator"].asked_at[:, 0] / 10

    assert torch.equal(networks["discriminator"].asked_at[:, 1], torch.zeros(500))
    assert 0 <= float(share.min()) < 0.05
    assert 0.95 < float(share.max()) <= 1
    assert float(share.mean()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("backbone", "spec"), [("mlp", POINTS), ("lite", PICTURES)], ids=["mlp", "lite"])
def test_the_loss_and_every_parameters_gradient_equal_those_of_differentiating_twice(backbone, spec, make_batch):
    networks = build_pair(backbone, "tiny", spec, 3, seed=1)
    critic = shaken(networks["discriminator"])
    x, labels = torch.randn(6, *spec.shape, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    loss, _ = CriticObjective(10.0)(networks, make_batch(x, labels))
    explicit = torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True)

    batch = make_batch(x, labels)
    with torch.no_grad():
        fake = draw_fakes(networks, batch)
    between = torch.lerp(fake, x, batch.draws.uniform(*[1] * (x.ndim - 1))).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between, labels).sum(), between, create_graph=True)
    penalty = ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
    expected_loss = critic(fake, labels).mean() - critic(x, labels).mean() + 10 * penalty
    expected = torch.autograd.grad(expected_loss, list(critic.parameters()), allow_unused=True)

    torch.testing.assert_close(loss, expected_loss)
    for ours, theirs in zip(explicit, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_the_critic_steps_as_often_as_set_for_each_step_of_the_generator():
    critic, generator = WGANGP(critic_steps=3).phases(POINTS, 100)

    assert (critic.repeats, generator.repeats) == (3, 1)
    assert (critic.beta1, critic.beta2.at(0.5)) == (0.0, 0.9)


def test_the_penalty_weighs_what_is_set_or_ten_on_pictures_and_one_on_points():
    weights = [
        WGANGP(penalty_weight=weight).phases(spec, 100)[0].loss.penalty_weight
        for weight in (None, 3.0)
        for spec in (PICTURES, POINTS)
    ]

    assert weights == [10.0, 1.0, 3.0, 3.0]


def test_a_trained_critic_reads_the_distance_of_two_points(make_batch):
    """For points 3 apart, slope s costs 10 (s - 1)^2 - 3 s: least at s = 1 + 3/20, where the distance reads 3.45."""
    networks = {"discriminator": build_pair("mlp", "tiny", POINTS, 1, seed=1)["discriminator"]}
    networks["generator"] = ConstantGenerator()
    optimizer = torch.optim.Adam(networks["discriminator"].parameters(), lr=1e-3)
    real, labels = torch.tensor([[7.0, 0.0]]).expand(64, 2), torch.zeros(64, dtype=torch.long)
    for step in range(150):
        optimizer.zero_grad()
        loss, values = CriticObjective(10.0)(networks, make_batch(real, labels, seed=step))
        loss.backward()
        optimizer.step()

    assert values["distance"].item() == pytest.approx(3.45, rel=0.01)
