"""The mixture source: its points follow the density that it states."""

import numpy as np
import pytest

from aigc_pipeline.core.samples import RawSample
from aigc_pipeline.sources.mixture import Mixture


def points_of(samples: list[RawSample]) -> np.ndarray:
    return np.stack([np.frombuffer(sample.content or b"", "<f4") for sample in samples])


def test_listing_counts_what_records_yield() -> None:
    source = Mixture(counts=(5, 3), test_per_class=2)

    assert source.listing().num_listed == len(list(source.records())) == 12


def test_test_points_are_given_their_role() -> None:
    roles = [sample.given_role for sample in Mixture(counts=(2, 1), test_per_class=1).records()]

    assert roles == [None, None, "test", None, "test"]


def test_points_scatter_around_the_class_mean() -> None:
    source = Mixture(counts=(4_000, 4_000), radius=3.0, spread=0.5)

    for label in range(2):
        points = points_of([sample for sample in source.records() if sample.class_name == f"class_{label}"])
        assert np.allclose(points.mean(axis=0), source.means()[label], atol=0.05)
        assert points.std(axis=0) == pytest.approx([0.5, 0.5], rel=0.05)


def test_density_integrates_to_one() -> None:
    axis = np.linspace(-8, 8, 200)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)

    mass = np.exp(Mixture().log_density(grid, 1)).sum() * (axis[1] - axis[0]) ** 2

    assert mass == pytest.approx(1, rel=1e-3)


def test_equal_settings_give_equal_points_and_digests() -> None:
    assert list(Mixture().records()) == list(Mixture().records())
    assert Mixture().listing() == Mixture().listing()


def test_another_seed_gives_other_points_and_another_digest() -> None:
    first, second = Mixture(seed=0), Mixture(seed=1)

    assert next(first.records()).content != next(second.records()).content
    assert first.listing().digest != second.listing().digest
