"""The judge in the making, on points whose density ratio is known and with a family that says what it was asked for."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.seeding import seed_for
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy, cells_to_numpy
from aigc_pipeline.features import RandomNetwork
from aigc_pipeline.gates import FilterPolicy, InDistribution, MinPReal, RejectionSampling
from aigc_pipeline.generators import Synthesis
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.judging.fitting import Fitting
from aigc_pipeline.judging.settings import JudgeSettings
from aigc_pipeline.modalities.vector import VectorSpec
from aigc_pipeline.scorers import Bench, TrainReference
from aigc_pipeline.scorers.critic import accept_probability, calibrated_logit, log_ratio
from aigc_pipeline.training.loop import Hooks

SPEC = VectorSpec(num_values=2, scale=1.0)
CENTERS = np.array([[-2.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
SHIFT = np.array([[0.8, 0.0], [0.0, 0.4], [0.3, 0.3]])
CPU = torch.device("cpu")


class Shifted:
    """Makes points of a class with its center a little off; its discriminator has a free offset per class."""

    kind, origin, uses_parents, samples_side_by_side = "shifted", "generated", False, False

    def sample(self, _networks, seeds, labels, *, parents=None, **_):
        noise = np.stack([np.random.default_rng(seed).standard_normal(2) for seed in seeds])
        center = CENTERS[labels] if parents is None else parents.numpy()
        return Synthesis(torch.tensor(center + SHIFT[labels] + noise, dtype=torch.float32))

    def d_logit(self, cells, labels):
        return (100.0 * labels - 3 * cells_to_numpy(cells, (2,))[:, 0]).astype(np.float32)


class FromParents(Shifted):
    """Puts its noise on parents."""

    uses_parents = True


class Points:
    """An encoder whose features are the points."""

    spec, has_head = SPEC, False

    def encode(self, cells):
        return cells_to_numpy(cells, (2,)).astype(np.float32)


def real(counts: tuple[int, int, int], name: str) -> LabelledCells:
    labels = np.repeat(np.arange(3), counts)
    generator = np.random.default_rng(seed_for(0, name))
    points = (CENTERS[labels] + generator.standard_normal((len(labels), 2))).astype(np.float32)
    return LabelledCells([f"{name}-{i}" for i in range(len(labels))], labels, cells_from_numpy(points))


TRAIN, CALIBRATION, SELECTION = (
    real((60, 60, 10), "train"),
    real((60, 60, 5), "calibration"),
    real((40, 40, 5), "select"),
)


def fitting(store, family=None, *, varied=(), **settings) -> Fitting:
    family = family or Shifted()
    splits = SimpleNamespace(
        classes=("a", "b", "c"), spec=SPEC, class_counts={"train": tuple(TRAIN.class_counts(3).tolist())}
    )
    points, features = cells_to_numpy(TRAIN.cells, (2,)), Points().encode(TRAIN.cells)
    bench = Bench(Points(), Points(), family.d_logit, TrainReference(TRAIN.ids, points, features, features))
    synthesizer = Synthesizer(family, {}, SPEC, TRAIN, frozenset(varied), CPU)
    return Fitting(Context(store, 0), JudgeSettings(**settings), splits, synthesizer, bench)


@pytest.fixture
def fitted(store):
    """All three classes are generated, and D's logit is used."""
    steps = fitting(store)
    state = steps.distances(CALIBRATION, SELECTION)
    return steps, steps.critic(state, CALIBRATION, CALIBRATION, use_d_logit=True)


def test_thresholds_are_low_quantiles_of_hold_out_and_training_distances(store):
    steps = fitting(store, copy_quantile=0.25)
    state = steps.distances(CALIBRATION, SELECTION)
    train, held = (
        cells_to_numpy(TRAIN.cells, (2,)),
        np.concatenate([cells_to_numpy(each.cells, (2,)) for each in (CALIBRATION, SELECTION)]),
    )
    distance = np.sqrt(np.square(held[:, None] - train[None]).mean(2)).min(1)

    assert state.holdout_distances == pytest.approx(np.sort(distance), abs=1e-6)
    assert state.copy_threshold == pytest.approx(np.quantile(distance, 0.25), abs=1e-6)
    assert state.repeat_threshold < state.distinct_threshold
    assert len(state.holdout_outlyingness) == len(held)
    assert (np.diff(state.holdout_outlyingness) >= 0).all()


