"""The sum of signs: known answers, and the direction of every sign."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from aigc_pipeline.anomaly.unlikeness import Scale, Signs, read_signs, unit_length
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.features import RandomNetwork
from aigc_pipeline.features.views import first_view
from aigc_pipeline.modalities import ImageSpec
from aigc_pipeline.scorers import TrainReference
from aigc_pipeline.training.loop import Hooks

SPEC = ImageSpec(height=8, width=8, channels=1)


def make_signs(angle: list[float], distance: list[float], doubt: list[float] | None) -> Signs:
    n = len(angle)
    return Signs(
        np.array(angle, np.float32),
        np.array(distance, np.float32),
        None if doubt is None else np.array(doubt, np.float32),
        np.zeros(n, np.float32),
        np.zeros(n, np.int64),
        np.zeros((n, 2), np.float32),
        None,
    )


@pytest.fixture(scope="module")
def reference_and_encoder():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), np.uint8)
    train = LabelledCells([str(i) for i in range(20)], np.zeros(20, np.int64), cells_from_numpy(pixels))
    encoder = RandomNetwork().fit(
        train, train, spec=SPEC, num_classes=1, seed=0, device=torch.device("cpu"), hooks=Hooks()
    )
    features = encoder.encode(train.cells)
    return TrainReference(train.ids, first_view(train.cells, SPEC), features, features), encoder, train.cells


def test_each_sign_counts_in_its_own_standard_deviations() -> None:
    scale = Scale.of(make_signs([0, 2], [10, 30], [-5, -3]))  # centres 1, 20, -4; spreads 1, 10, 1

    assert scale.unlikeness(make_signs([3], [40], [-4])) == pytest.approx([2 + 2 + 0])


def test_unseen_reals_average_zero_and_their_p_values_are_uniform() -> None:
    rng = np.random.default_rng(0)
    holdout = make_signs(*(rng.normal(size=200).tolist() for _ in range(3)))
    scale = Scale.of(holdout)

    assert scale.unlikeness(holdout).mean() == pytest.approx(0, abs=1e-6)
    assert np.sort(scale.p_value(holdout)) == pytest.approx((1 + np.arange(1, 201)) / 201)


def test_p_is_smallest_for_what_is_more_unlike_than_every_unseen_real() -> None:
    scale = Scale.of(make_signs([0, 1, 2], [0, 1, 2], None))

    assert scale.p_value(make_signs([9, -9], [9, -9], None)) == pytest.approx([1 / 4, 1])


def test_without_a_referee_two_signs_are_added() -> None:
    assert len(make_signs([0], [0], None).summands()) == 2


def test_a_training_sample_is_its_own_neighbour_at_distance_zero(reference_and_encoder) -> None:
    reference, encoder, cells = reference_and_encoder

    signs = read_signs(cells, encoder, reference)

    assert signs.nearest_row.tolist() == list(range(20))
    assert signs.train_distance.max() == 0
    assert signs.angle.max() == pytest.approx(0, abs=1e-4)
    assert signs.doubt is None


def test_the_surer_the_referee_the_less_the_doubt(reference_and_encoder) -> None:
    reference, encoder, cells = reference_and_encoder
    logits = np.float32([[1, 5], [3, -2]])
    sees = SimpleNamespace(
        has_head=True, spec=SPEC, encode_with_logits=lambda some: (encoder.encode(some), logits[: len(some)])
    )

    assert read_signs(cells[:2], sees, reference).doubt == pytest.approx([-5, -3])


def test_distances_are_those_of_sklearn(reference_and_encoder) -> None:
    from sklearn.neighbors import NearestNeighbors

    reference, encoder, _ = reference_and_encoder
    pixels = np.random.default_rng(1).integers(0, 256, (7, 8, 8, 1), np.uint8)
    cells: pa.Array = cells_from_numpy(pixels)
    features = encoder.encode(cells)

    signs = read_signs(cells, encoder, reference)

    fifth = NearestNeighbors(n_neighbors=5).fit(reference.features).kneighbors(features)[0][:, -1]
    nearest = NearestNeighbors(n_neighbors=1).fit(unit_length(reference.features)).kneighbors(unit_length(features))
    np.testing.assert_allclose(signs.knn_distance, fifth, rtol=1e-4)
    np.testing.assert_allclose(signs.angle, nearest[0][:, 0], rtol=1e-3)


def test_a_row_of_zeros_keeps_its_length() -> None:
    assert unit_length(np.array([[0, 0], [3, 4]], np.float32)).tolist() == [[0, 0], pytest.approx([0.6, 0.8])]
