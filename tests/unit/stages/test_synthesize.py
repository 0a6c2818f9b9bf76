"""Who a candidate's parents are, and how many candidates there are of each kind."""

from types import SimpleNamespace

import pytest

from aigc_pipeline.core.samples import ROLES
from aigc_pipeline.data.shards import read_shards, read_table
from aigc_pipeline.generators.conditions import Conditions
from aigc_pipeline.generators.synthesis import Order
from aigc_pipeline.loading import open_synthesizer
from aigc_pipeline.records import ClassPlan, Condition
from aigc_pipeline.stages.synthesize import SynthesizeConfig, _beside, _condition, _table, candidates_for


@pytest.fixture
def synthesizer(tiny_run):
    return open_synthesizer(tiny_run.context, tiny_run.done.planned, tiny_run.done.splits, tiny_run.done.checkpoint)


@pytest.fixture
def candidates(tiny_run):
    return read_shards(tiny_run.context.files_of(tiny_run.done.candidates), "candidates").to_pandas()


def test_candidates_are_made_from_all_real_samples_but_those_to_test_with(tiny_run, synthesizer):
    folder = tiny_run.context.files_of(tiny_run.done.splits)
    ids = {role: read_table(folder / f"{role}.arrow")["sample_id"].to_pylist() for role in ROLES}

    assert synthesizer.train.ids == ids["train"]
    assert synthesizer.parent_ids == ids["train"] + ids["calibration"] + ids["selection"]


@pytest.mark.parametrize("parent", [0, 50])
def test_a_varied_candidate_names_its_parent_whichever_it_is(tiny_run, synthesizer, parent):
    order = Order(int(synthesizer.parent_labels[parent]), 7, "classic", parent, 0)
    table = _table(synthesizer, [order], tiny_run.done.splits, tiny_run.done.checkpoint)

    assert table["parent_ids"].to_pylist() == [[synthesizer.parent_ids[parent]]]
    assert table["parent_row"].to_pylist() == [parent]


def test_parents_are_of_the_class_and_generated_candidates_have_none(synthesizer, candidates):
    label = dict(zip(synthesizer.parent_ids, synthesizer.parent_labels, strict=True))
    varied = candidates[candidates["origin"] == "classic"]

    assert [label[each[0]] for each in varied["parent_ids"]] == varied["label"].tolist()
    assert set(candidates.loc[candidates["origin"] == "generated", "parent_ids"].map(len)) == {0}


def test_a_class_of_which_nothing_is_wanted_is_audited_by_what_the_family_makes_of_it(candidates):
    made = candidates.groupby("class_name")["origin"].unique().map(sorted).to_dict()

    assert made == {"class_0": ["classic", "generated"], "class_1": ["generated"], "class_2": ["classic"]}
    assert set(candidates.loc[candidates["origin"] == "classic", "generator"]) == {"classic"}
    assert candidates["seed"].is_unique


def test_varied_samples_beside_generated_ones_follow_their_own_acceptance():
    methods = {"a": "generate", "b": "vary", "c": "nothing"}
    classes = [
        ClassPlan(class_name=name, have=9, want=0 if method == "nothing" else 20, method=method, expectation="")
        for name, method in methods.items()
    ]
    judge = SimpleNamespace(acceptance=dict.fromkeys("abc", 0.1), classic_acceptance={"a": 0.5})
    config = SynthesizeConfig()
    planned = SimpleNamespace(classes=classes, with_classic=True)

    assert _beside(planned, judge, config) == {0: candidates_for(20, 0, 0.5, config)}  # type: ignore[arg-type]
    assert _beside(SimpleNamespace(classes=classes, with_classic=False), judge, config) == {}  # type: ignore[arg-type]


def test_what_the_networks_were_told_is_on_record_where_they_made_the_sample():
    rows = tuple(Condition(class_counts=(9,), attributes={"site": site}) for site in ("north", "south"))
    synthesizer = SimpleNamespace(conditions=Conditions(("class", "site"), rows))
    told = [_condition(synthesizer, Order(0, 1, origin, -1, 1)) for origin in ("generated", "classic")]  # type: ignore[arg-type]

    assert told == ['{"site": "south"}', None]
