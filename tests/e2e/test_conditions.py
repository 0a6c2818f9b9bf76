"""A generator that is told an attribute beside the class, and one that is told nothing."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from aigc_pipeline.cli import main
from aigc_pipeline.inference.rebuilding import rebuild
from aigc_pipeline.publishing.versions import resolve
from tests.e2e.running import fast_config, run

pytestmark = pytest.mark.e2e
DIGITS = (3, 7)


def pictures() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pictures, digits, and which are mirrored: every other one."""
    digits = load_digits()
    mine = np.isin(digits.target, DIGITS)
    images, labels = digits.images[mine], digits.target[mine]
    is_mirrored = np.arange(len(labels)) % 2 == 1
    return np.where(is_mirrored[:, None, None], images[:, :, ::-1], images), labels, is_mirrored


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mirrored")
    images, labels, is_mirrored = pictures()
    for digit in DIGITS:
        place = root / str(digit)
        place.mkdir()
        with (place / "metadata.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["file_name", "mirrored"])
            for number in np.flatnonzero(labels == digit):
                pixels = np.clip(images[number] * 16, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
                table.writerow([f"{number}.png", "yes" if is_mirrored[number] else "no"])
    return root


@pytest.fixture(scope="module")
def workspace(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("told")
    run(fast_config(str(folder), "train.condition_on=[class,mirrored]", "train.total_samples=60000"), place)
    return place


def seen_mirrored(cells: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Return which pictures look mirrored to their nearest real neighbours of the same digit."""
    images, labels, is_mirrored = pictures()
    found = np.zeros(len(cells), bool)
    for digit in set(digits.tolist()):
        own = labels == digit
        model = KNeighborsClassifier(5).fit(images[own].reshape(own.sum(), -1), is_mirrored[own])
        found[digits == digit] = model.predict(cells[digits == digit])
    return found


def read(place: Path, names: list[str]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(place / name), float).reshape(-1) / 16 for name in names])


def test_generated_rows_say_what_they_were_told_and_show_it(workspace):
    version = resolve(workspace)
    rows = pq.read_table(version / "metadata.parquet").to_pandas()
    made = rows[rows["origin"] == "generated"]
    told = np.array([json.loads(text)["mirrored"] == "yes" for text in made["condition"]])
    looks = seen_mirrored(read(version, made["file_name"].tolist()), made["class_name"].astype(int).to_numpy())

    assert rows.loc[rows["origin"] != "generated", "condition"].isna().all()
    assert 0.3 < told.mean() < 0.7
    assert (looks == told).mean() > 0.9


def test_the_report_counts_candidates_by_what_they_were_told(workspace):
    metrics = json.loads((resolve(workspace) / "metrics.json").read_text())
    groups = {group["group"] for group in metrics["EvalReport"]["groups"] if group["attribute"] == "mirrored"}

    assert groups == {"yes", "no"}


def test_synthesis_from_the_checkpoint_follows_the_attribute_that_is_asked_for(workspace, tmp_path):
    with pytest.raises(SystemExit) as end:
        main(["synthesize", str(workspace), "--class", "3=60", "--with", "mirrored=yes", "--out", str(tmp_path)])
    table = pq.read_table(tmp_path / "samples.parquet")

    assert end.value.code in {0, None}
    assert set(table["condition"].to_pylist()) == {'{"mirrored": "yes"}'}
    assert seen_mirrored(read(tmp_path, table["file_name"].to_pylist()), np.full(60, 3)).mean() > 0.9


def test_an_attribute_that_was_never_told_is_named(workspace, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["synthesize", str(workspace), "--class", "3=1", "--with", "mirrored=maybe", "--out", str(tmp_path)])

    assert end.value.code == 1
    assert "never told mirrored=maybe of class '3'. It was told mirrored=no; mirrored=yes" in capsys.readouterr().err


def test_of_a_generator_that_is_told_nothing_the_referee_refuses_what_misses_its_class(folder, tmp_path):
    run(fast_config(str(folder), "train.condition_on=[]", "train.total_samples=60000"), tmp_path)
    candidates = pq.read_table(resolve(tmp_path) / "candidates.parquet").to_pandas()
    made = candidates[candidates["origin"] == "generated"]

    assert set(made["condition"]) == {"{}"}
    assert 0.2 < (made["reject_reason"] == "label_agreement").mean() < 0.8
    assert made["accepted"].sum() >= 10


def test_a_row_says_all_that_its_sample_was_told(workspace, recording_reporter):
    made = rebuild(workspace, (), None, reporter=recording_reporter)

    assert made.exact
    assert not made.close
    assert not made.different