def test_without_a_calibration_sample_the_critic_is_cross_fitted_and_the_budget_is_frozen_unmeasured(store):
    steps, none = fitting(store), CALIBRATION.take(np.zeros(0, np.int64))
    encoder = RandomNetwork(num_features=2).fit(
        TRAIN, TRAIN, spec=SPEC, num_classes=3, seed=0, device=CPU, hooks=Hooks()
    )
    steps = replace(steps, bench=replace(steps.bench, encoder=encoder))
    mode, reals = steps.reals(none)
    state = steps.critic(steps.distances(none, none), reals, none, use_d_logit=False)
    state, pilot = steps.normalize(replace(state, filters_by_probability=True))
    gate = RejectionSampling()
    state, trade = steps.budget(state, pilot, FilterPolicy(gates=(gate,)), gate, none)

    assert mode == "crossfit"
    assert (trade.points, trade.keep_share) == ((), 0.5)
    assert accept_probability(pilot.batch, state).mean() == pytest.approx(0.5, abs=1e-6)


def test_a_copy_threshold_never_falls_under_its_floor(store):
    """Hold-out samples that are copies themselves would otherwise switch the gate off."""
    state = fitting(store).distances(TRAIN, TRAIN)

    assert state.copy_threshold > 0
    assert state.holdout_distances.max() == pytest.approx(0, abs=1e-6)


def test_large_generated_classes_are_judged_where_samples_are_made_from_real_ones_and_all_generated_ones_elsewhere(
    store,
):
    assert fitting(store).judged_labels.tolist() == [0, 1, 2]
    assert fitting(store, varied=[1]).judged_labels.tolist() == [0, 2]
    assert fitting(store, FromParents()).judged_labels.tolist() == [0, 1]  # 10 training samples are too few
    assert set(fitting(store, FromParents()).of_judged(CALIBRATION).labels.tolist()) == {0, 1}


def test_calibration_reals_come_last_where_they_are_joined_by_training_ones_and_too_few_are_no_critic(store):
    mode, reals = fitting(store).reals(CALIBRATION)
    assert (mode, reals.ids) == ("calibration", CALIBRATION.ids)

    mode, reals = fitting(store, min_calibration=200).reals(CALIBRATION)
    assert (mode, reals.ids) == ("crossfit", TRAIN.ids + CALIBRATION.ids)

    assert fitting(store, min_calibration=200, min_reals=1_000).reals(CALIBRATION)[0] == "none"


def test_the_discriminators_offset_per_class_is_taken_out(fitted):
    steps, state = fitted
    fakes = steps.pilots.as_many_as(CALIBRATION, "fit").batch
    for label in range(3):
        assert state.d_offset[label] == pytest.approx(fakes.d_logit[fakes.labels == label].mean(), rel=1e-5)
    centered = (fakes.d_logit - state.d_offset[fakes.labels]) / state.d_scale

    assert state.uses_d_logit
    assert centered.std() == pytest.approx(1, abs=1e-3)


def test_percentiles_are_taken_against_out_of_fold_scores_of_calibration_reals_alone(store):
    steps, far = fitting(store, min_calibration=200), cells_to_numpy(CALIBRATION.cells, (2,)) - np.float32(3)
    calibration = replace(CALIBRATION, cells=cells_from_numpy(far))
    mode, reals = steps.reals(calibration)
    state = steps.critic(steps.distances(calibration, SELECTION), reals, calibration, use_d_logit=mode == "calibration")

    assert not state.uses_d_logit
    own = np.sort(calibrated_logit(steps.pilots.reals(calibration), state))
    assert np.median(own) > 2 + np.median(calibrated_logit(steps.pilots.reals(TRAIN), state))
    assert np.median(state.holdout_logits) == pytest.approx(np.median(own), abs=0.5)
    assert not np.allclose(state.holdout_logits, own, atol=1e-3)  # of models that lack the sample itself


def test_ratios_average_one_over_the_pilot_of_each_class(fitted):
    steps, state = fitted
    state, pilot = steps.normalize(state)
    ratio = np.exp(log_ratio(pilot.batch, state))

    for label in range(3):
        assert ratio[pilot.batch.labels == label].mean() == pytest.approx(1, abs=1e-6)


def test_the_critic_finds_the_true_ratio_and_is_proven_on_other_samples(fitted):
    steps, state = fitted
    health = steps.health(state, SELECTION)
    batch = steps.pilots.reals(SELECTION)
    rows = batch.labels == 0
    x = batch.features[rows].astype(float) - CENTERS[0]
    truth = ((x - SHIFT[0]) ** 2).sum(1) / 2 - (x**2).sum(1) / 2

    assert np.corrcoef(calibrated_logit(batch, state)[rows], truth)[0, 1] > 0.9
    assert health.numbers["auc"] > 0.6
    assert sum(n for _, _, n in health.reliability) == len(SELECTION) + 80 + 80 + 30  # two fakes per real, at least 30


