import math

import pytest
import torch

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.generators import DCGAN
from aigc_pipeline.generators.backbones import build_pair
from aigc_pipeline.generators.backbones.parts import geometry, he_init, projection
from aigc_pipeline.generators.backbones.resnext import Block
from aigc_pipeline.generators.losses import gradient_penalty, squared_norm
from aigc_pipeline.modalities import ImageSpec, VectorSpec


def make_spec(height: int, width: int, channels: int) -> ImageSpec:
    """Skip validation: pictures are grey or RGB, but the networks take 1 to 4 channels."""
    return ImageSpec.model_construct(height=height, width=width, channels=channels, symmetries=())


SPECS = {
    "28x28x1": make_spec(28, 28, 1),
    "32x32x3": make_spec(32, 32, 3),
    "9x21x4": make_spec(9, 21, 4),
    "8x8x1": make_spec(8, 8, 1),
}
CASES = [(backbone, name) for backbone in ("mlp", "lite", "resnext") for name in SPECS]


@pytest.mark.parametrize(("side", "num_pools"), [(32, 0), (28, 0), (50, 1)])
def test_dcgan_pools_only_where_its_convolutions_do_not_end_at_the_base(side, num_pools):
    discriminator = DCGAN(size="tiny").networks(make_spec(side, side, 1), 2, seed=0)["discriminator"]
    pools = [layer for layer in discriminator.modules() if isinstance(layer, torch.nn.AdaptiveAvgPool2d)]

    assert len(pools) == num_pools
    assert discriminator(torch.zeros(2, 1, side, side), torch.tensor([0, 1])).shape == (2,)


def make_batch(spec, n: int = 6):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, *spec.shape, generator=generator), torch.arange(n) % 3


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """Move every weight off its start, so that branches which begin at zero count."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.mark.parametrize(("backbone", "name"), CASES)
def test_the_explicit_gradient_equals_autograds(backbone, name):
    spec = SPECS[name]
    x, labels = make_batch(spec)
    discriminator = shaken(build_pair(backbone, "tiny", spec, 3, seed=1)["discriminator"]).double()
    x = x.double().requires_grad_()
    expected_logit = discriminator(x, labels)
    (expected,) = torch.autograd.grad(expected_logit.sum(), x)

    logit, gradient = discriminator.logit_and_gradient(x.detach(), labels)

    torch.testing.assert_close(logit, expected_logit, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("backbone", "name"), CASES)
def test_the_penalty_moves_the_weights_as_differentiating_twice_does(backbone, name):
    spec = SPECS[name]
    x, labels = make_batch(spec)
    moved = []
    for explicit in (True, False):
        discriminator = shaken(build_pair(backbone, "tiny", spec, 3, seed=1)["discriminator"]).double()
        if explicit:
            penalty = squared_norm(discriminator.logit_and_gradient(x.double(), labels)[1].double())
        else:
            seen = x.double().requires_grad_()
            penalty = gradient_penalty(seen, discriminator(seen, labels))
        penalty.backward()
        moved.append({n: p.grad for n, p in discriminator.named_parameters() if p.grad is not None})

    explicit, twice = moved
    for name_, gradient in twice.items():
        reference = explicit.get(name_, torch.zeros_like(gradient))
        torch.testing.assert_close(reference, gradient, rtol=3e-6, atol=1e-6 * float(gradient.abs().max() + 1))


@pytest.mark.parametrize("size", ["tiny", "small", "medium"])
@pytest.mark.parametrize(
    "shape", [(8, 8, 1), (8, 256, 2), (20, 12, 4), (28, 28, 1), (33, 47, 3), (64, 64, 3), (100, 36, 1)]
)
@pytest.mark.parametrize("backbone", ["lite", "resnext"])
def test_any_size_and_one_to_four_channels_fit(backbone, shape, size):
    height, width, channels = shape
    spec = make_spec(height, width, channels)
    pair = build_pair(backbone, size, spec, 2, seed=1)
    labels = torch.tensor([0, 1])

    x = pair["generator"](torch.randn(2, 64), labels)

    assert x.shape == (2, channels, height, width)
    assert pair["discriminator"](x, labels).shape == (2,)


def test_lite_reaches_a_plain_background_and_stays_in_range():
    generator = build_pair("lite", "tiny", SPECS["28x28x1"], 3, seed=1)["generator"]
    with torch.no_grad():
        for parameter in generator.ups[-1].parameters():
            parameter.mul_(100)
        x = generator(torch.randn(8, 64, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3)

    assert float(x.abs().max()) == 1.0
    assert float((x.abs() > 1 - 1e-6).float().mean()) > 0.5


def test_wider_sizes_have_more_weights():
    spec = SPECS["32x32x3"]
    for backbone in ("mlp", "lite", "resnext"):
        counts = [
            sum(p.numel() for p in build_pair(backbone, size, spec, 2, seed=1)["generator"].parameters())
            for size in ("tiny", "small", "medium", "large")
        ]

        assert counts == sorted(counts)
        assert len(set(counts)) == 4


def test_the_papers_network_has_its_published_number_of_weights():
    pair = build_pair("resnext", "large", SPECS["32x32x3"], 10, seed=1)
    millions = [sum(p.numel() for p in module.parameters()) / 1e6 for module in pair.values()]

    assert millions == pytest.approx([20.8, 20.8], rel=0.05)  # generators.md 2.5, from the paper's 768 x 4


def test_points_and_small_pictures_get_the_mlp_by_default():
    kinds = {type(build_pair("auto", "tiny", spec, 2, seed=0)["generator"]).__name__ for spec in (SPECS["8x8x1"], VectorSpec(num_values=2, scale=1.0))}  # fmt: skip

    assert kinds == {"MLPGenerator"}
    assert type(build_pair("auto", "tiny", SPECS["28x28x1"], 2, seed=0)["generator"]).__name__ == "LiteGenerator"


@pytest.mark.parametrize("backbone", ["lite", "resnext"])
def test_points_are_refused_by_backbones_of_convolutions(backbone):
    with pytest.raises(ConfigError, match=f"backbone is '{backbone}', which is for pictures.*Use mlp or auto"):
        build_pair(backbone, "tiny", VectorSpec(num_values=2, scale=1.0), 3, seed=0)


@pytest.mark.parametrize(("side", "base", "octaves"), [(28, 7, 2), (32, 4, 3), (64, 4, 4), (256, 4, 6), (8, 4, 1)])
def test_the_base_side_is_four_to_seven(side, base, octaves):
    assert geometry(side, side) == ((base, base), octaves)


def test_layers_before_an_activation_begin_with_he_weights():
    layer = he_init(torch.nn.Linear(500, 900), gain=0.5)

    assert float(layer.weight.detach().std()) == pytest.approx(0.5 * math.sqrt(2 / (1 + 0.2**2) / 500), rel=5e-3)
    assert not layer.bias.any()


def test_class_vectors_begin_with_length_one():
    assert float(projection(400, 50).weight.detach().norm(dim=1).mean()) == pytest.approx(1.0, abs=0.02)


def test_a_residual_block_begins_as_the_identity_with_fixups_gain():
    x = torch.randn(2, 32, 5, 5)
    block = build_pair("resnext", "medium", SPECS["32x32x3"], 2, seed=1)["generator"].stages[0]

    assert torch.equal(Block(32, 1.0)(x), x)
    expected = 8**-0.25 * math.sqrt(2 / (1 + 0.2**2) / block.widen.in_channels)  # four stages of two blocks
    assert float(block.widen.weight.detach().std()) == pytest.approx(expected, rel=0.02)
