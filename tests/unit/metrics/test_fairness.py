"""Groups that the filter starves or that lose recall: planted ones are named, chance is not."""

import numpy as np
import pyarrow as pa

from aigc_pipeline.data.loader import attributes_of
from aigc_pipeline.metrics.fairness import MAX_GROUPS, OTHER, group_outcomes

CLASSES = ("cat", "dog")


def make_candidates(
    sites: list[str], passed: list[bool], *, origins: list[str] | None = None, reason: str = "rejection_sampling"
) -> pa.Table:
    """One candidate a row; its nearest training sample has the id of its site."""
    n = len(sites)
    origins = origins or ["generated"] * n
    return pa.table(
        {
            "label": np.arange(n) % 2,
            "origin": origins,
            "parent_ids": pa.array([[s] if o == "classic" else None for s, o in zip(sites, origins, strict=True)]),
            "nearest_train_id": ["south" if o == "classic" else s for s, o in zip(sites, origins, strict=True)],
            "reject_reason": pa.array([None if each else reason for each in passed], pa.string()),
        }
    )


TRAIN = {site: {"site": site} for site in ("north", "south")}
LABELS = np.arange(80) % 2
TEST = [{"site": "north"}] * 40 + [{"site": "south"}] * 40
RIGHT = np.ones((5, 80), bool)


def outcomes(candidates: pa.Table, **changes):
    given = {"real_attributes": TRAIN, "test_attributes": TEST, "baseline": RIGHT, "treated": RIGHT} | changes
    found = group_outcomes(
        candidates,
        given["real_attributes"],
        given["test_attributes"],
        LABELS,
        CLASSES,
        given["baseline"],
        given["treated"],
    )
    return {(each.attribute, each.group): each for each in found}


def test_a_planted_starved_group_is_named_and_the_others_are_not():
    candidates = make_candidates(
        ["north"] * 100 + ["south"] * 100, [True] * 60 + [False] * 40 + [True, False, False, False, False] * 20
    )
    found = outcomes(candidates)

    assert (found["site", "south"].accepted, found["site", "south"].candidates) == (20, 100)
    assert found["site", "south"].warning == "starved: 20% pass (interval 13% to 29%) where 40% is usual"
    assert [key for key, each in found.items() if each.warning] == [("site", "south")]


def test_a_small_group_under_the_usual_share_by_chance_is_not_warned_of():
    found = outcomes(make_candidates(["north"] * 100 + ["south"] * 6, [True, False] * 50 + [True] + [False] * 5))

    assert found["site", "south"].warning is None


def test_a_full_class_is_not_starved():
    candidates = make_candidates(["north"] * 100 + ["south"] * 100, [True] * 100 + [False] * 100, reason="class_quota")

    assert outcomes(candidates)["site", "south"].warning is None


def test_candidates_that_the_critic_judges_are_not_measured_by_how_many_others_pass():
    """Small classes whose rows are made from real ones are not judged, and of the others half pass by design."""
    table = make_candidates(["north"] * 300 + ["south"] * 100, [True] * 300 + [True, True, False, False] * 25)
    table = table.append_column("accept_probability", pa.array([None] * 300 + [0.5] * 100, pa.float64()))

    assert not [key for key, each in outcomes(table).items() if each.warning]


def test_generated_candidates_are_not_measured_by_how_many_varied_ones_pass():
    origins = ["classic"] * 100 + ["generated"] * 100
    candidates = make_candidates(
        ["north"] * 100 + ["south"] * 100, [True] * 100 + [True, True, False, False] * 25, origins=origins
    )

    assert not [key for key, each in outcomes(candidates).items() if each.warning]


def test_a_varied_candidate_takes_its_parents_attribute_not_its_neighbours():
    candidates = make_candidates(["north"] * 4, [True] * 4, origins=["classic"] * 4)

    assert outcomes(candidates)["site", "north"].candidates == 4


def test_recall_that_falls_beyond_chance_is_named_with_its_standard_error():
    treated = RIGHT.copy()
    treated[:, 40:60] = False
    found = outcomes(make_candidates(["north"], [True]), treated=treated)

    assert found["site", "south"].recall_with_synthetic == 0.5
    assert found["site", "south"].warning == "recall falls by 50.0 points (standard error 11.5)"
    assert found["site", "north"].warning is None


def test_false_alarms_about_recall_are_rare():
    generator = np.random.default_rng(0)
    alarms = []
    for _ in range(200):
        truth = np.clip(0.8 + 0.2 * generator.standard_normal(80), 0, 1)
        pair = [generator.random((5, 80)) < truth for _ in range(2)]
        found = outcomes(make_candidates(["north"], [True]), baseline=pair[0], treated=pair[1])
        alarms += [each.warning is not None for each in found.values()]

    assert np.mean(alarms) < 0.05


def test_nothing_accepted_leaves_recall_with_synthetic_unknown():
    found = outcomes(make_candidates(["north"] * 4, [False] * 4), treated=None)

    assert found["class", "cat"].recall_with_synthetic is None
    assert found["class", "cat"].recall_baseline == 1.0
    assert found["class", "cat"].test_samples == 40


def test_rare_values_are_taken_together_and_identifiers_are_no_groups():
    train = {f"t{i}": {"site": f"site {i % 30:02d}", "patient": f"p{i}"} for i in range(300)}
    found = outcomes(
        make_candidates(["t0"] * 3 + ["t29"] * 2, [True] * 5), real_attributes=train, test_attributes=[{}] * 80
    )

    assert sum(attribute == "site" for attribute, _ in found) == MAX_GROUPS + 1
    assert found["site", "site 00"].candidates == 3
    assert found["site", OTHER].candidates == 2
    assert "patient" not in {attribute for attribute, _ in found}


def test_no_candidates_at_all_is_no_warning():
    assert not any(each.warning for each in outcomes(make_candidates([], []), treated=None).values())


def test_attributes_are_read_from_the_stored_json():
    stored = pa.table({"attributes": ['{"site": "north"}', None]})

    assert attributes_of(stored) == [{"site": "north"}, {}]


def test_a_sample_made_from_a_real_one_counts_for_its_parents_group_whatever_its_generator_was_told():
    candidates = make_candidates(
        ["north"] * 50 + ["south"] * 50, [True] * 100, origins=["classic"] * 50 + ["generated"] * 50
    )
    told = pa.array(['{"site": "south"}'] * 50 + ['{"site": "north"}'] * 50)

    found = outcomes(candidates.append_column("condition", told))

    assert found["site", "north"].candidates == 100
