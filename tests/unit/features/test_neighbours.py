import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from aigc_pipeline.features import neighbours
from aigc_pipeline.features.neighbours import nearest, nearest_earlier, nearest_over_views


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((300, 12)).astype(np.float32)


def _brute(queries: np.ndarray, reference: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Independent of the code under test: scikit-learn in float64, by subtraction."""
    finder = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(reference.astype(np.float64))
    return finder.kneighbors(queries.astype(np.float64))


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("rows", [5, 127, 300, 2_500])
def test_equals_brute_force_in_float64_over_several_blocks(k, rows, monkeypatch):
    monkeypatch.setattr(neighbours, "_QUERY_ROWS", 32)
    monkeypatch.setattr(neighbours, "_REFERENCE_ROWS", 1_024)
    monkeypatch.setattr(neighbours, "_MEASURED_ENTRIES", 1_000)
    drawn = np.random.default_rng(1).standard_normal((rows + 77, 12)).astype(np.float32)
    distance, index = nearest(drawn[rows:], drawn[:rows], k)
    expected, expected_index = _brute(drawn[rows:], drawn[:rows], k)

    assert (index == expected_index).all()
    assert (distance == expected.astype(np.float32)).all()


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_rounding_hides_no_neighbor_far_from_the_origin(far):
    """Clusters 1e4 apart with deviation 1: float32 products cannot tell rows of one cluster apart."""
    generator = np.random.default_rng(2)
    centers = 1e4 * generator.standard_normal((10, 16)) + far
    drawn = (centers[generator.integers(0, 10, 2_060)] + generator.standard_normal((2_060, 16))).astype(np.float32)
    distance, index = nearest(drawn[2_000:], drawn[:2_000], 5)
    expected, expected_index = _brute(drawn[2_000:], drawn[:2_000], 5)

    assert (index == expected_index).all()
    assert np.allclose(distance, expected, rtol=1e-6)


def test_a_copy_between_outliers_is_found_at_distance_zero():
    drawn = np.random.default_rng(3).standard_normal((2_000, 16)).astype(np.float32)
    drawn[::100] *= 1e6
    distance, index = nearest(drawn[1:50], drawn, 1)

    assert (distance == 0).all()
    assert (index[:, 0] == np.arange(1, 50)).all()


def test_many_ties_give_the_right_distances():
    drawn = np.random.default_rng(4).integers(0, 2, (2_050, 8)).astype(np.float32)
    distance, _ = nearest(drawn[2_000:], drawn[:2_000], 9)

    assert np.allclose(distance, _brute(drawn[2_000:], drawn[:2_000], 9)[0], atol=1e-6)


def test_several_excluded_rows_are_never_matched():
    drawn = np.random.default_rng(5).standard_normal((1_000, 8)).astype(np.float32)
    _, closest = _brute(drawn[:40], drawn, 4)
    distance, index = nearest(drawn[:40], drawn, 1, exclude=closest[:, :3])
    expected = _brute(drawn[:40], drawn, 4)

    assert (index[:, 0] == expected[1][:, 3]).all()
    assert np.allclose(distance[:, 0], expected[0][:, 3], rtol=1e-6)


def test_no_row_left_means_infinitely_far(points):
    distance, _ = nearest(points[:3], points[:1], 1, exclude=np.array([0, -1, 0]))

    assert np.isinf(distance[[0, 2]]).all()
    assert np.isfinite(distance[1]).all()


def test_read_only_and_strided_rows_are_accepted(points):
    frozen = points.copy()
    frozen.flags.writeable = False
    distance, _ = nearest(frozen[::2], frozen, 1)

    assert (distance == 0).all()


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


def test_views_beyond_one_call_count_like_any_other(points):
    far = [points[:5] + 3 + i for i in range(neighbours._VIEWS_AT_ONCE + 1)]
    distance, index = nearest_over_views([[*far, points[:5]]], points, exclude=np.array([-1, -1, 2, -1, -1]))

    assert (distance[[0, 1, 3, 4]] == 0).all()
    assert distance[2] > 0
    assert (index == np.arange(5))[[0, 1, 3, 4]].all()


def test_earlier_ignores_what_comes_later(points):
    repeated = np.concatenate([points[:3], points[:1], points[3:5]])
    distance = nearest_earlier([[repeated[:2]], [repeated[2:]]])

    assert np.isinf(distance[0])
    assert distance[3] == 0
    assert (distance[[1, 2, 4, 5]] > 0).all()


def test_earlier_does_not_change_when_more_samples_follow(points, monkeypatch):
    monkeypatch.setattr(neighbours, "_QUERY_ROWS", 16)
    blocks = [[points[start : start + 50]] for start in range(0, 300, 50)]

    assert np.allclose(nearest_earlier(blocks)[:50], nearest_earlier([[points[:50]]]), rtol=1e-5)
    assert np.allclose(nearest_earlier(blocks), nearest_earlier([[points]]), rtol=1e-4)
