from dataclasses import replace

import numpy as np
import pytest
import torch

from aigc_pipeline import scorers
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.features import RandomNetwork
from aigc_pipeline.modalities.vector import VectorSpec
from aigc_pipeline.scorers import Bench, TrainReference
from aigc_pipeline.scorers.label_agreement import Referee
from aigc_pipeline.scorers.nearest_train import NearestTrain
from aigc_pipeline.training.loop import Hooks
from tests.unit.scorers.test_in_distribution import make_state

SPEC = VectorSpec(num_values=2, scale=1.0)
POINTS = np.random.default_rng(0).standard_normal((30, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def bench() -> Bench:
    train = LabelledCells([f"{row}" for row in range(30)], np.zeros(30, np.int64), cells_from_numpy(POINTS))
    encoder = RandomNetwork(num_features=4).fit(
        train, train, spec=SPEC, num_classes=1, seed=0, device=torch.device("cpu"), hooks=Hooks()
    )
    features = encoder.encode(train.cells)
    return Bench(encoder, encoder, lambda *_: None, TrainReference(train.ids, POINTS, features, features))


def test_near_copies_are_searched_for_once_and_only_where_asked_for(bench, monkeypatch):
    searches = []

    def counted(*args, **kwargs):
        searches.append(args)
        return search(*args, **kwargs)

    search = scorers.nearest_over_views
    monkeypatch.setattr(scorers, "nearest_over_views", counted)
    batch = bench.prepare(
        cells_from_numpy(POINTS[:5]), labels=np.zeros(5, np.int64), parents=np.arange(5),
        is_classic=np.zeros(5, bool), ids=list("abcde"), run_seed=0,
    )  # fmt: skip

    assert not searches
    assert (batch.nearest_train()[1] != np.arange(5)).all()
    assert batch.nearest_train() is batch.nearest_train()
    assert len(searches) == 1


def test_samples_made_from_a_real_one_are_repeats_only_where_nobody_sees_a_difference(bench):
    """They are near each other on purpose: a class of a few similar samples could never be filled up."""
    batch = bench.prepare(
        cells_from_numpy(POINTS[:2]), labels=np.zeros(2, np.int64), parents=np.array([0, -1]),
        is_classic=np.zeros(2, bool), ids=list("ab"), run_seed=0,
    )  # fmt: skip
    state = make_state(distinct_threshold=0.2, repeat_threshold=0.01)
    thresholds = NearestTrain().score(batch, state, bench.reference)["distinct_threshold"]

    assert np.asarray(thresholds).tolist() == [0.01, 0.2]


def test_published_distances_come_from_the_judge_encoder_alone(bench):
    batch = bench.prepare(
        cells_from_numpy(POINTS[:1]), labels=np.zeros(1, np.int64), parents=np.array([-1]),
        is_classic=np.zeros(1, bool), ids=["a"], run_seed=0,
    )  # fmt: skip
    elsewhere = replace(bench.reference, judge_features=bench.reference.judge_features + np.float32([3, 4, 0, 0]))
    distance = NearestTrain().score(batch, make_state(), elsewhere)["judge_distance"]
    moved = batch.judge_features[:1] - elsewhere.judge_features

    assert distance == pytest.approx(np.linalg.norm(moved, axis=1).min(), rel=1e-4)
    assert distance[0] > 0.1


def test_the_referee_says_how_probable_the_requested_class_is_at_its_temperature(bench):
    batch = bench.prepare(
        cells_from_numpy(POINTS[:2]), labels=np.array([1, 1]), parents=np.full(2, -1),
        is_classic=np.zeros(2, bool), ids=list("ab"), run_seed=0,
    )  # fmt: skip
    batch = replace(batch, referee_logits=np.float32([[4, 0], [0, 2]]))
    said = Referee().score(batch, make_state(temperature=2.0), bench.reference)

    assert np.asarray(said["label_predicted"]).tolist() == [0, 1]
    assert said["label_probability"] == pytest.approx([1 / (1 + np.exp(2)), 1 / (1 + np.exp(-1))])
