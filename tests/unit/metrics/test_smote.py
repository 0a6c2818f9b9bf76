import numpy as np
import torch
from imblearn.over_sampling import SMOTE
from scipy.stats import ks_2samp

from aigc_pipeline.metrics.smote import Interpolated, Segments, draw_segments, smote
from aigc_pipeline.modalities import VectorSpec
from aigc_pipeline.training.samplers import ClassPower

SPEC = VectorSpec(num_values=3, scale=1.0)


def sample(counts: dict[int, int]) -> tuple[torch.Tensor, np.ndarray]:
    labels = np.repeat(list(counts), list(counts.values()))
    points = np.random.default_rng(0).standard_normal((len(labels), 3)).astype(np.float32)
    return torch.from_numpy(points + labels[:, None].astype(np.float32)), labels


def placed(segments: Segments, points: np.ndarray) -> np.ndarray:
    start, end = points[segments.start], points[segments.end]
    return start + segments.share[:, None] * (end - start)


def test_every_class_is_brought_up_to_the_largest_and_a_lonely_sample_repeats():
    points, labels = sample({0: 30, 1: 7, 2: 1})
    extra = smote(points, labels, np.random.default_rng(1))

    assert np.bincount(labels[extra.start]).tolist() == [0, 23, 29]
    assert (labels[extra.end] == labels[extra.start]).all()
    assert set(extra.end[labels[extra.start] == 2]) == {37}


def test_new_points_lie_between_a_sample_and_one_of_its_five_nearest():
    points = np.random.default_rng(0).standard_normal((40, 2)).astype(np.float32)
    made = draw_segments(points, 300, np.random.default_rng(1))
    order = np.argsort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)

    assert all(end in order[start, 1:6] for start, end in zip(made.start, made.end, strict=True))
    assert made.share.min() >= 0
    assert made.share.max() < 1


def test_new_points_are_distributed_as_those_of_imbalanced_learn():
    points, labels = sample({0: 2_000, 1: 60})
    reference, found = SMOTE(random_state=0, k_neighbors=5).fit_resample(points.numpy(), labels)
    theirs = reference[2_060:][found[2_060:] == 1]
    ours = placed(smote(points, labels, np.random.default_rng(1)), points.numpy())

    assert len(ours) == len(theirs) == 1_940
    for axis in range(3):
        assert ks_2samp(ours[:, axis], theirs[:, axis]).pvalue > 0.001


def test_rows_are_worked_out_when_drawn_and_only_samples_are_held():
    x = torch.tensor([[0.0, 0.0, 0.0], [4.0, 8.0, 0.0]])
    labels = torch.zeros(3, dtype=torch.int64)
    segments = Segments(np.array([0, 1, 0]), np.array([0, 1, 1]), np.array([0, 0, 0.25], np.float32))
    data = Interpolated(x, labels, ClassPower(labels, 1.0), segments=segments, spec=SPEC)

    assert len(data.x) == 2
    assert data.rows(torch.tensor([2, 1, 0])).tolist() == [[1, 2, 0], [4, 8, 0], [0, 0, 0]]