@pytest.mark.parametrize("rule", ["optimal", "discriminator"])
def test_each_class_keeps_its_budget_of_the_pilot_that_passed_the_gates_before(fitted, rule):
    steps, state = fitted
    gate = RejectionSampling(keep_share=0.4, class_keep_share={"b": 0.7}, relaxes=False, rule=rule)
    policy = FilterPolicy(gates=(gate,))
    state, pilot = steps.normalize(replace(state, filters_by_probability=True))
    state, trade = steps.budget(state, pilot, policy, gate, CALIBRATION)
    probability = accept_probability(pilot.batch, state)

    kept = [probability[pilot.batch.labels == label].mean() for label in range(3)]
    assert kept == pytest.approx([0.4, 0.7, 0.4], abs=1e-6)
    assert (trade.keep_share, trade.relaxed_from) == (0.4, None)
    assert state.acceptance_rule == rule


def test_the_budget_is_that_of_the_survivors_of_the_gates_before_and_not_of_those_behind(fitted):
    steps, state = fitted
    gate = RejectionSampling(keep_share=0.4, relaxes=False)
    before, behind = InDistribution(min_p=0.3), MinPReal(threshold=0.5)
    state, pilot = steps.normalize(replace(state, filters_by_probability=True, class_have=np.full(3, 100)))
    passed = steps.pilots.passes(state, pilot, (before,))
    state, _ = steps.budget(state, pilot, FilterPolicy(gates=(before, gate, behind)), gate, CALIBRATION)
    probability = accept_probability(pilot.batch, state)

    assert 0.5 < passed.mean() < 0.9
    for label in range(3):
        assert probability[passed & (pilot.batch.labels == label)].mean() == pytest.approx(0.4, abs=1e-6)


def test_the_budget_refers_to_candidates_that_may_be_kept_at_all(fitted):
    steps, state = fitted
    state, pilot = steps.normalize(replace(state, filters_by_probability=True))
    limit = float(np.median(1 / (1 + np.exp(-calibrated_logit(pilot.batch, state)))))
    gate = RejectionSampling(keep_share=0.3, min_p_real=limit, relaxes=False)
    state, _ = steps.budget(state, pilot, FilterPolicy(gates=(gate,)), gate, CALIBRATION)
    probability = accept_probability(pilot.batch, state)
    p_real = 1 / (1 + np.exp(-calibrated_logit(pilot.batch, state)))

    assert probability[p_real < limit].max() == 0
    for label in range(3):
        mine = pilot.batch.labels == label
        attainable = min(0.3, float((p_real[mine] >= limit).mean()))
        assert probability[mine].mean() == pytest.approx(attainable, abs=1e-6)


def test_fakes_that_the_critic_sees_are_made_from_the_reals_beside_them_and_those_of_the_pilot_from_training_samples(
    store,
):
    """From training samples the critic would learn to tell what the encoder knows."""
    steps = fitting(store, FromParents())
    beside, pilot = steps.pilots.as_many_as(CALIBRATION, "fit"), steps.pilots.fresh("pilot")

    assert (beside.batch.parents == -1).all()
    for made, source in ((beside, CALIBRATION), (pilot, TRAIN)):
        labels = made.batch.labels
        mean = np.stack([made.batch.features[labels == k].mean(0) - SHIFT[k] for k in (0, 1)])
        points = cells_to_numpy(source.cells, (2,))
        expected = np.stack([points[source.labels == k].mean(0) for k in (0, 1)])
        assert mean == pytest.approx(expected, abs=0.35)
    assert (TRAIN.labels[pilot.batch.parents] == pilot.batch.labels).all()


def test_no_fake_that_anything_is_fitted_on_has_a_parent_that_was_held_back(store):
    steps = fitting(store, varied=[2])
    held_back = replace(steps.synthesizer, held_back=CALIBRATION)
    steps = replace(steps, synthesizer=held_back)

    assert steps.pilots.fresh("pilot").batch.parents.max() < len(TRAIN)
    with_parents = steps.pilots.with_parents()
    assert set(with_parents.batch.labels.tolist()) == {2}
    assert with_parents.batch.parents.max() >= len(TRAIN)


def test_seeds_of_fitting_and_proof_and_candidates_differ(store):
    steps = fitting(store)
    purposes = ["fit", "check", "pilot"]
    drawn = [steps.pilots.fakes({0: 5}, purpose).batch.features for purpose in purposes]
    candidates = steps.synthesizer.make(steps.synthesizer.orders({0: 5}, "candidate", root=0))[0]
    drawn.append(Points().encode(candidates))

    assert len({tuple(row) for each in drawn for row in each.tolist()}) == 20
