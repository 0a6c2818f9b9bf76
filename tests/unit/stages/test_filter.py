import numpy as np
import pyarrow as pa
import pytest

from aigc_pipeline.core.context import Context
from aigc_pipeline.data.shards import read_table, write_table
from aigc_pipeline.gates import FilterPolicy, ImportanceWeights, MinPReal, RejectionSampling, TopShare
from aigc_pipeline.records import ClassPlan, Judge, ScoredSet, SynthesisPlan
from aigc_pipeline.stages.filter import FilterConfig, _tell, accepted_rows, filter_candidates, importance_weights


def make_table(log_ratio: list[float | None], accepted: list[bool], labels: list[int]) -> pa.Table:
    return pa.table(
        {
            "log_density_ratio": pa.array(log_ratio, pa.float64()),
            "accept_probability": pa.array([None if each is None else 1.0 for each in log_ratio], pa.float64()),
            "accepted": accepted,
            "label": labels,
        }
    )


def test_weights_follow_the_ratio_and_average_one_over_the_accepted_of_a_class():
    ratio = [1.0, 3.0, 2.0, 8.0]
    table = make_table([*np.log(ratio)], [True, True, True, True], [0, 0, 1, 1])
    weights = importance_weights(table, ImportanceWeights())

    assert weights == pytest.approx([0.5, 1.5, 0.4, 1.6])


def test_of_many_classes_that_are_short_five_are_noted_and_the_rest_is_counted(store, recording_reporter):
    short = {f"c{index}": 2 for index in range(9)}
    _tell(Context(store, 0, reporter=recording_reporter), [], dict.fromkeys(short, 3), {}, short)

    assert len(recording_reporter.notes) == 6
    assert recording_reporter.notes[-1].startswith("4 further classes")


def test_weights_are_flattened_and_cut():
    generator = np.random.default_rng(0)
    log_ratio = [*generator.normal(0, 2, 1_000)]
    table = make_table(log_ratio, [True] * 1_000, [0] * 1_000)
    plain = importance_weights(table, ImportanceWeights(max_weight=3))
    flat = importance_weights(table, ImportanceWeights(power=0.25, max_weight=3))

    assert plain.mean() == pytest.approx(1, abs=1e-5)
    assert flat.std() < plain.std()
    assert plain.max() == pytest.approx(3)


def test_weighted_fakes_have_the_mean_of_reals():
    """Reals from N(0, 1), fakes from N(0.7, 1): log p/q = 0.245 - 0.7 x."""
    x = np.random.default_rng(1).normal(0.7, 1, 100_000)
    table = make_table([*(0.245 - 0.7 * x)], [True] * len(x), [0] * len(x))
    weights = importance_weights(table, ImportanceWeights(max_weight=50))

    assert np.average(x, weights=weights) == pytest.approx(0, abs=0.02)


def test_one_extreme_ratio_weighs_no_more_than_the_largest_weight():
    table = make_table([*[0.0] * 99, 5.0], [True] * 100, [0] * 100)
    weights = importance_weights(table, ImportanceWeights(max_weight=5))

    assert weights[-1] == pytest.approx(5)
    assert weights[:99] == pytest.approx(95 / 99)


def test_ratios_of_a_critic_that_is_not_trusted_weigh_nothing():
    table = make_table([0.0, 2.0], [True, True], [0, 0])
    nothing = pa.array([None, None], pa.float64())
    table = table.set_column(table.column_names.index("accept_probability"), "accept_probability", nothing)

    assert importance_weights(table, ImportanceWeights()).tolist() == [1, 1]


def test_refused_rows_and_rows_without_a_ratio_weigh_one():
    table = make_table([2.0, None, 0.0, 1.0], [False, True, True, True], [0, 0, 0, 0])
    weights = importance_weights(table, ImportanceWeights())

    assert weights[:2].tolist() == [1, 1]
    assert weights[2:].mean() == pytest.approx(1)
    assert importance_weights(table, None).tolist() == [1, 1, 1, 1]


def test_the_same_ratio_never_counts_twice():
    with pytest.raises(ValueError, match="2 times: rejection_sampling, top_share"):
        FilterPolicy(gates=(RejectionSampling(), TopShare()))
    with pytest.raises(ValueError, match="count twice"):
        FilterPolicy(gates=(RejectionSampling(),), importance=ImportanceWeights())


def test_accepted_samples_are_told_by_kind_so_that_neither_exceeds_what_is_wanted():
    table = pa.table(
        {
            "class_name": ["cat"] * 5 + ["dog"],
            "origin": ["generated", "generated", "classic", "classic", "classic", "classic"],
            "accepted": [True, True, True, True, False, False],
        }
    )

    assert accepted_rows(table, {"cat": 2, "dog": 1}) == [
        {"class": "cat", "want": 2, "generated": 2, "varied": 2},
        {"class": "dog", "want": 1, "generated": 0, "varied": 0},
    ]


@pytest.fixture
def filtered(context):
    """Filter candidates of these classes and kinds, of which so many are wanted of each class."""

    def run(classes: list[str], origins: list[str], *, want: int, gates=(), judge=None):
        files = {"fingerprint": "f" * 64, "path": "scored", "created_by": "test"}
        (folder := context.store.workspace / "scored").mkdir()
        names = sorted(set(classes))
        labels = [names.index(each) for each in classes]
        ids = [str(row) for row in range(len(classes))]
        named = {"sample_id": ids, "class_name": classes, "label": labels, "origin": origins}
        likely = dict.fromkeys(("p_real", "accept_probability"), [0.9] * len(ids))
        write_table(folder / "scored.arrow", pa.table(named | likely))
        plans = [ClassPlan(class_name=name, have=9, want=want, method="generate", expectation="") for name in names]
        planned = SynthesisPlan(
            **files, classes=plans, total_samples=1, samples_per_second=1, minutes=1, num_bytes=1, with_classic=True
        )
        scored = ScoredSet(**files, num_samples=len(ids), columns=(), ranges={})
        return filter_candidates(context, FilterConfig(gates=gates), planned, judge or Judge.model_construct(), scored)

    return run


def test_accepted_plus_short_is_wanted_and_varied_samples_are_told_apart(filtered, recording_reporter):
    """Two of three wanted samples were generated; three varied ones stand beside them for selection to choose."""
    found = filtered(["cat"] * 5, ["generated", "classic", "generated", "classic", "classic"], want=3)

    assert found.shortfall == {"cat": 1}
    assert recording_reporter.tables["accepted"] == [{"class": "cat", "want": 3, "generated": 2, "varied": 3}]


def test_of_each_class_and_kind_no_more_are_accepted_than_are_wanted(filtered, context):
    found = filtered(["cat"] * 5 + ["dog"], ["generated"] * 3 + ["classic"] * 2 + ["generated"], want=1)

    reasons = read_table(context.out / "filtered.arrow")["reject_reason"].to_pylist()
    assert reasons == [None, "class_quota", "class_quota", None, "class_quota", None]
    assert found.kept_by_class == {"cat": 2, "dog": 1}
    assert found.rejected == {"class_quota": 3}


@pytest.mark.parametrize("is_trusted", [False, True])
@pytest.mark.parametrize("gates", [(), (MinPReal(),)])
def test_the_record_says_filtered_by_probability_only_where_a_trusted_critic_was_asked(filtered, gates, is_trusted):
    judge = Judge.model_construct(filters_by_probability=is_trusted)
    found = filtered(["cat"], ["generated"], want=1, gates=gates, judge=judge)

    assert found.filtered_by_probability == (is_trusted and len(gates) > 0)
