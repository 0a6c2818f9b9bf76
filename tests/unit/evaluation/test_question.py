from collections import Counter
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.evaluation.material import Material
from aigc_pipeline.evaluation.question import Question, Settings
from aigc_pipeline.metrics.uplift import Options, Trial


def described(label_predicted: list[int | None]):
    """Describe class 0, which has three candidates with these opinions of the referee."""
    test = SimpleNamespace(labels=np.array([0, 1]))
    table = {
        "reject_reason": pa.array([None] * 3, pa.string()),
        "label_predicted": pa.array(label_predicted, pa.float64()),
    }
    material = SimpleNamespace(
        roles={"test": test},
        candidates=SimpleNamespace(labels=np.zeros(3, np.int64)),
        table=pa.table(table),
        splits=SimpleNamespace(classes=("cat", "dog"), class_counts={"train": (4, 4)}),
    )
    answer = SimpleNamespace(baseline="real", treated="none", predicted={"real": np.array([[0, 1]])})
    return Question(material, settings=None).describe_classes(answer)[0]


@pytest.mark.parametrize(("opinions", "agreement"), [([0, 0, 1], 2 / 3), ([1, 1, 1], 0.0), ([None] * 3, None)])
def test_label_agreement_is_unknown_without_a_referee_and_0_where_it_never_agrees(opinions, agreement):
    assert described(opinions)["label_agreement"] == agreement


ROLES = {"train": 12, "calibration": 4, "selection": 12, "test": 10}


@pytest.fixture
def material():
    """Two classes in every role; four generated candidates, and four varied ones: two of a selection sample, two of a train sample."""
    roles, attributes = {}, {}
    for role, number in ROLES.items():
        points = np.zeros((number, 1), np.float32)
        roles[role] = LabelledCells(
            [f"{role}-{i}" for i in range(number)], np.arange(number) % 2, cells_from_numpy(points)
        )
        attributes[role] = [{}] * number
    ids = [f"candidate-{i}" for i in range(8)]
    table = pa.table(
        {
            "label": np.arange(8) % 2,
            "origin": ["generated"] * 4 + ["classic"] * 4,
            "parent_ids": [[]] * 4 + [["selection-0"], ["selection-1"], ["train-0"], ["train-1"]],
            "class_want": np.full(8, 2),
            "importance_weight": np.arange(8, dtype=np.float32),
            "accepted": [True] * 8,
            "reject_reason": pa.nulls(8, pa.string()),
        }
    )
    candidates = LabelledCells(ids, np.arange(8) % 2, cells_from_numpy(np.zeros((8, 1), np.float32)))
    splits = SimpleNamespace(classes=("cat", "dog"))
    context = SimpleNamespace(seed=0, seed_for=lambda *_: 0)
    return Material(context, splits, roles, attributes, {}, table, candidates, candidates.cells, None, None)


class Recorded:
    """Trainings that remember what they saw. With synthetic rows all items of test are recognised, otherwise three."""

    def __init__(self, is_hit):
        self.seen, self.is_hit = [], is_hit

    def predict(self, trials):
        found = []
        for trial in trials:
            real = trial.real if trial.rows is None else trial.real.take(trial.rows)
            self.seen.append((trial, set(real.ids), set(trial.pool.rows.ids) if trial.pool else set()))
            found.append(np.where(self.is_hit(trial), trial.target.labels, 1 - trial.target.labels))
        return found

    def of_arms(self, arms, real, target, purpose, num_seeds):
        return [
            np.stack(self.predict([Trial(arm, real, pool, target, purpose, seed) for seed in range(n)]))
            for (arm, pool), n in zip(arms, num_seeds, strict=True)
        ]


@pytest.fixture
def ask(material, monkeypatch):
    """Ask with a selection that is large enough, or is not, or for CAS with 0; returns the answer and all trainings."""

    def three_or_all(trial):
        return np.arange(len(trial.target)) < (len(trial.target) if trial.arm.name.endswith("synthetic") else 3)

    def asked(min_selection: int, is_hit=three_or_all):
        recorded = Recorded(is_hit)
        monkeypatch.setattr(Question, "_trials", lambda *_: recorded)
        options = Options(doses=[0.25, 0.5], loss_weights=[0.5], default_dose=0.25, default_weight=0.5, num_seeds=2)
        settings = Settings(
            options, min_selection=min_selection, num_seeds=3, num_cas_seeds=2, total_samples=None, batch_size=8,
            network="small", learning_shares=(0.5, 0.75),
        )  # fmt: skip
        question = Question(material, settings)
        return (question.ask(1) if min_selection else question.train_on_synthetic()), recorded.seen

    return asked


