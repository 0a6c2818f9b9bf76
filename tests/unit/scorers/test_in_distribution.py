"""The conformal test against outliers, its treatment of parents, and the critic's silence about the other method's rows."""

import numpy as np
import pytest

from aigc_pipeline.core.errors import WorkspaceError
from aigc_pipeline.scorers.base import JudgeState, ScoringBatch, TrainReference
from aigc_pipeline.scorers.critic import Critic
from aigc_pipeline.scorers.in_distribution import InDistribution, conformal_p, outlyingness


def not_measured() -> tuple[np.ndarray, np.ndarray]:
    raise AssertionError


def make_batch(
    features: np.ndarray, *, parents: object = -1, labels: object = 0, is_classic: object = False
) -> ScoringBatch:
    n = len(features)
    return ScoringBatch(
        labels=np.array(np.broadcast_to(labels, n), np.int64),
        nearest_train=not_measured,
        features=features.astype(np.float32),
        judge_features=features.astype(np.float32),
        referee_logits=None,
        d_logit=None,
        parents=np.array(np.broadcast_to(parents, n), np.int64),
        is_classic=np.array(np.broadcast_to(is_classic, n), bool),
        coins=np.full(n, 0.5),
    )


def make_state(**changes: object) -> JudgeState:
    """Two classes, the second of them varied; a critic that reads the first feature."""
    values: dict[str, object] = {
        "critic_weights": np.array([1.0, 0.0, 0.0]),
        "critic_bias": 0.0,
        "critic_reals": np.full(2, 30),
        "uses_d_logit": False,
        "d_offset": np.zeros(2),
        "d_scale": 1.0,
        "calibrator": "platt",
        "calibration": np.array([1.0, 0.0]),
        "class_calibration": np.zeros((2, 0)),
        "class_share": np.zeros(2),
        "log_mean_ratio": np.zeros(2),
        "acceptance_constant": np.full(2, 0.5),
        "acceptance_peak": np.zeros(2),
        "acceptance_rule": "optimal",
        "min_p_real": 0.0,
        "filters_by_probability": True,
        "holdout_logits": np.zeros(9),
        "temperature": 1.0,
        "holdout_distances": np.zeros(9),
        "holdout_outlyingness": np.zeros(0),
        "copy_threshold": 0.1,
        "distinct_threshold": 0.1,
        "repeat_threshold": 0.01,
        "class_have": np.full(2, 50),
    }
    return JudgeState(**(values | changes))  # type: ignore[arg-type] # a table of fields


def make_reference(features: np.ndarray) -> TrainReference:
    rows = features.astype(np.float32)
    return TrainReference([str(i) for i in range(len(rows))], rows, rows, rows)


@pytest.fixture(scope="module")
def train() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((500, 3)).astype(np.float32)


