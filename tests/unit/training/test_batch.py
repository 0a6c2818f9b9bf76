import pytest
import torch

from aigc_pipeline.training.batch import Draws


def make_draws(part: slice, seed: int = 3, num_rows: int = 10) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), num_rows, part)


@pytest.mark.parametrize(
    "take",
    [
        lambda draws: draws.normal(4, 2),
        lambda draws: draws.uniform(),
        lambda draws: draws.integers(-3, 9),
        lambda draws: draws.of(lambda n, rng: {"a": torch.rand(n, 3, generator=rng)})["a"],
    ],
)
def test_parts_draw_what_the_whole_batch_draws(take):
    whole = take(make_draws(slice(0, 10)))

    parts = [take(make_draws(slice(start, start + 4))) for start in (0, 4, 8)]

    assert torch.equal(torch.cat(parts), whole)


def test_integers_stay_within_their_bounds():
    drawn = Draws(torch.Generator().manual_seed(0), 1_000, slice(0, 1_000)).integers(-2, 3)

    assert set(drawn.tolist()) == {-2, -1, 0, 1, 2}
