import math

import pytest
import torch
from torch import nn

from aigc_pipeline.generators.base import latents
from aigc_pipeline.generators.flow_matching import FlowMatching, Matching, between, heun
from aigc_pipeline.modalities import ImageSpec, VectorSpec

POINTS = VectorSpec(num_values=2, scale=1.0)
SPECS = [
    pytest.param(POINTS, id="points"),
    pytest.param(ImageSpec(height=8, width=8, channels=1), id="8px"),
    pytest.param(ImageSpec(height=28, width=28, channels=1), id="28px"),
    pytest.param(ImageSpec(height=20, width=36, channels=3), id="20x36px"),
]


class ClassVelocity(nn.Module):
    """The label is the velocity; `none` hides it. Counts its passes and remembers labels."""

    none, shape = 9, (2,)

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0
        self.labels = torch.empty(0)

    def forward(self, x, t, labels):
        del t
        self.passes += 1
        self.labels = labels
        return labels[:, None].expand_as(x).float()


class KnownTarget(nn.Module):
    """The true velocity where all data are one point."""

    none = 1

    def __init__(self, target: torch.Tensor) -> None:
        super().__init__()
        self.target = target

    def forward(self, x, t, labels):
        del labels
        return (self.target - x) / (1 - t)[:, None]


def shaken(module: nn.Module) -> nn.Module:
    """Move every weight off its start, so that branches which begin at zero count."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return module


def grown(num_steps: int, rate: float) -> float:
    """Return where dx/dt = rate x takes 1 in one unit of time, by Heun's method."""
    return float(heun(lambda x, t: rate * x + 0 * t[:, None], torch.ones(1, 1, dtype=torch.float64), num_steps))


def test_one_step_on_a_linear_field_is_the_second_order_expansion():
    assert grown(1, -0.7) == pytest.approx(1 - 0.7 + 0.7**2 / 2)


def test_half_the_step_leaves_a_quarter_of_the_error():
    errors = [abs(grown(num_steps, -1.5) - math.exp(-1.5)) for num_steps in (20, 40)]

    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_the_sampler_runs_from_time_zero_to_one():
    end = heun(lambda x, t: t[:, None].expand_as(x), torch.zeros(3, 2), 7)

    assert end.flatten().tolist() == pytest.approx([0.5] * 6)


def test_a_line_starts_at_the_noise_and_ends_at_the_sample():
    noise, x = torch.randn(4, 1, 3, 3), torch.randn(4, 1, 3, 3)

    assert torch.equal(between(noise, x, torch.zeros(4)), noise)
    assert torch.equal(between(noise, x, torch.ones(4)), x)
    torch.testing.assert_close(between(noise, x, torch.full((4,), 0.25)), 0.75 * noise + 0.25 * x)


def test_the_true_velocity_has_no_loss(make_batch):
    target = torch.tensor([2.0, -1.0])
    batch = make_batch(target.expand(50, 2), torch.zeros(50, dtype=torch.long))

    loss, _ = Matching(0.1)({"velocity": KnownTarget(target)}, batch)

    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_the_class_of_the_set_share_of_samples_is_hidden(make_batch):
    network = ClassVelocity()
    Matching(0.1)({"velocity": network}, make_batch(torch.randn(5_000, 2), torch.full((5_000,), 3)))

    assert float((network.labels == 9).float().mean()) == pytest.approx(0.1, abs=0.02)
    assert set(network.labels.tolist()) == {3, 9}


@pytest.mark.parametrize(("guidance", "velocity", "passes"), [(1.0, 3, 20), (2.0, -3, 40), (0.0, 9, 40)])
def test_guidance_moves_away_from_the_velocity_without_class(guidance, velocity, passes):
    network = ClassVelocity()
    made = (
        FlowMatching(guidance=guidance, num_steps=10)
        .sample({"velocity": network}, [4, 5], torch.tensor([3, 3]), spec=POINTS)
        .x
    )

    torch.testing.assert_close(made, latents([4, 5], 2, made.device) + velocity)
    assert network.passes == passes


@pytest.mark.parametrize("spec", SPECS)
def test_every_weight_learns(spec, make_batch):
    networks = FlowMatching(size="tiny").networks(spec, 2, seed=1)
    shaken(networks["velocity"])
    x = torch.randn(40, *spec.shape, generator=torch.Generator().manual_seed(0))
    loss, _ = Matching(0.5)(networks, make_batch(x, torch.arange(40) % 2))
    loss.backward()

    for name, parameter in networks["velocity"].named_parameters():
        assert float(parameter.grad.abs().sum()) > 0, name


@pytest.mark.parametrize("spec", SPECS)
def test_a_sample_depends_on_its_own_seed_and_label_alone(spec):
    family = FlowMatching(size="tiny", num_steps=2)
    networks = family.networks(spec, 2, seed=1)
    shaken(networks["velocity"])
    with torch.no_grad():
        together = family.sample(networks, [3, 4, 5], torch.tensor([0, 1, 1]), spec=spec).x
        alone = family.sample(networks, [4], torch.tensor([1]), spec=spec).x
        other_class = family.sample(networks, [4], torch.tensor([0]), spec=spec).x

    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(alone, other_class, atol=1e-3)


def test_the_mean_and_the_covariance_of_a_gaussian_are_learned(points_after_training):
    noise = torch.randn(2, 4_000, 2, generator=torch.Generator().manual_seed(0))
    shape = torch.tensor([[0.8, 0.0], [0.5, 0.4]])
    mean = torch.tensor([1.0, -0.5])
    x = torch.cat([noise[0] @ shape.T + mean, noise[1] - 3])
    labels = torch.arange(8_000) // 4_000

    points = points_after_training(FlowMatching(size="tiny"), x, labels, steps=1_000)

    torch.testing.assert_close(points.mean(0), mean, atol=0.1, rtol=0)
    torch.testing.assert_close(points.T.cov(), shape @ shape.T, atol=0.1, rtol=0)
