import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.features.clusters import joined, near_duplicate_clusters
from aigc_pipeline.features.views import first_view, view_blocks
from aigc_pipeline.modalities import ImageSpec

SPEC = ImageSpec(height=16, width=16, channels=1)
LIMIT = 13 / 255


def pictures(num, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num, 16, 16, 1), np.uint8)


def clusters(*sets):
    cells = cells_from_numpy(np.concatenate(sets))
    return near_duplicate_clusters(cells, SPEC, limit=LIMIT).tolist()


def test_unlike_pictures_are_clusters_of_their_own():
    assert clusters(pictures(40)) == list(range(40))


def test_a_picture_alone_is_a_cluster():
    assert clusters(pictures(1)) == [0]


def test_a_copy_shifted_by_a_pixel_is_found_however_sharp_the_picture():
    """Unshifted, noise and its shifted copy are as unlike as two noises."""
    originals = pictures(20)
    moved = np.roll(originals[:3], (1, -1), axis=(1, 2))

    assert clusters(originals, moved)[20:] == [0, 1, 2]


def test_copies_with_little_noise_are_found_and_ones_with_three_times_the_limit_are_not():
    grey = (pictures(20) // 2 + 64).astype(np.float64)
    draw = np.random.default_rng(1)
    noisy, noisier = (
        (grey[:5] + draw.normal(0, share * 255, grey[:5].shape)).round().astype(np.uint8) for share in (0.04, 0.15)
    )

    found = clusters(grey.astype(np.uint8), noisy, noisier)
    assert found[20:25] == list(range(5))
    assert found[25:] == list(range(25, 30))


def test_a_chain_is_one_cluster():
    first = pictures(1) // 2
    chain = [first + np.uint8(10 * i) for i in range(5)]

    assert clusters(*chain) == [0] * 5


def test_more_copies_than_neighbours_are_looked_at_are_one_cluster():
    draw = np.random.default_rng(2)
    one = pictures(1).astype(np.int64)
    copies = np.clip(one + draw.integers(-3, 4, (30, 16, 16, 1)), 0, 255).astype(np.uint8)

    assert len(set(clusters(copies))) == 1


def test_a_crowd_of_near_copies_is_one_cluster_beside_others():
    draw = np.random.default_rng(2)
    crowd = np.clip(pictures(1).astype(np.int64) + draw.integers(-3, 4, (400, 16, 16, 1)), 0, 255).astype(np.uint8)

    assert clusters(pictures(200, seed=3), crowd) == [*range(200), *[200] * 400]


@pytest.mark.parametrize("num", [40, 400])
def test_the_pairs_are_those_of_brute_force_whatever_stands_for_the_rows(num):
    """Smooth pictures: many lie near the limit. From 129 on, components stand for them."""
    draw = np.random.default_rng(num)
    smooth = np.kron(draw.normal(0, 9, (num, 4, 4, 1)), np.ones((4, 4, 1))) + draw.normal(0, 3, (num, 16, 16, 1))
    cells = cells_from_numpy(np.clip(128 + smooth, 0, 255).astype(np.uint8))
    points = first_view(cells, SPEC).astype(np.float64)
    pairs = set()
    for start, views in zip(range(0, num, 256), view_blocks(cells, SPEC), strict=True):
        for view in views:
            far = np.sqrt(np.square(view[:, None].astype(np.float64) - points[None]).mean(2))
            pairs |= {(start + int(a), int(b)) for a, b in zip(*np.nonzero(far <= 0.04), strict=True)}
    graph = coo_matrix((np.ones(len(pairs)), tuple(zip(*pairs, strict=True))), shape=(num, num))
    expected = connected_components(graph, directed=False)[1]

    found = near_duplicate_clusters(cells, SPEC, limit=0.04)
    assert len(set(found.tolist())) == len(set(expected.tolist())) == len(set(zip(found, expected, strict=True)))
    assert 1 < len(set(expected.tolist())) < num


def test_without_a_tolerance_identical_samples_alone_form_a_cluster():
    one = pictures(1)
    cells = cells_from_numpy(np.concatenate([one, pictures(3, seed=1), one, one ^ 1]))

    assert near_duplicate_clusters(cells, SPEC, limit=0).tolist() == [0, 1, 2, 3, 0, 5]


def test_joined_names_what_was_connected_alike():
    names = joined(np.arange(6), np.array([4, 2, 0]), np.array([2, 5, 1]))

    assert [set(np.flatnonzero(names == name)) for name in dict.fromkeys(names)] == [{0, 1}, {2, 4, 5}, {3}]
