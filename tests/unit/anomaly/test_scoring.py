"""A user's own files against a finished run: their order, what is known of them, and what there is to compare with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aigc_pipeline.anomaly.finished import FinishedRun
from aigc_pipeline.anomaly.scoring import Examiner, _holdout
from aigc_pipeline.anomaly.unlikeness import Signs, read_signs
from aigc_pipeline.core.errors import DataError
from aigc_pipeline.data.loader import load_cells
from aigc_pipeline.data.shards import cells_from_numpy, read_table, write_table
from aigc_pipeline.scorers.base import ScoringBatch
from aigc_pipeline.scorers.critic import Critic


def write_role(folder: Path, role: str, n: int) -> None:
    cells = cells_from_numpy(np.zeros((n, 4), np.uint8))
    ids = pa.array([f"{role}{i}" for i in range(n)], pa.string())
    write_table(folder / f"{role}.arrow", pa.table({"sample_id": ids, "label": np.zeros(n, np.int64), "cell": cells}))


def test_too_few_unseen_reals_are_an_error_with_the_number(tmp_path: Path) -> None:
    write_role(tmp_path, "calibration", 12)
    write_role(tmp_path, "selection", 7)

    with pytest.raises(DataError, match="kept 19 real samples"):
        _holdout(tmp_path)


def test_many_unseen_reals_are_thinned_over_both_roles(tmp_path: Path) -> None:
    write_role(tmp_path, "calibration", 900)
    write_role(tmp_path, "selection", 600)

    ids = _holdout(tmp_path).ids

    assert len(ids) == len(set(ids)) == 500
    assert sum(each.startswith("calibration") for each in ids) == 300


@pytest.fixture(scope="module")
def examiner(tiny_run) -> Examiner:
    done = tiny_run.done
    records = (done.planned, done.splits, done.embeddings, done.checkpoint, done.judge)
    return Examiner.open(FinishedRun("v0001", tiny_run.context, *records))


@pytest.fixture
def own(examiner: Examiner, tmp_path: Path) -> Path:
    """A training sample, one of the test role, a far point and what is no point; in a class folder and loose."""
    folder = examiner.run.context.files_of(examiner.run.splits)
    (tmp_path / "class_1").mkdir()
    for role in ("train", "test"):
        cell = read_table(folder / f"{role}.arrow")["cell"][0].as_py()
        (tmp_path / "class_1" / f"{role}.f32").write_bytes(np.array(cell, "<f4").tobytes())
    (tmp_path / "far.f32").write_bytes(np.array([50, -70], "<f4").tobytes())
    (tmp_path / "class_1" / "broken.f32").write_bytes(b"12345")
    return tmp_path


def test_the_most_unlike_comes_first_and_what_could_not_be_read_has_no_rank(examiner: Examiner, own: Path) -> None:
    rows = examiner.score(own).to_pylist()

    assert (rows[0]["file"], rows[-1]["file"]) == ("far.f32", "class_1/broken.f32")
    assert [row["rank"] for row in rows] == [1, 2, 3, None]
    assert [row["unlikeness"] for row in rows[:3]] == sorted((row["unlikeness"] for row in rows[:3]), reverse=True)
    assert rows[-1]["problem"].startswith("unreadable: ")


def test_content_that_the_run_knows_is_named_with_its_role_and_a_training_sample_as_a_copy(
    examiner: Examiner, own: Path
) -> None:
    rows = {row["file"]: row for row in examiner.score(own).to_pylist()}
    train = read_table(examiner.run.context.files_of(examiner.run.splits) / "train.arrow")

    copy = rows["class_1/train.f32"]
    assert (copy["near_copy"], copy["train_distance"], copy["known_role"]) == (True, 0, "train")
    assert (copy["nearest_train_id"], copy["nearest_train_uri"]) == (
        train["sample_id"][0].as_py(),
        train["uri"][0].as_py(),
    )
    assert rows["class_1/test.f32"]["known_role"] == "test"
    assert (rows["far.f32"]["near_copy"], rows["far.f32"]["known_role"]) == (False, None)


def test_a_distance_of_exactly_the_threshold_is_a_copy(examiner: Examiner, own: Path) -> None:
    distance = examiner.score(own).to_pylist()[0]["train_distance"]
    strict = replace(examiner, state=replace(examiner.state, copy_threshold=distance))

    assert strict.score(own).to_pylist()[0]["near_copy"]


def test_the_critic_is_asked_under_the_class_of_the_folder_and_else_under_the_predicted_one(
    examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(_critic: Critic, batch: ScoringBatch, *_: object) -> dict[str, np.ndarray]:
        return dict.fromkeys(("p_real", "real_percentile"), batch.labels / 10)

    monkeypatch.setattr(Critic, "score", score)
    train = load_cells(examiner.run.context.files_of(examiner.run.splits) / "train.arrow").take(np.arange(3))
    signs = read_signs(train.cells, examiner.bench.encoder, examiner.bench.reference)
    predicted = replace(signs, logits=np.eye(3, dtype=np.float32))
    given = [2, None, None]

    def p_real(signs: Signs) -> list[object]:
        return list(examiner._critic(train.cells, signs, given, train.ids)["p_real"])

    assert p_real(predicted) == [0.2, 0.1, 0.2]
    assert p_real(signs) == [0.2, None, None]


def test_the_referees_probability_is_that_of_its_temperature(examiner: Examiner) -> None:
    calm = replace(examiner, state=replace(examiner.state, temperature=2.0))
    train = load_cells(examiner.run.context.files_of(examiner.run.splits) / "train.arrow").take(np.arange(1))
    signs = read_signs(train.cells, examiner.bench.encoder, examiner.bench.reference)
    said = calm._referee(replace(signs, logits=np.array([[0, 2 * np.log(2), 2 * np.log(5)]], np.float32)))

    assert said["class_predicted"] == ["class_2"]
    assert said["predicted_probability"] == pytest.approx([5 / 8])
