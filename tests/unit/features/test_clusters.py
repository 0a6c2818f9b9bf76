import numpy as np

from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.features.clusters import connected, near_duplicate_clusters
from aigc_pipeline.modalities import ImageSpec

SPEC = ImageSpec(height=16, width=16, channels=1)
LIMIT = 13 / 255


def pictures(num, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num, 16, 16, 1), np.uint8)


def clusters(*sets):
    cells = cells_from_numpy(np.concatenate(sets))
    return near_duplicate_clusters(cells, SPEC, limit=LIMIT, generator=np.random.default_rng(0)).tolist()


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


def test_connected_names_components_by_their_smallest_member():
    assert connected(6, [(4, 2), (2, 5), (0, 1)]).tolist() == [0, 0, 2, 3, 2, 2]
