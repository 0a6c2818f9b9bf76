"""Label-safe variation of pictures: known transforms, legality, independence of the batch."""

import pytest
import torch
from torch import Tensor

from aigc_pipeline.modalities.base import Variation
from aigc_pipeline.modalities.image import ImageModality, ImageSpec

MODALITY = ImageModality()
PLAIN = ImageSpec(height=16, width=16, channels=3)
SYMMETRIC = ImageSpec(height=16, width=16, channels=3, symmetries=("horizontal", "vertical"))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(num_samples: int = 4, spec: ImageSpec = PLAIN) -> Tensor:
    return torch.rand(num_samples, *spec.shape, generator=seeded(7)) * 2 - 1


def still(num_samples: int = 4, **changed: float) -> Variation:
    """Return a draw that changes nothing but what is named."""
    values = {"angle_deg": 0.0, "scale": 1.0, "shift_x": 0.0, "shift_y": 0.0} | changed
    tensors = {name: torch.full((num_samples,), value) for name, value in values.items()}
    return tensors | {"elastic": torch.zeros(num_samples, 2, 6, 6)}


def test_neutral_draw_changes_nothing() -> None:
    x = pictures()

    assert torch.allclose(MODALITY.vary(x, still(), PLAIN), x, atol=1e-5)


def test_quarter_turn_is_counterclockwise() -> None:
    x = pictures()

    assert torch.allclose(MODALITY.vary(x, still(angle_deg=90.0), PLAIN), torch.rot90(x, 1, (2, 3)), atol=1e-4)


def test_half_turn_of_an_oblong_picture_stays_in_place() -> None:
    spec = ImageSpec(height=8, width=24, channels=1)
    x = pictures(spec=spec)

    assert torch.allclose(MODALITY.vary(x, still(angle_deg=180.0), spec), x.flip(2, 3), atol=1e-4)


def test_rotation_of_an_oblong_picture_is_rigid() -> None:
    spec = ImageSpec(height=16, width=48, channels=1)
    x = torch.zeros(1, *spec.shape)
    x[..., 7:9, 18:30] = 1  # 12 px wide, 2 px high

    turned = MODALITY.vary(x, still(1, angle_deg=90.0), spec)[0, 0]

    assert (turned > 0.5).any(dim=1).sum() == 12
    assert (turned > 0.5).any(dim=0).sum() == 2


def test_positive_shift_moves_right_and_down() -> None:
    x = pictures()

    moved = MODALITY.vary(x, still(shift_x=2 / 16, shift_y=1 / 16), PLAIN)

    assert torch.allclose(moved[:, :, 1:, 2:], x[:, :, :-1, :-2], atol=1e-5)


def test_scale_above_one_enlarges() -> None:
    x = torch.full((1, *PLAIN.shape), -1.0)
    x[..., 6:10, 6:10] = 1

    assert (MODALITY.vary(x, still(1, scale=2.0), PLAIN) > 0).sum() == 4 * (x > 0).sum()


@pytest.mark.parametrize(("symmetry", "axis"), [("horizontal", 3), ("vertical", 2)])
def test_flip_mirrors_its_axis(symmetry: str, axis: int) -> None:
    x = pictures()
    flips = {f"flip_{name}": torch.full((4,), name == symmetry) for name in SYMMETRIC.symmetries}

    assert torch.allclose(MODALITY.vary(x, still() | flips, SYMMETRIC), x.flip(axis), atol=1e-5)


def test_flips_are_drawn_only_where_they_are_legal() -> None:
    drawn = MODALITY.draw_variation(3, seeded(), PLAIN)
    legal = MODALITY.draw_variation(3, seeded(), SYMMETRIC)

    assert not any(name.startswith("flip") for name in drawn)
    assert set(legal) - set(drawn) == {"flip_horizontal", "flip_vertical"}


def test_about_half_of_the_legal_flips_are_drawn() -> None:
    flips = MODALITY.draw_variation(2_000, seeded(), SYMMETRIC)["flip_horizontal"]

    assert flips.dtype == torch.bool
    assert 0.45 < flips.float().mean() < 0.55


def test_draws_stay_within_their_bounds() -> None:
    drawn = MODALITY.draw_variation(2_000, seeded(), PLAIN)

    assert 9 < drawn["angle_deg"].abs().max() <= 10
    assert 0.9 <= drawn["scale"].min() < 0.91 < 1.09 < drawn["scale"].max() <= 1.1
    assert 0.07 < drawn["shift_x"].abs().max() <= 0.08
    assert drawn["elastic"].std() == pytest.approx(1.5 / 28, rel=0.02)


def test_half_the_strength_goes_half_as_far_in_all_but_mirroring() -> None:
    whole, half = (MODALITY.draw_variation(50, seeded(3), SYMMETRIC, strength=s) for s in (1.0, 0.5))

    for name in ("angle_deg", "shift_x", "shift_y", "elastic"):
        torch.testing.assert_close(half[name], whole[name] / 2)
    torch.testing.assert_close(half["scale"] - 1, (whole["scale"] - 1) / 2, atol=1e-6, rtol=1e-3)
    assert torch.equal(half["flip_horizontal"], whole["flip_horizontal"])


def test_every_tensor_of_a_draw_has_one_row_a_sample() -> None:
    assert {len(values) for values in MODALITY.draw_variation(5, seeded(), SYMMETRIC).values()} == {5}


def test_equal_seeds_give_equal_pictures() -> None:
    x = pictures()
    once, again = (MODALITY.vary(x, MODALITY.draw_variation(4, seeded(3), SYMMETRIC), SYMMETRIC) for _ in range(2))

    assert torch.equal(once, again)


def test_sample_varies_alone_as_in_a_batch() -> None:
    x = pictures(9)
    drawn = MODALITY.draw_variation(9, seeded(), SYMMETRIC)
    alone = {name: values[4:5] for name, values in drawn.items()}

    batch = MODALITY.vary(x, drawn, SYMMETRIC)

    assert torch.allclose(MODALITY.vary(x[4:5], alone, SYMMETRIC), batch[4:5], atol=1e-5)


def test_varied_picture_differs_but_keeps_its_range() -> None:
    x = pictures()

    varied = MODALITY.vary(x, MODALITY.draw_variation(4, seeded(), PLAIN), PLAIN)

    assert varied.shape == x.shape
    assert (varied - x).abs().mean() > 0.05
    assert varied.abs().max() <= 1 + 1e-5


def test_variation_passes_gradients_to_the_picture() -> None:
    x = pictures().requires_grad_()

    varied = MODALITY.vary(x, MODALITY.draw_variation(4, seeded(), SYMMETRIC), SYMMETRIC)
    (gradient,) = torch.autograd.grad(varied.sum(), x)

    assert gradient.abs().sum() > 0
