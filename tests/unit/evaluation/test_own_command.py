import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import yaml
from sklearn.datasets import load_digits

from aigc_pipeline.core.samples import content_sha256
from aigc_pipeline.core.tables import CANDIDATES, build_table
from aigc_pipeline.data.loader import LabelledCells, concatenate, from_table
from aigc_pipeline.data.shards import cells_from_numpy, write_table
from aigc_pipeline.evaluation.own_command import OwnCommand, decide_by_command, synthetic_part
from aigc_pipeline.metrics.command import WITH, WITHOUT, CommandArm
from aigc_pipeline.modalities import ImageSpec
from aigc_pipeline.records import Choice

ROOT = Path(__file__).parents[3]
CLASSES = tuple("0123456789")
SPEC = ImageSpec(height=8, width=8, channels=1)
ROWS = {"train": slice(0, 40), "calibration": slice(40, 60), "test": slice(60, 460)}
CHOICE = Choice(baseline="real", mix="generated", dose=0.5, loss_weight=1.0, classes=CLASSES[:9], on_selection=True)


@pytest.fixture
def material(context):
    """Sixty real digits to train on, and 600 more in the place of synthetic ones, every third refused."""
    digits = load_digits()
    pixels, labels = (digits.images * 15).astype(np.uint8)[..., None], digits.target.astype(np.int64)
    (context.store.workspace / "splits").mkdir()
    roles = {}
    for role, rows in ROWS.items():
        table = stored(pixels[rows], labels[rows])
        write_table(context.store.workspace / "splits" / f"{role}.arrow", table)
        roles[role] = from_table(table)
    pixels, labels = pixels[500:1100], labels[500:1100]
    ids = ids_of(pixels)
    return SimpleNamespace(
        context=context,
        splits=SimpleNamespace(
            path="splits", classes=CLASSES, spec=SPEC, num_samples=lambda role: len(roles.get(role, ()))
        ),
        roles=roles,
        real=concatenate(roles["train"], roles["calibration"]),
        table=accepted_table(ids, labels),
        candidates=LabelledCells(ids, labels, cells_from_numpy(pixels)),
    )


def ids_of(pixels):
    return [content_sha256(each.tobytes())[:32] for each in pixels]


def stored(pixels, labels):
    ids = ids_of(pixels)
    cells = cells_from_numpy(pixels)
    return pa.table({"sample_id": ids, "uri": ids, "sha256": ids, "label": labels, "cell": cells})


def accepted_table(ids, labels):
    n = len(ids)
    return build_table(
        CANDIDATES,
        {
            "sample_id": ids,
            "label": labels,
            "class_name": [CLASSES[label] for label in labels],
            "origin": ["generated"] * n,
            "accept_coin": [0.5] * n,
            "importance_weight": [1.0] * n,
            "class_want": [30] * n,
            "accepted": [row % 3 > 0 for row in range(n)],
        },
    )


def documented_command():
    page = (ROOT / "docs/how-to/own-training-command.md").read_text()
    settings = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])["evaluate"]["command"]
    argv = [sys.executable if each == ".venv/bin/python" else each for each in settings.pop("argv")]
    return CommandArm(argv=tuple(argv), **settings | {"num_seeds": 2})


def test_the_documented_command_says_that_more_digits_help(material, monkeypatch):
    monkeypatch.chdir(ROOT)
    own = OwnCommand.rehearse(material, documented_command(), must_predict=True)
    runs = material.context.out / "command" / "runs"
    assert [folder.name for folder in runs.iterdir()] == [f"{WITHOUT}-0"]
    comparison = own.compare(CHOICE)
    verdict = decide_by_command(comparison, material, CHOICE, opening=1)

    assert {name: rows.shape for name, rows in comparison.predicted.items()} == {WITHOUT: (2, 400), WITH: (2, 400)}
    assert comparison.values[WITHOUT].min() > 0.5
    assert verdict.outcome == "helps"
    assert (verdict.dose, verdict.loss_weight) == (CHOICE.dose, CHOICE.loss_weight)
    assert verdict.uplift.value == pytest.approx((comparison.values[WITH] - comparison.values[WITHOUT]).mean())
    assert not (material.context.out / "command" / "trials").exists()
    assert (runs / f"{WITH}-1" / "answer.json").exists()


def test_only_rows_of_the_choice_are_taken_and_their_weight_makes_its_dose(material):
    part = synthetic_part(material, CHOICE)
    counts = np.bincount(part.cells.labels, minlength=10)

    assert part.table["sample_id"].to_pylist() == part.cells.ids
    assert all(part.table["accepted"].to_pylist())
    assert counts.max() == 30
    assert counts[9] == 0
    assert part.weight * len(part.cells) == pytest.approx(len(material.real))
