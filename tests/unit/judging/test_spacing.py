import numpy as np
import pytest

from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.judging import fitting
from aigc_pipeline.modalities.vector import VectorSpec

SPEC = VectorSpec(num_values=2, scale=1.0)


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32)


def _brute(points: np.ndarray) -> np.ndarray:
    distance = np.sqrt(np.square(points[:, None] - points[None]).mean(2))
    np.fill_diagonal(distance, np.inf)
    return distance.min(1)


def test_spacing_is_the_distance_to_the_nearest_other_training_sample(points):
    found = fitting.spacing(cells_from_numpy(points), points, SPEC, seed=0)

    assert found == pytest.approx(_brute(points), rel=1e-5)


def test_spacing_of_many_samples_is_that_of_a_draw_among_all_of_them(points, monkeypatch):
    monkeypatch.setattr(fitting, "_MAX_SPACING_ROWS", 25)
    found = fitting.spacing(cells_from_numpy(points), points, SPEC, seed=0)

    assert len(found) == 25
    assert np.isclose(found[:, None], _brute(points), rtol=1e-5).any(1).all()


def test_a_lone_sample_has_no_spacing(points):
    assert len(fitting.spacing(cells_from_numpy(points[:1]), points[:1], SPEC, seed=0)) == 0