def test_as_many_unseen_reals_are_refused_as_the_limit_says_and_every_outlier(train):
    generator = np.random.default_rng(1)
    holdout = np.sort(outlyingness(generator.standard_normal((999, 3)).astype(np.float32), train).astype(np.float64))
    state, reference = make_state(holdout_outlyingness=holdout), make_reference(train)

    def p(features: np.ndarray) -> np.ndarray:
        return np.asarray(InDistribution().score(make_batch(features), state, reference)["ood_p"])

    unseen = p(generator.standard_normal((20_000, 3)))
    assert np.mean(unseen <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert unseen.min() >= 1 / 1_000
    assert (p(generator.standard_normal((50, 3)) + 8) == 1 / 1_000).all()


def test_ties_count_as_being_as_far_out():
    assert conformal_p(np.array([1.0, 2.0, 9.0]), np.array([1.0, 2.0, 2.0])).tolist() == [1.0, 0.75, 0.25]


def test_a_varied_row_is_measured_without_its_own_parent():
    train = np.zeros((6, 3), np.float32)
    train[:, 0] = [0, 10, 20, 30, 40, 50]
    batch = make_batch(train[:1], parents=0, labels=1)
    state = make_state(holdout_outlyingness=np.array([45.0]))

    assert outlyingness(train[:1], train)[0] == 40
    assert InDistribution().score(batch, state, make_reference(train))["ood_p"][0] == 0.5  # 50 is over 45


def test_a_varied_real_sample_is_as_typical_as_its_parent(train):
    batch = make_batch(train[:2], parents=0, is_classic=[True, False])
    columns = InDistribution().score(batch, make_state(holdout_outlyingness=np.array([1.0])), make_reference(train))

    assert np.isnan(columns["ood_p"]).tolist() == [True, False]


def test_a_class_too_small_for_the_test_is_not_tested(train):
    batch = make_batch(train[:2], labels=[0, 1])
    state = make_state(holdout_outlyingness=np.array([1.0]), class_have=np.array([25, 24]))

    assert np.isnan(InDistribution().score(batch, state, make_reference(train))["ood_p"]).tolist() == [False, True]


def test_without_a_hold_out_there_is_no_p(train):
    columns = InDistribution().score(make_batch(train[:3]), make_state(), make_reference(train))

    assert np.isnan(columns["ood_p"]).all()


def test_the_critic_says_nothing_about_varied_rows_and_classes_that_it_saw_no_real_of(train):
    """In order: generated, varied, generated from a parent; real; of a class without reals: real, generated."""
    batch = make_batch(
        train[:6],
        parents=[-1, 3, 3, -1, -1, -1],
        labels=[0, 0, 0, 1, 2, 2],
        is_classic=[False, True, False, False, False, False],
    )
    state = make_state(
        critic_reals=np.array([30, 30, 0]),
        log_mean_ratio=np.zeros(3),
        acceptance_constant=np.full(3, 0.5),
        acceptance_peak=np.zeros(3),
        class_share=np.zeros(3),
    )
    columns = Critic().score(batch, state, make_reference(train))

    for name in Critic.columns:
        assert np.isnan(columns[name]).tolist() == [False, True, False, False, True, True], name


def test_ratios_are_normalized_per_class_and_then_cut_at_e_to_the_eighth():
    features = np.array([[1.0, 0, 0], [1.0, 0, 0], [99.0, 0, 0], [-99.0, 0, 0]])
    batch, state = make_batch(features, labels=[0, 1, 0, 0]), make_state(log_mean_ratio=np.array([0.0, 0.4]))

    found = Critic().score(batch, state, make_reference(features))["log_density_ratio"]
    assert found == pytest.approx([1.0, 0.6, 8.0, -8.0])


def test_nothing_below_the_smallest_probability_is_ever_accepted(train):
    columns = Critic().score(make_batch(train), make_state(min_p_real=0.6), make_reference(train))
    accept, p_real = columns["accept_probability"], columns["p_real"]

    assert (accept[p_real < 0.6] == 0).all()
    assert (accept[p_real >= 0.6] > 0).all()


def test_a_state_read_back_is_the_state_that_was_written(tmp_path):
    state = make_state(acceptance_rule="discriminator")
    state.save(tmp_path / "judge.npz")
    loaded = JudgeState.load(tmp_path / "judge.npz")

    for name, value in vars(state).items():
        assert np.array_equal(getattr(loaded, name), value), name


def test_a_judge_of_another_version_is_refused_with_the_remedy(tmp_path):
    make_state().save(tmp_path / "judge.npz")
    with np.load(tmp_path / "judge.npz") as arrays:
        older = {name: arrays[name] for name in arrays.files if name != "temperature"} | {"scale": np.zeros(1)}
    np.savez(tmp_path / "judge.npz", **older)

    with pytest.raises(WorkspaceError, match=r"another version of aigc .*: scale, temperature.*run `aigc run` again"):
        JudgeState.load(tmp_path / "judge.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"no archive"])
def test_a_damaged_judge_is_refused_with_the_remedy(tmp_path, content):
    (tmp_path / "judge.npz").write_bytes(content)

    with pytest.raises(WorkspaceError, match=r"cannot read the judge in .*run `aigc run` again"):
        JudgeState.load(tmp_path / "judge.npz")
