"""`aigc explain` and `aigc score` on a finished digits run."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from aigc_pipeline import cli
from aigc_pipeline.anomaly import Examiner, latest_run
from aigc_pipeline.cli.explaining import explain
from aigc_pipeline.data.shards import read_table
from aigc_pipeline.publishing.explanation import VersionContent
from aigc_pipeline.publishing.versions import resolve

pytestmark = pytest.mark.e2e


def png(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def examiner(digits_workspace: Path) -> Examiner:
    from aigc_pipeline.core.reporting import LogReporter

    return Examiner.open(latest_run(digits_workspace, reporter=LogReporter()))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Ten digits that the run never saw, ten pictures of noise, and three files that cannot be read."""
    folder = tmp_path / "pictures"
    (folder / "3").mkdir(parents=True)
    images, targets = load_digits(return_X_y=True)
    for row in range(10):
        faint = np.rint(images[row].reshape(8, 8) * 15)  # 240 instead of 255 at most: no content that the run knows
        (folder / f"digit{targets[row]}.png").write_bytes(png(faint))
        (folder / f"noise{row}.png").write_bytes(png(np.random.default_rng(row).integers(0, 256, (8, 8))))
    (folder / "3" / "empty.png").write_bytes(b"")
    (folder / "3" / "notes.txt").write_bytes(b"hello")
    (folder / "3" / "half.png").write_bytes((folder / "noise0.png").read_bytes()[:70])
    return folder


def test_gates_asked_again_agree_with_the_record_on_every_candidate(digits_workspace: Path) -> None:
    content = VersionContent.read(resolve(digits_workspace))
    rows = content.candidates.select(["sample_id", "reject_reason"]).to_pylist()

    for row in rows[:: max(1, len(rows) // 60)]:
        found = explain(content, row["sample_id"])

        refused = [each.gate for each in found.gates if each.verdict == "refused"]
        assert refused == ([row["reject_reason"]] if row["reject_reason"] else [])
        assert found.notes == ()


def test_noise_is_more_unlike_than_unseen_digits_and_unreadable_files_are_listed(
    examiner: Examiner, pictures: Path
) -> None:
    rows = examiner.score(pictures).to_pylist()

    assert len(rows) == 23
    assert {row["file"][:5] for row in rows[:10]} == {"noise"}
    assert [row["rank"] for row in rows] == [*range(1, 21), None, None, None]
    assert [row["problem"].partition(":")[0] for row in rows[20:]] == ["zero_byte", "truncated", "not_an_image"]


def test_training_pictures_are_recognized_as_such(examiner: Examiner, digits_workspace: Path, tmp_path: Path) -> None:
    run = examiner.run
    train = read_table(run.context.files_of(run.splits) / "train.arrow").slice(0, 3)
    (tmp_path / "0").mkdir()
    for name in train["sample_id"].to_pylist():
        published = resolve(digits_workspace) / "images" / name[:2] / f"{name}.png"
        (tmp_path / "0" / f"{name}.png").write_bytes(published.read_bytes())

    rows = examiner.score(tmp_path).to_pylist()

    assert {row["nearest_train_id"] for row in rows} == set(train["sample_id"].to_pylist())
    assert all(row["near_copy"] and row["train_distance"] == 0 and row["class_given"] == "0" for row in rows)


def test_the_encoder_is_that_of_the_run(examiner: Examiner) -> None:
    assert examiner.bench.encoder.sha256 == examiner.run.embeddings.encoder_sha256
    assert (
        examiner.bench.reference.ids
        == read_table(examiner.run.context.files_of(examiner.run.embeddings) / "features-train.arrow")[
            "sample_id"
        ].to_pylist()
    )


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_the_command_prints_the_top_and_writes_every_row(
    digits_workspace: Path, pictures: Path, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"rows.{ending}"

    result = CliRunner().invoke(
        cli.app, ["score", str(pictures), "-w", str(digits_workspace), "--top", "3", "--out", str(out)]
    )

    assert result.exit_code == 0, result.output
    assert "most unlike the training data, 3 of 20" in result.output
    assert "Measured with v0001: encoder 'classifier'" in result.output
    written = pq.read_table(out) if ending == "parquet" else pa_csv.read_csv(out)
    assert written.num_rows == 23
