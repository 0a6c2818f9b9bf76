import json

import pytest
import torch

from aigc_pipeline.core.errors import DataError
from aigc_pipeline.generators.base import latents
from aigc_pipeline.generators.warp import Warp, keeps_ink, roughness, warp
from aigc_pipeline.modalities import ImageSpec

SPEC = ImageSpec(height=16, width=16, channels=1)


def make_squares(n: int = 6) -> torch.Tensor:
    """Return black pictures with a bright square that sits somewhere else in each."""
    x = torch.full((n, 1, 16, 16), -1.0)
    for i in range(n):
        x[i, :, 4 + i % 3 : 10 + i % 3, 5:11] = 1.0
    return x


def test_no_change_gives_the_picture_back():
    x = make_squares()
    zero = torch.zeros(6, 2, 3), torch.zeros(6, 2, 7, 7)

    torch.testing.assert_close(warp(x, *zero), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(warp(x, *zero, mode="bicubic"), x, atol=1e-5, rtol=0)


def test_a_constant_field_is_a_shift():
    x = make_squares()
    nodes = torch.zeros(6, 2, 7, 7)
    nodes[:, 0] = 2 * 2 / 16  # two of sixteen pixels, in half sides

    moved = warp(x, torch.zeros(6, 2, 3), nodes)

    torch.testing.assert_close(moved[..., :-2], x[..., 2:], atol=1e-4, rtol=0)


def test_places_are_exact_to_a_thousandth_of_a_pixel_under_autocast():
    ramp = torch.linspace(-1, 1, 256).expand(1, 1, 256, 256)  # a value tells the place: 255 pixels in 2 units
    change = 0.1 * torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 2, 7, 7)

    with torch.autocast("cpu", torch.bfloat16):
        found = warp(ramp, *change)

    torch.testing.assert_close(found, warp(ramp, *change), atol=1e-3 * 2 / 255, rtol=0)


def test_fresh_networks_are_the_identity_whatever_the_latent():
    family = Warp(size="tiny")
    networks = family.networks(SPEC, 2, seed=1)
    x = make_squares()

    made = family.sample(networks, range(6), torch.zeros(6, dtype=torch.long), spec=SPEC, parents=x).x

    torch.testing.assert_close(made, x, atol=1e-4, rtol=0)


def test_only_constant_fields_are_smooth():
    constant, bent = torch.full((1, 2, 7, 7), 0.1), torch.zeros(1, 2, 7, 7)
    bent[:, :, 3, 3] = 0.3

    assert float(roughness(constant)) == 0.0
    assert float(roughness(bent)) == pytest.approx(2 * 4 * 1.0)


def test_the_guard_refuses_samples_that_lose_or_gain_too_much_ink():
    parents = make_squares(3)
    half, double = parents.clone(), parents.clone()
    half[:, :, :, 8:] = -1
    double[:, :, 2:14] = 1

    assert keeps_ink(parents, parents).all()
    assert not keeps_ink(half, parents).any()
    assert not keeps_ink(double, parents).any()


def test_a_parent_whose_deformations_all_lose_ink_is_kept_as_it_is_and_says_so():
    class Wild(torch.nn.Module):
        def forward(self, x, z):
            del z
            return torch.zeros(len(x), 2, 3) + torch.eye(2, 3), torch.zeros(len(x), 2, 7, 7)  # shrinks to a quarter

    x = make_squares()
    made = Warp().sample({"warper": Wild()}, range(6), torch.zeros(6, dtype=torch.long), spec=SPEC, parents=x)

    assert torch.equal(made.x, x)
    assert made.transforms is not None
    assert [json.loads(note)["kept"] for note in made.transforms] == [False] * 6


def test_without_parents_it_says_what_is_missing():
    with pytest.raises(DataError, match="was given no parents"):
        Warp().sample({}, [1], torch.zeros(1, dtype=torch.long), spec=SPEC)


class Shifter(torch.nn.Module):
    """Moves pictures sideways by what the latent's first value says, half a pixel at most."""

    def forward(self, x, z):
        nodes = torch.zeros(len(x), 2, 7, 7)
        nodes[:, 0] = (z[:, 0].tanh() / 16)[:, None, None]
        return torch.zeros(len(x), 2, 3), nodes


def test_a_sample_is_the_parent_warped_by_the_first_latent_that_keeps_its_ink():
    family, x, seeds = Warp(latent_scale=0.5), make_squares(), range(6)
    made = family.sample({"warper": Shifter()}, seeds, torch.zeros(6, dtype=torch.long), spec=SPEC, parents=x).x
    first = latents(seeds, 4 * family.latent_size, x.device)[:, : family.latent_size]

    torch.testing.assert_close(made, warp(x, *Shifter()(x, 0.5 * first), mode="bicubic"))


def test_the_loss_is_error_divergence_and_roughness_per_value_of_pairs_side_by_side(make_batch):
    family, x = Warp(sigma=0.5, smoothness=3.0), torch.full((4, 1, 16, 16), -1.0)
    x[1, 0, 3, 3] = x[3, 0, 3, 3:5] = 1.0  # the second ones of each pair differ in one pixel and in two
    bent = torch.zeros(2, 2, 7, 7)
    bent[0, :, 3, 3] = 0.3
    networks = {
        "encoder": lambda start, _: (torch.full((len(start), 8), 2.0), torch.zeros(len(start), 8)),
        "warper": lambda _x, _z: (torch.zeros(2, 2, 3), bent),
    }
    (phase,) = family.phases(SPEC, 40)

    loss, values = phase.loss(networks, make_batch(x, torch.zeros(4, dtype=torch.long)))

    found = [float(values[name]) for name in ("error", "kl", "roughness")]
    assert found == pytest.approx([(4 + 8) / 2 / (2 * 0.5**2), 8 * 2.0**2 / 2, 3 * 8 / 2], rel=1e-5)
    assert float(loss) == pytest.approx(sum(found) / 256)
