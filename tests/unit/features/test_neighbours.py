import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from aigc_pipeline.features import neighbours
from aigc_pipeline.features.neighbours import nearest, nearest_earlier, nearest_over_views


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((300, 12)).astype(np.float32)


def test_equals_scikit_learn_over_several_blocks(points, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK_ENTRIES", 4_000)
    queries = np.random.default_rng(1).standard_normal((77, 12)).astype(np.float32)
    distance, index = nearest(queries, points, 5)
    expected, expected_index = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(points).kneighbors(queries)

    assert np.allclose(distance, expected, rtol=1e-5)
    assert (index == expected_index).all()


def test_an_exact_copy_has_distance_zero_to_the_last_digit(points):
    distance, index = nearest(points[:10] + np.float32(0), points, 1)

    assert (distance == 0).all()
    assert (index[:, 0] == np.arange(10)).all()


def test_an_excluded_row_is_never_matched(points):
    own = np.arange(len(points))
    distance, index = nearest(points, points, 1, exclude=own)

    assert (index[:, 0] != own).all()
    assert (distance > 0).all()


def test_the_closest_view_counts(points):
    far = points[:5] + 3
    distance, index = nearest_over_views([[far[:2], points[:2]], [far[2:], points[2:5]]], points)

    assert (distance == 0).all()
    assert (index == np.arange(5)).all()


def test_earlier_ignores_what_comes_later(points):
    repeated = np.concatenate([points[:3], points[:1], points[3:5]])
    distance = nearest_earlier([[repeated[:2]], [repeated[2:]]])

    assert np.isinf(distance[0])
    assert distance[3] == 0
    assert (distance[[1, 2, 4, 5]] > 0).all()


def test_earlier_does_not_change_when_more_samples_follow(points, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK_ENTRIES", 2_000)

    blocks = [[points[start : start + 50]] for start in range(0, 300, 50)]

    assert np.allclose(nearest_earlier(blocks)[:50], nearest_earlier([[points[:50]]]), rtol=1e-5)
    assert np.allclose(nearest_earlier(blocks), nearest_earlier([[points]]), rtol=1e-4)
