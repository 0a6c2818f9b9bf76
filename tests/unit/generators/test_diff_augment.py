"""What D sees: how far pictures move, what a hole holds, how many are changed."""

import pytest
import torch
from torch import Tensor

from aigc_pipeline.generators.diff_augment import _cutout, _translate, diff_augment
from aigc_pipeline.training.batch import Draws

HEIGHT, WIDTH = 16, 24


def draws(num_rows: int, part: slice = slice(None)) -> Draws:
    return Draws(torch.Generator().manual_seed(4), num_rows, part)


def noise(num_rows: int) -> Tensor:
    return torch.randn(num_rows, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


def test_pictures_move_by_up_to_an_eighth_of_each_side_and_the_edge_repeats():
    places = 100.0 * torch.arange(HEIGHT)[:, None] + torch.arange(WIDTH)  # a value tells its row and column
    moved = _translate(places.expand(2_000, 1, HEIGHT, WIDTH), 1.0, draws(2_000))[:, 0].long()
    rows, columns = moved[:, 8, 12] // 100 - 8, moved[:, 8, 12] % 100 - 12

    assert set(rows.tolist()) == set(range(-2, 3))
    assert set(columns.tolist()) == set(range(-3, 4))
    assert torch.equal(moved[:, 0, 0], 100 * rows.clamp(min=0) + columns.clamp(min=0))


def test_a_hole_of_a_third_of_each_side_holds_each_channels_mean():
    x = noise(500)
    cut = _cutout(x, 1.0, draws(500))
    is_hole = (cut != x).all(1)
    sizes = is_hole.any(2).sum(1), is_hole.any(1).sum(1)

    mean = x.mean((2, 3), keepdim=True).expand_as(x)
    torch.testing.assert_close(cut, torch.where(is_hole[:, None], mean, x))
    assert torch.equal(is_hole.sum((1, 2)), sizes[0] * sizes[1])
    assert [(int(size.min()), int(size.max())) for size in sizes] == [(1, 6), (1, 8)]


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_the_set_share_of_pictures_is_cut(p):
    x = noise(4_000)

    assert float((_cutout(x, p, draws(4_000)) != x).flatten(1).any(1).float().mean()) == pytest.approx(p, abs=0.03)


def test_at_no_strength_and_for_points_nothing_changes():
    x, points = noise(3), torch.randn(3, 2)

    assert diff_augment(x, 0.0, draws(3)) is x
    assert diff_augment(points, 1.0, draws(3)) is points


def test_parts_of_a_batch_are_changed_as_the_whole_is():
    x = noise(10)
    parts = [diff_augment(x[part], 0.8, draws(10, part)) for part in (slice(0, 4), slice(4, 10))]

    assert torch.equal(torch.cat(parts), diff_augment(x, 0.8, draws(10)))
