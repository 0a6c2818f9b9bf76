import numpy as np
from imblearn.over_sampling import SMOTE
from scipy.stats import ks_2samp

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy, cells_to_numpy
from aigc_pipeline.metrics.smote import interpolate, smote
from aigc_pipeline.modalities import VectorSpec

SPEC = VectorSpec(num_values=3, scale=1.0)


def sample(counts: dict[int, int]) -> LabelledCells:
    generator = np.random.default_rng(0)
    labels = np.repeat(list(counts), list(counts.values()))
    points = generator.standard_normal((len(labels), 3)).astype(np.float32) + labels[:, None].astype(np.float32)
    return LabelledCells([str(i) for i in range(len(labels))], labels, cells_from_numpy(points))


def test_every_class_is_brought_up_to_the_largest_and_a_lonely_sample_repeats():
    real = sample({0: 30, 1: 7, 2: 1})
    extra = smote(real, SPEC, 3, np.random.default_rng(1))

    assert extra.class_counts(3).tolist() == [0, 23, 29]
    lonely = cells_to_numpy(extra.cells, (3,))[extra.labels == 2]
    assert np.allclose(lonely, cells_to_numpy(real.cells, (3,))[-1])


def test_new_points_lie_between_a_sample_and_one_of_its_five_nearest():
    points = np.random.default_rng(0).standard_normal((40, 2)).astype(np.float32)
    made = interpolate(points, 300, np.random.default_rng(1))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    near = [(i, j) for i in range(40) for j in np.argsort(distance[i])[1:6]]
    for point in made[:60]:
        detours = [
            np.linalg.norm(point - points[i]) + np.linalg.norm(point - points[j]) - distance[i, j] for i, j in near
        ]
        assert min(detours) < 1e-4


def test_new_points_are_distributed_as_those_of_imbalanced_learn():
    real = sample({0: 2_000, 1: 60})
    points = cells_to_numpy(real.cells, (3,))
    reference, labels = SMOTE(random_state=0, k_neighbors=5).fit_resample(points, real.labels)
    theirs = reference[2_060:][labels[2_060:] == 1]
    ours = cells_to_numpy(smote(real, SPEC, 2, np.random.default_rng(1)).cells, (3,))

    assert len(ours) == len(theirs) == 1_940
    for axis in range(3):
        assert ks_2samp(ours[:, axis], theirs[:, axis]).pvalue > 0.001
