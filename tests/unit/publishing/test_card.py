"""What the card promises to a trainer, run against a version on disk."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from aigc_pipeline.core.tables import METADATA, build_table
from aigc_pipeline.publishing.card import card
from aigc_pipeline.publishing.manifest import METADATA_FILE, write_parquet
from aigc_pipeline.publishing.report import ReportContent, write_report
from aigc_pipeline.publishing.snippet import SNIPPET

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when `datasets` is imported
ContentFactory = Callable[..., ReportContent]
_CLASSES = ("cat", "dog")


def make_rows(*, num_recommended: int = 2, has_files: bool = True) -> pa.Table:
    """Return 4 real training rows, 2 real test rows and 2 generated ones."""
    n, origins = 8, ["real"] * 6 + ["generated"] * 2
    ids = [f"{row:032x}" for row in range(n)]
    return build_table(
        METADATA,
        {
            "file_name": [f"images/{each[:2]}/{each}.png" if has_files else None for each in ids],
            "sample_id": ids,
            "label": [0, 0, 0, 1, 0, 1, 1, 1],
            "class_name": ["cat", "cat", "cat", "dog", "cat", "dog", "dog", "dog"],
            "origin": origins,
            "split": ["train"] * 4 + ["test"] * 2 + ["train"] * 2,
            "role": ["train"] * 3 + ["calibration"] + ["test"] * 2 + ["train"] * 2,
            "recommended": [True] * (6 + num_recommended) + [False] * (2 - num_recommended),
            "weight": np.array([1] * 6 + [0.5] * 2, np.float32),
            "sha256": ids,
        },
    )


@pytest.fixture
def version(tmp_path: Path, make_content: ContentFactory) -> Path:
    """Return a version directory with pictures, card and report, as `publish` lays it out."""
    rows = make_rows(num_recommended=1)
    for name in rows["file_name"].to_pylist():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 128).save(tmp_path / name)
    _write_documents(tmp_path, make_content(), rows)
    return tmp_path


def _write_documents(directory: Path, content: ReportContent, rows: pa.Table) -> None:
    """Write what lies beside the pictures. A non-nullable field would cost `label` its class names in `datasets`."""
    nullable = pa.schema([field.with_nullable(True) for field in rows.schema])
    write_parquet(directory / METADATA_FILE, rows.cast(nullable), _CLASSES)
    pq.write_table(content.candidates, directory / "candidates.parquet")
    pq.write_table(content.candidates, directory / "ledger.parquet")
    for name in ("metrics.json", "lineage.json", "version.json"):
        (directory / name).write_text("{}")
    (directory / "config.yaml").write_text("seed: 0\n")
    (directory / "README.md").write_text(card(content, rows))
    write_report(directory / "report.html", content)


def _header(text: str) -> dict[str, Any]:
    block: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return block


def test_the_snippet_has_six_lines_and_stands_in_card_and_report(version: Path) -> None:
    assert len(SNIPPET.splitlines()) == 6
    assert SNIPPET in (version / "README.md").read_text()
    assert "pd.read_parquet(" in (version / "report.html").read_text()


def test_the_snippet_reads_a_version(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(version)
    names: dict[str, Any] = {}
    exec(SNIPPET, names)  # noqa: S102 - the very text that users are told to run

    assert len(names["train"]) == 5
    assert len(names["real_only"]) == 4
    assert len(names["test"]) == 2
    assert set(names["train"]["sample_id"]).isdisjoint(names["test"]["sample_id"])
    assert names["weights"].tolist() == [1, 1, 1, 1, 0.5]
    assert all((version / file).is_file() for file in names["files"])


@pytest.mark.parametrize("loader", ["imagefolder", "directory"])
def test_datasets_loads_the_same_rows_beside_the_card(
    loader: str, version: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    datasets = pytest.importorskip("datasets")
    cache = str(tmp_path_factory.mktemp("cache"))
    if loader == "imagefolder":
        loaded = datasets.load_dataset("imagefolder", data_dir=str(version), cache_dir=cache)
    else:
        loaded = datasets.load_dataset(str(version), cache_dir=cache)

    assert list(loaded) == ["train"]
    assert "all in one split that it calls `train`, test rows too" in (version / "README.md").read_text()
    assert loaded["train"].num_rows == 8
    assert loaded["train"].features["label"].names == list(_CLASSES)
    assert loaded["train"][0]["image"].size == (8, 8)
    assert sum(loaded["train"]["recommended"]) == 7


def test_datasets_finds_the_table_of_a_version_without_pictures(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, make_content: ContentFactory
) -> None:
    datasets = pytest.importorskip("datasets")
    _write_documents(tmp_path, make_content(), make_rows(has_files=False))
    loaded = datasets.load_dataset(str(tmp_path), cache_dir=str(tmp_path_factory.mktemp("cache")))

    assert list(loaded) == ["train"]
    assert loaded["train"].num_rows == 8
    assert loaded["train"].features["label"].names == list(_CLASSES)


def test_the_header_names_no_license(make_content: ContentFactory) -> None:
    header = _header(card(make_content(), make_rows()))

    assert header["pretty_name"].startswith("pets & co")
    assert "license" not in header


def test_a_source_with_quotes_and_colons_leaves_the_header_readable(make_content: ContentFactory) -> None:
    header = _header(card(replace(make_content(), source='a: "b" # c'), make_rows()))

    assert header["pretty_name"] == 'a: "b" # c with synthetic samples, v0003'


def test_the_verdict_and_the_counts_are_said(make_content: ContentFactory) -> None:
    text = card(make_content(), make_rows(num_recommended=1))

    assert make_content().sentence in text
    assert "| dog | 2 | 2 | 4 |" in text
    assert "| **all** | 6 | 2 | 8 |" in text
    assert "1 of 2 synthetic rows are recommended" in text


def test_a_class_name_of_any_characters_stays_in_its_cell(make_content: ContentFactory) -> None:
    classes = (*_CLASSES[:-1], "<i>a|\nb")

    text = card(replace(make_content(), classes=classes), make_rows())

    assert "| &lt;i>a\\| b | 0 |" in text


def test_screening_is_never_called_privacy(make_content: ContentFactory) -> None:
    text = card(make_content(), make_rows())

    assert "near cop" in text
    assert "can still reveal who was in the training data" in text
    assert not re.search(r"privacy|private|anonym", text, re.IGNORECASE)


def test_a_version_without_synthetic_rows_says_so(bare_content: ReportContent) -> None:
    text = card(bare_content, make_rows().slice(0, 6))

    assert "There are no synthetic rows." in text
    assert bare_content.sentence in text


def test_inline_samples_are_not_offered_as_pictures(make_content: ContentFactory) -> None:
    text = card(make_content(), make_rows(has_files=False))

    assert "imagefolder" not in text
    assert "task_categories" not in _header(text)


@pytest.mark.parametrize(
    ("baseline", "mixture"),
    [
        ("balanced_softmax", "with 25\u00a0% synthetic rows in a batch at loss weight 0.5 (question"),
        (
            "your_command",
            "with synthetic rows weighted for the share of the loss of 25\u00a0% of a batch at loss weight 0.5 (question",
        ),
    ],
)
def test_the_mixture_is_that_of_the_training_that_decided(
    baseline: str, mixture: str, make_content: ContentFactory
) -> None:
    content = make_content()
    assert content.evaluation.verdict is not None
    verdict = content.evaluation.verdict.model_copy(update={"baseline": baseline})
    evaluation = content.evaluation.model_copy(update={"verdict": verdict})

    assert mixture in card(replace(content, evaluation=evaluation), make_rows())


def test_a_run_without_candidates_filtered_nothing(make_content: ContentFactory) -> None:
    assert "iltered by" not in card(make_content(reasons=()), make_rows())


def test_the_numbers_of_the_critic_name_how_many_real_samples_they_rest_on(make_content: ContentFactory) -> None:
    assert "beyond chance, on 71 unseen real samples and" in card(make_content(num_proof=71), make_rows())


def test_where_real_rows_are_references_the_card_reads_them(
    tmp_path: Path, make_content: ContentFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, content = make_rows(), make_content(has_references=True)
    write_parquet(tmp_path / METADATA_FILE, rows.slice(6), _CLASSES)
    references = rows.slice(0, 6).set_column(0, "file_name", pa.nulls(6, pa.string()))
    write_parquet(tmp_path / "references.parquet", references, _CLASSES)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    text = card(content, rows)
    exec(text.partition("```python\n")[2].partition("```")[0], names)  # noqa: S102 - what the card shows

    assert (len(names["train"]), len(names["real_only"]), len(names["test"])) == (6, 4, 2)
    assert "`references.parquet`" in text
