import pytest
import torch
from torch import nn

from aigc_pipeline.generators.flow_matching import FlowMatching, Matching, between, heun
from aigc_pipeline.modalities import ImageSpec, VectorSpec

POINTS = VectorSpec(num_values=2, scale=1.0)
SPECS = [
    pytest.param(POINTS, id="points"),
    pytest.param(ImageSpec(height=8, width=8, channels=1), id="8px"),
    pytest.param(ImageSpec(height=28, width=28, channels=1), id="28px"),
    pytest.param(ImageSpec(height=20, width=36, channels=3), id="20x36px"),
]


class ClassDenoiser(nn.Module):
    """Tells the label as the sample; `none` hides it. Counts its passes and remembers labels."""

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


class Constant(nn.Module):
    """Tells the same sample always: the truth where all data are one point."""

    none = 1

    def __init__(self, sample: torch.Tensor) -> None:
        super().__init__()
        self.sample = sample

    def forward(self, x, t, labels):
        del t, labels
        return self.sample.expand_as(x)


def of_a_gaussian(std: float):
    """Return the denoiser of data N(0, std^2): their mean, given a point on the line to them."""

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        data, noise = (t * std).square(), (1 - t).square()
        return x * (t * std**2 / (data + noise))[:, None]

    return denoise


def std_after(num_steps: int, std: float) -> float:
    """Return the standard deviation of samples: the sampler is linear in the noise here, so 1 ends there."""
    return float(heun(of_a_gaussian(std), torch.ones(1, 1, dtype=torch.float64), num_steps))


def shaken(module: nn.Module) -> nn.Module:
    """Move every weight off its start, so that branches which begin at zero count."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.mark.parametrize("std", [0.1, 0.5, 1.0, 2.0])
def test_six_steps_give_gaussian_data_their_spread(std):
    assert std_after(6, std) == pytest.approx(std, rel=0.1)


def test_half_the_step_leaves_a_quarter_of_the_error():
    errors = [abs(std_after(num_steps, 0.5) - 0.5) for num_steps in (40, 80)]

    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_the_sampler_lands_on_the_last_answer():
    assert torch.equal(heun(lambda x, _: torch.full_like(x, 0.25), torch.randn(3, 2), 7), torch.full((3, 2), 0.25))


def test_one_step_is_the_answer_to_pure_noise():
    noise = torch.randn(3, 2)

    assert torch.equal(heun(lambda x, t: x + t[:, None], noise, 1), noise)


def test_a_line_starts_at_the_noise_and_ends_at_the_sample():
    noise, x = torch.randn(4, 1, 3, 3), torch.randn(4, 1, 3, 3)

    assert torch.equal(between(noise, x, torch.zeros(4)), noise)
    assert torch.equal(between(noise, x, torch.ones(4)), x)
    torch.testing.assert_close(between(noise, x, torch.full((4,), 0.25)), 0.75 * noise + 0.25 * x)


def test_the_truth_has_no_loss(make_batch):
    target = torch.tensor([2.0, -1.0])
    batch = make_batch(target.expand(50, 2), torch.zeros(50, dtype=torch.long))

    loss, _ = Matching(0.1)({"denoiser": Constant(target)}, batch)

    assert loss.item() == 0.0


def test_the_loss_is_the_error_of_the_velocity_until_little_remains(make_batch):
    target, told = torch.tensor([2.0, -1.0]), torch.tensor([2.0, 0.0])
    batch = make_batch(target.expand(20_000, 2), torch.zeros(20_000, dtype=torch.long))

    loss, _ = Matching(0.0)({"denoiser": Constant(told)}, batch)

    mean_weight = (1 / 0.5 - 1) + 0.5 / 0.5**2  # the integral of 1 / (1 - t)^2 up to t = .5, and of 1 / .5^2 beyond
    assert loss.item() == pytest.approx(0.5 * mean_weight, rel=0.03)


def test_the_class_of_the_set_share_of_samples_is_hidden(make_batch):
    network = ClassDenoiser()
    Matching(0.1)({"denoiser": network}, make_batch(torch.randn(5_000, 2), torch.full((5_000,), 3)))

    assert float((network.labels == 9).float().mean()) == pytest.approx(0.1, abs=0.02)
    assert set(network.labels.tolist()) == {3, 9}


@pytest.mark.parametrize(("guidance", "sample", "passes"), [(1.0, 3, 19), (2.0, -3, 38), (0.0, 9, 38)])
def test_guidance_moves_away_from_the_sample_without_class(guidance, sample, passes):
    network = ClassDenoiser()
    made = (
        FlowMatching(guidance=guidance, num_steps=10)
        .sample({"denoiser": network}, [4, 5], torch.tensor([3, 3]), spec=POINTS)
        .x
    )

    torch.testing.assert_close(made, torch.full((2, 2), float(sample)))
    assert network.passes == passes


@pytest.mark.parametrize("spec", SPECS)
def test_every_weight_learns(spec, make_batch):
    networks = FlowMatching(size="tiny").networks(spec, 2, seed=1)
    shaken(networks["denoiser"])
    x = torch.randn(40, *spec.shape, generator=torch.Generator().manual_seed(0))
    loss, _ = Matching(0.5)(networks, make_batch(x, torch.arange(40) % 2))
    loss.backward()

    for name, parameter in networks["denoiser"].named_parameters():
        assert float(parameter.grad.abs().sum()) > 0, name


@pytest.mark.parametrize("spec", SPECS)
def test_a_sample_depends_on_its_own_seed_and_label_alone(spec):
    family = FlowMatching(size="tiny", num_steps=2)
    networks = family.networks(spec, 2, seed=1)
    shaken(networks["denoiser"])
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


@pytest.mark.parametrize("spec", SPECS[1:])
def test_pictures_never_leave_their_range(spec):
    family = FlowMatching(size="tiny", num_steps=2)
    networks = family.networks(spec, 2, seed=1)
    with torch.no_grad():
        for parameter in networks["denoiser"].parameters():
            parameter.mul_(20)
        made = family.sample(networks, [3, 4], torch.tensor([0, 1]), spec=spec).x

    assert float(made.abs().max()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("spec", SPECS)
def test_the_answer_depends_on_the_time(spec):
    denoiser = shaken(FlowMatching(size="tiny").networks(spec, 2, seed=1)["denoiser"])
    x, labels = torch.randn(1, *spec.shape, generator=torch.Generator().manual_seed(0)), torch.tensor([0])
    early, late = (denoiser(x, torch.tensor([t]), labels) for t in (0.2, 0.8))

    assert not torch.allclose(early, late, atol=1e-3)


@pytest.mark.parametrize("spec", SPECS[2:])
def test_features_of_every_octave_are_carried_across(spec):
    denoiser = shaken(FlowMatching(size="tiny").networks(spec, 2, seed=1)["denoiser"])
    for parameter in denoiser.ups.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(2, *spec.shape, generator=torch.Generator().manual_seed(0))
    one, other = denoiser(x, torch.full((2,), 0.5), torch.tensor([0, 0]))

    assert not torch.allclose(one, other, atol=1e-3)
