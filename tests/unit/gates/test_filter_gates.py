import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.seeding import coin
from aigc_pipeline.gates import (
    ClassQuota,
    Distinct,
    Duplicate,
    FilterPolicy,
    LabelAgreement,
    LabelConflict,
    Leakage,
    MinPReal,
    NotMemorised,
    RejectionSampling,
    apply_gates,
    count_reasons,
)


def make_scored(n: int, **columns: object) -> pa.Table:
    """A table that every gate passes, but for the given columns."""
    defaults: dict[str, object] = {
        "label": [0] * n,
        "class_name": ["a"] * n,
        "origin": ["generated"] * n,
        "parent_ids": pa.array([[]] * n, pa.list_(pa.string())),
        "ood_p": [0.5] * n,
        "log_density_ratio": [0.0] * n,
        "label_predicted": [0.0] * n,
        "label_probability": [0.9] * n,
        "class_have": [100] * n,
        "train_distance": [0.5] * n,
        "copy_threshold": [0.1] * n,
        "nearest_earlier_distance": [0.5] * n,
        "distinct_threshold": [0.1] * n,
        "p_real": [0.5] * n,
        "accept_probability": [1.0] * n,
        "accept_coin": [0.5] * n,
        "class_want": [n] * n,
    }
    return pa.table(defaults | columns)


def test_a_large_class_needs_the_referees_first_choice_and_a_small_one_only_a_chance():
    table = make_scored(
        4, label_predicted=[0.0, 1.0, 1.0, 1.0], label_probability=[0.9, 0.4, 0.4, 0.05], class_have=[100, 100, 5, 5]
    )

    assert LabelAgreement().judge(table).tolist() == [True, False, True, False]


def test_a_class_is_large_from_the_named_number_on():
    table = make_scored(2, label_predicted=[1.0, 1.0], label_probability=[0.4, 0.4], class_have=[24, 25])

    assert LabelAgreement(min_class_size=25).judge(table).tolist() == [True, False]


def test_what_is_made_from_a_sample_of_a_small_class_has_its_label_whatever_the_referee_says():
    table = make_scored(
        2, label_predicted=[1.0, 1.0], label_probability=[0.01, 0.01], class_have=[5, 100], parent_ids=[["a"]] * 2
    )

    assert LabelAgreement().judge(table).tolist() == [True, False]


def test_without_a_referee_labels_are_not_judged():
    table = make_scored(2, label_predicted=pa.nulls(2, pa.float64()), label_probability=pa.nulls(2, pa.float64()))

    assert LabelAgreement().judge(table).all()


def test_a_distance_of_exactly_the_threshold_is_a_copy():
    table = make_scored(3, train_distance=[0.0, 0.1, 0.1001])

    assert NotMemorised().judge(table).tolist() == [False, False, True]


def test_a_repeat_of_an_earlier_candidate_is_refused_and_the_first_of_a_class_passes():
    assert Distinct().judge(make_scored(3, nearest_earlier_distance=[None, 0.1, 0.2])).tolist() == [True, False, True]


def test_min_p_real_keeps_rows_at_exactly_the_threshold():
    table = make_scored(3, p_real=[0.4999, 0.5, 0.6])

    assert MinPReal(threshold=0.5).judge(table).tolist() == [False, True, True]


@pytest.mark.parametrize("gate", [MinPReal(threshold=0.9), RejectionSampling()])
def test_without_a_trusted_critic_probability_filters_nothing(gate):
    table = make_scored(2, accept_probability=pa.array([None, None], pa.float64()), p_real=[0.1, 0.1])

    assert gate.judge(table).all()


def test_a_coin_must_lie_below_the_probability():
    table = make_scored(3, accept_probability=[0.0, 0.5, 0.5], accept_coin=[0.0, 0.5, 0.49])

    assert RejectionSampling().judge(table).tolist() == [False, False, True]


def test_the_quota_keeps_the_first_of_each_class():
    table = make_scored(5, label=[0, 1, 0, 1, 0], class_want=[2, 1, 2, 1, 2])

    assert ClassQuota().judge(table).tolist() == [True, True, True, False, False]


def test_generated_and_varied_rows_of_a_class_have_a_quota_each():
    table = make_scored(5, origin=["generated", "generated", "classic", "classic", "generated"], class_want=[1] * 5)

    assert ClassQuota().judge(table).tolist() == [True, False, True, False, False]


def test_every_row_ends_with_one_reason_and_the_counts_add_up():
    generator = np.random.default_rng(0)
    table = make_scored(
        500,
        train_distance=generator.uniform(0, 1, 500),
        nearest_earlier_distance=generator.uniform(0, 1, 500),
        accept_probability=generator.uniform(0, 1, 500),
        accept_coin=generator.uniform(0, 1, 500),
        class_want=[60] * 500,
    )
    reasons = apply_gates([*FilterPolicy().gates, ClassQuota()], table)

    assert reasons.count(None) == 60
    assert reasons.count(None) + sum(count_reasons(reasons).values()) == 500


def test_decisions_of_row_gates_depend_neither_on_order_nor_on_batch():
    generator = np.random.default_rng(1)
    coins = [coin(9, f"s{i}") for i in range(200)]
    table = make_scored(
        200,
        accept_probability=generator.uniform(0, 1, 200),
        accept_coin=coins,
        train_distance=generator.uniform(0, 1, 200),
    )
    gates = FilterPolicy().gates
    whole = apply_gates(gates, table)
    order = generator.permutation(200)

    shuffled = apply_gates(gates, table.take(pa.array(order)))
    halves = apply_gates(gates, table.slice(0, 70)) + apply_gates(gates, table.slice(70))

    assert [whole[i] for i in order] == shuffled
    assert whole == halves


@pytest.mark.parametrize("share", [-1, 0, 1.5])
def test_the_budget_of_a_class_has_the_limits_of_the_common_one(share):
    with pytest.raises(ValidationError, match="than or equal to"):
        RejectionSampling(class_keep_share={"cat": share})
    with pytest.raises(ValidationError, match="than or equal to"):
        RejectionSampling(keep_share=share)


def make_listed(**columns: object) -> pa.Table:
    return pa.table(columns)


def test_the_first_of_identical_contents_stays():
    assert Duplicate().judge(make_listed(sha256=["a", "b", "a"])).tolist() == [True, True, False]


def test_identical_contents_under_two_classes_all_go():
    table = make_listed(sha256=["a", "b", "a"], class_name=["cat", "cat", "dog"])

    assert LabelConflict().judge(table).tolist() == [False, True, False]


def test_of_a_leak_the_copy_in_the_stricter_split_stays():
    table = make_listed(sha256=["a", "a", "b"], given_role=pa.array([None, "test", None], pa.string()))

    assert Leakage().judge(table).tolist() == [False, True, True]


def test_of_given_splits_test_is_stricter_than_selection_and_selection_than_training():
    table = make_listed(
        sha256=["a", "a", "b", "b"], given_role=pa.array(["selection", "test", None, "selection"], pa.string())
    )

    assert Leakage().judge(table).tolist() == [False, True, False, True]


def test_a_budget_for_a_class_that_there_is_not_is_refused():
    policy = FilterPolicy(gates=(RejectionSampling(class_keep_share={"cot": 0.5}),))
    policy.refuse_unknown_classes(["cot", "dog"])

    with pytest.raises(ConfigError, match=r"class_keep_share names the classes \['cot'\].*\['cat', 'dog'\]"):
        policy.refuse_unknown_classes(["dog", "cat"])
