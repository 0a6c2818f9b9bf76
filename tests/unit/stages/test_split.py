import hashlib
from collections import Counter

import pyarrow as pa
import pytest

from aigc_pipeline.core.errors import DataError
from aigc_pipeline.stages.split import SplitConfig, _refuse_missing_classes, assign_roles

CONFIG = SplitConfig()


def make_kept(
    n: int,
    *,
    classes: int = 2,
    clusters: list[int] | None = None,
    given: list[str | None] | None = None,
    name: str = "hash",
) -> pa.Table:
    return pa.table(
        {
            "sha256": [f"{name}-{i}" for i in range(n)],
            "class_name": [f"c{i % classes}" for i in range(n)],
            "given_role": pa.array(given or [None] * n, pa.string()),
            "cluster": clusters or list(range(n)),
        }
    )


def test_roles_meet_their_target_shares_in_every_class():
    kept = make_kept(400)
    roles, leaked = assign_roles(kept, {}, CONFIG)

    assert not leaked
    for name in ("c0", "c1"):
        counts = Counter(role for role, c in zip(roles, kept["class_name"].to_pylist(), strict=True) if c == name)
        assert counts == {"train": 120, "calibration": 30, "selection": 20, "test": 30}


def test_old_samples_keep_their_role_when_new_ones_arrive():
    before, _ = assign_roles(make_kept(200), {}, CONFIG)
    known = {f"hash-{i}": role for i, role in enumerate(before)}

    after, _ = assign_roles(make_kept(300), known, CONFIG)

    assert after[:200] == before
    assert Counter(after)["train"] == pytest.approx(180, abs=3)


def test_roles_do_not_depend_on_the_order_of_files():
    kept = make_kept(120)
    roles, _ = assign_roles(kept, {}, CONFIG)
    backwards = list(reversed(range(120)))

    reversed_roles, _ = assign_roles(kept.take(pa.array(backwards)), {}, CONFIG)

    assert reversed_roles == [roles[i] for i in backwards]


def test_a_duplicate_cluster_lies_in_one_split():
    clusters = [i // 4 for i in range(200)]
    roles, _ = assign_roles(make_kept(200, clusters=clusters), {}, CONFIG)

    assert all(len(set(roles[start : start + 4])) == 1 for start in range(0, 200, 4))


@pytest.mark.parametrize("order", range(5))
def test_a_large_duplicate_cluster_goes_where_it_exceeds_the_target_least(order):
    most = make_kept(100, classes=1, clusters=[0] * 60 + list(range(60, 100)), name=f"most-{order}")
    nearly_all = make_kept(100, classes=1, clusters=[0] * 99 + [99], name=f"nearly-all-{order}")

    assert Counter(assign_roles(most, {}, CONFIG)[0]) == {"train": 60, "test": 15, "calibration": 15, "selection": 10}
    assert Counter(assign_roles(nearly_all, {}, CONFIG)[0]) == {"train": 99, "test": 1}


def test_two_clusters_are_trained_on_and_tested_on_however_small_the_test_share():
    kept = make_kept(100, classes=1, clusters=[i // 50 for i in range(100)])
    roles, _ = assign_roles(kept, {}, SplitConfig(test_share=0.05))

    assert Counter(roles) == {"train": 50, "test": 50}


def test_without_duplicates_roles_are_those_of_earlier_versions():
    roles, _ = assign_roles(make_kept(401, classes=3), {}, CONFIG)

    assert hashlib.sha256(" ".join(map(str, roles)).encode()).hexdigest()[:16] == "4119f0ccbc591626"


@pytest.mark.parametrize("role", ["test", "selection"])
def test_given_samples_stay_and_no_others_join_them_though_they_are_fewer_than_the_share(role):
    given = [role if i % 25 == 0 else None for i in range(100)]
    roles, _ = assign_roles(make_kept(100, given=given), {}, CONFIG)

    assert [i for i, each in enumerate(roles) if each == role] == [0, 25, 50, 75]


def test_a_cluster_that_spans_two_given_splits_is_quarantined_but_for_the_stricter_one():
    kept = make_kept(4, clusters=[0, 0, 0, 3], given=["test", "selection", None, None])
    roles, leaked = assign_roles(kept, {}, CONFIG)

    assert roles[0] == "test"
    assert leaked == [1, 2]


def test_a_new_sample_that_would_join_two_old_splits_is_quarantined_and_the_old_ones_stay():
    known = {"hash-0": "train", "hash-1": "test"}
    roles, leaked = assign_roles(make_kept(3, clusters=[0, 0, 0]), known, CONFIG)  # type: ignore[arg-type]

    assert roles[:2] == ["train", "test"]
    assert leaked == [2]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_tiny_class_is_trained_on_first_and_tested_second(n):
    roles, _ = assign_roles(make_kept(n, classes=1), {}, CONFIG)

    assert {"train", "test"} <= set(roles)


def test_an_old_sample_that_is_given_another_role_is_left_out_and_the_others_stay():
    known = {"hash-0": "train", "hash-1": "test", "hash-2": "test"}
    kept = make_kept(5, given=["test", "test", None, "test", None], clusters=[0, 1, 2, 3, 0])
    roles, leaked = assign_roles(kept, known, CONFIG)  # type: ignore[arg-type]

    assert leaked == [0]
    assert roles == [None, "test", "test", "test", "train"]


def test_a_class_that_is_one_cluster_is_refused_with_what_keeps_it_together():
    kept = make_kept(4, clusters=[0, 1, 0, 3])

    with pytest.raises(
        DataError, match=r"train split has no sample of 'c0' \(2 samples in 1 clusters.*near_duplicate_tolerances"
    ):
        _refuse_missing_classes(kept, ["test", "train", "test", "test"], ["c0", "c1"])


@pytest.mark.parametrize(
    ("given", "roles", "said"),
    [
        ([None, "test", None, None], ["train", "test", "train", "train"], r"test .* 'c0' \(2 .*into its test folder"),
        (["test", "test", None, None], ["test", "test", "test", "train"], r"train .* 'c0' \(2 .*its training folder"),
        ([None] * 4, ["train", "test", "train", "train"], r"test .* 'c0' \(2 .*had other roles in this workspace"),
    ],
)
def test_a_class_that_a_role_lacks_in_spite_of_two_clusters_is_refused_with_the_cause(given, roles, said):
    kept = make_kept(4, given=given)

    with pytest.raises(DataError, match=said):
        _refuse_missing_classes(kept, roles, ["c0", "c1"])


def test_no_role_outgrows_its_cap_over_all_classes():
    config = SplitConfig(max_calibration=40, max_selection=8, max_test=20)

    roles, _ = assign_roles(make_kept(400), {}, config)

    assert Counter(roles) == {"train": 332, "calibration": 40, "selection": 8, "test": 20}
