import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from aigc_pipeline.features import search
from aigc_pipeline.features.neighbours import nearest, nearest_earlier, nearest_over_views
from aigc_pipeline.features.search import Reference


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
    monkeypatch.setattr(search, "_QUERY_ROWS", 32)
    monkeypatch.setattr(search, "_REFERENCE_ROWS", 1_024)
    monkeypatch.setattr(search, "_MEASURED_ENTRIES", 1_000)
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


def test_no_query_has_no_neighbour():
    distance, row = nearest(np.zeros((0, 3), np.float32), np.ones((5, 3), np.float32), 2)

    assert distance.shape == row.shape == (0, 2)


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
    far = [points[:5] + 3 + i for i in range(17)]
    distance, index = nearest_over_views([[*far, points[:5]]], points, exclude=np.array([-1, -1, 2, -1, -1]))

    assert (distance[[0, 1, 3, 4]] == 0).all()
    assert distance[2] > 0
    assert (index == np.arange(5))[[0, 1, 3, 4]].all()


def test_earlier_ignores_what_comes_later(points):
    repeated = np.concatenate([points[:3], points[:1], points[3:5]])
    distance = nearest_earlier([[repeated[:2]], [repeated[2:]]], repeated)

    assert np.isinf(distance[0])
    assert distance[3] == 0
    assert (distance[[1, 2, 4, 5]] > 0).all()


def test_earlier_does_not_change_when_more_samples_follow(points, monkeypatch):
    monkeypatch.setattr(search, "_QUERY_ROWS", 16)
    blocks = [[points[start : start + 50]] for start in range(0, 300, 50)]

    assert (nearest_earlier(blocks, points)[:50] == nearest_earlier([[points[:50]]], points[:50])).all()
    assert (nearest_earlier(blocks, points) == nearest_earlier([[points]], points)).all()


def _wide(rows: int, *, spread: float) -> np.ndarray:
    """Rows of 600 numbers, as pictures are: most of the variance in a few directions, `spread` in all others."""
    generator = np.random.default_rng(6)
    leading = generator.standard_normal((rows, 30)) * np.geomspace(20, 1, 30)
    return (
        leading @ generator.standard_normal((30, 600)) / 25 + spread * generator.standard_normal((rows, 600))
    ).astype(np.float32)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0])
def test_wide_rows_give_what_brute_force_gives_however_little_their_components_say(k, spread, monkeypatch):
    monkeypatch.setattr(search, "_REFERENCE_ROWS", 1_024)
    monkeypatch.setattr(search, "_GATHERED_ENTRIES", 20_000)
    drawn = _wide(2_100, spread=spread)
    assert Reference.of(drawn[:2_000]).space.components is not None
    distance, index = nearest(drawn[2_000:], drawn[:2_000], k)
    expected, expected_index = _brute(drawn[2_000:], drawn[:2_000], k)

    assert (index == expected_index).all()
    assert np.allclose(distance, expected, rtol=1e-6)


def test_wide_rows_are_searched_through_their_components_where_these_say_enough(monkeypatch):
    """The fallback to comparing whole rows would hide a search that always gives up."""
    drawn = _wide(2_100, spread=0.05)
    monkeypatch.setattr(Reference, "whole", None)

    assert np.isfinite(nearest(drawn[2_000:], drawn[:2_000], 1)[0]).all()


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_components_never_say_that_rows_are_farther_than_they_are(offset):
    drawn = _wide(700, spread=0.3) + np.float32(offset)
    drawn[::7] *= np.float32(30)
    reference = Reference.of(drawn)
    numbers, space = reference.numbers[:700].double(), reference.space
    norms = np.square(drawn.astype(np.float64) - space.center.numpy()).sum(1)
    bound = ((numbers[:, None] - numbers[None]) ** 2).sum(2).numpy() - space.slack * (norms[:, None] + norms[None])
    true = np.array([np.square(drawn.astype(np.float64) - row).sum(1) for row in drawn.astype(np.float64)])

    assert (bound <= true).all()


def test_wide_rows_leave_out_what_is_excluded_or_comes_later():
    drawn = _wide(900, spread=0.1)
    own = np.arange(900)
    distance, index = nearest(drawn, drawn, 1, exclude=own)
    expected, expected_index = _brute(drawn, drawn, 2)
    earlier = nearest_earlier([[drawn[:400], drawn[:400] + 1], [drawn[400:], drawn[400:] + 1]], drawn)
    views = np.stack([drawn, drawn + 1]).astype(np.float64)
    by_hand = [np.sqrt(np.square(views[:, [i]] - drawn[None, :i]).mean(2).min()) for i in range(1, 900)]

    assert (index[:, 0] == expected_index[:, 1]).all()
    assert np.allclose(distance[:, 0], expected[:, 1], rtol=1e-6)
    assert np.isinf(earlier[0])
    assert np.allclose(earlier[1:], by_hand, rtol=1e-6)


def test_wide_copies_have_distance_zero_to_the_last_digit():
    drawn = _wide(1_500, spread=0.1)
    drawn[1_000:] = drawn[:500]
    distance, index = nearest(drawn[:500], drawn, 2)

    assert (distance == 0).all()
    assert (np.sort(index, 1) == np.stack([np.arange(500), np.arange(1_000, 1_500)], 1)).all()


@pytest.mark.parametrize("size", [8, 600])
def test_rows_too_large_for_float32_squares_hide_no_neighbor(size):
    drawn = np.random.default_rng(7).standard_normal((1_500, size)).astype(np.float32)
    drawn[7] = 1e25
    distance, index = nearest(drawn[:20], drawn, 2, exclude=np.arange(20))
    expected, expected_index = _brute(drawn[:20], drawn, 3)

    assert (index[np.arange(20) != 7] == expected_index[np.arange(20) != 7, 1:]).all()
    assert np.allclose(distance, expected[:, 1:], rtol=1e-6)


@pytest.mark.parametrize("size", [8, 600])
def test_where_float32_tells_no_rows_apart_few_are_measured_all_the_same(size, monkeypatch):
    drawn = np.random.default_rng(8).standard_normal((3_000, size)).astype(np.float32)
    drawn[0] = 1e8
    measured, measure = [], search.squared_distances
    monkeypatch.setattr(search, "squared_distances", lambda *rows: measured.append(rows[2].numel()) or measure(*rows))
    distance, index = nearest(drawn[1:101], drawn, 1, exclude=np.arange(1, 101))
    expected, expected_index = _brute(drawn[1:101], drawn, 2)

    assert (index[:, 0] == expected_index[:, 1]).all()
    assert np.allclose(distance[:, 0], expected[:, 1], rtol=1e-6)
    assert sum(measured) < 100 * len(drawn) / 10


def test_rows_that_are_infinitely_far_have_a_place_all_the_same(points):
    distance, index = nearest(points[:4], points[:30], 40)

    assert np.isinf(distance[:, 30:]).all()
    assert index.max() < 30