def test_training_on_synthetic_and_on_real_samples_sees_as_many_of_each_class(ask, material):
    """Neither varied rows beside generated ones nor real samples but the train role's, which has one dog here."""
    material.roles["train"] = material.roles["train"].take(np.array([0, 2, 4, 1]))
    accuracy, seen = ask(min_selection=0)

    assert {key for key in accuracy if key.startswith("cas/")} == {"cas/synthetic", "cas/real"}
    assert [trial.purpose for trial, _, _ in seen] == ["cas-0", "cas-1"] * 2
    assert all(trial.target.ids[0] == "test-0" and trial.pool is None for trial, _, _ in seen)
    assert all(np.bincount(trial.real.labels[trial.rows]).tolist() == [2, 1] for trial, _, _ in seen)
    assert all(real < {f"candidate-{i}" for i in range(4)} for _, real, _ in seen[:2])
    assert all(each.startswith("train") for _, real, _ in seen[2:] for each in real)


def test_what_is_chosen_on_selection_saw_neither_selection_nor_test_nor_rows_made_from_them(ask):
    answer, seen = ask(min_selection=8)
    choosing = [(trial, real | pool) for trial, real, pool in seen if trial.purpose == "select"]

    assert answer.choice.on_selection
    assert {each for trial, _ in choosing for each in trial.target.ids} == {f"selection-{i}" for i in range(12)}
    rows = {each for _, ids in choosing for each in ids}
    assert rows == {f"train-{i}" for i in range(12)} | {f"calibration-{i}" for i in range(4)} | {
        f"candidate-{i}" for i in (0, 1, 2, 3, 6, 7)
    }


def test_test_is_read_by_trainings_on_all_other_real_samples_and_never_trained_on(ask):
    _, seen = ask(min_selection=8)
    last = [(trial, real) for trial, real, _ in seen if trial.purpose == "uplift" and trial.rows is None]

    assert last
    for trial, real in last:
        assert trial.target.ids == [f"test-{i}" for i in range(10)]
        assert real == {f"{role}-{i}" for role, n in ROLES.items() if role != "test" for i in range(n)}
    assert not any(each.startswith("test") for _, real, pool in seen for each in real | pool)


def test_the_treated_arm_and_its_control_train_as_often_as_the_baseline_with_what_was_chosen(ask):
    answer, seen = ask(min_selection=8)
    last = [(trial, pool) for trial, _, pool in seen if trial.purpose == "uplift" and trial.rows is None]
    treated = [(trial, pool) for trial, pool in last if trial.pool is not None]

    assert answer.baseline == "real"
    assert Counter(trial.arm.name for trial, _ in last) == {
        "real": 3, "real_and_classic": 2, "real_and_synthetic": 3, "real_and_copies": 3,
    }  # fmt: skip
    for trial, _ in treated:
        assert (trial.arm.dose, trial.arm.loss_weight) == (answer.choice.dose, answer.choice.loss_weight)
        assert len(trial.pool.rows) == 4
    assert treated[0][1] == {f"candidate-{i}" for i in range(4)}
    assert all(each.partition("-")[0] in {"train", "calibration", "selection"} for each in treated[-1][1])


def test_a_class_that_lost_recall_on_selection_has_no_row_in_the_treated_arm(ask):
    def cats_alone(trial):
        return (trial.target.labels == 0) | (trial.arm.name != "option")

    answer, seen = ask(min_selection=8, is_hit=cats_alone)
    treated = [pool for trial, _, pool in seen if trial.arm.name == answer.treated]

    assert answer.choice.classes == ("cat",)
    assert treated == [{"candidate-0", "candidate-2"}] * 3


def test_points_of_the_learning_curve_share_their_seeds_with_the_arms_that_they_are_compared_with(ask):
    answer, seen = ask(min_selection=8)
    curve = [(trial, real) for trial, real, _ in seen if trial.rows is not None]

    assert answer.worth
    assert {(trial.purpose, trial.arm.name) for trial, _ in curve} == {("uplift", answer.baseline)}
    assert {trial.number for trial, _ in curve} == {0, 1, 2}
    assert len({frozenset(real) for _, real in curve if len(real) == 14}) == 3  # each seed draws its own
    assert sorted({len(real) for _, real in curve if len(real) < 28}) == [14, 22]


def test_a_small_selection_chooses_nothing(ask):
    answer, seen = ask(min_selection=13)

    assert {trial.purpose for trial, _, _ in seen} == {"uplift"}
    assert not answer.doses
    assert (answer.baseline, answer.choice.mix) == ("real_and_classic", "generated")
    assert (answer.choice.dose, answer.choice.loss_weight, answer.choice.on_selection) == (0.25, 0.5, False)


def test_classes_too_small_to_be_thinned_have_no_learning_curve(ask, material):
    for role, rows in (("train", [0, 1]), ("calibration", []), ("selection", [])):
        material.roles[role] = material.roles[role].take(np.array(rows, np.int64))
    answer, seen = ask(min_selection=9)

    assert not any(trial.rows is not None for trial, _, _ in seen)
    assert [each.sentence for each in answer.worth] == [
        "Not measured: the classes are too small to train on parts of them."
    ]
