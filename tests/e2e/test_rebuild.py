import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from aigc_pipeline import read_manifest
from aigc_pipeline.cli import app
from aigc_pipeline.core.errors import DataError, WorkspaceError
from aigc_pipeline.core.samples import content_sha256
from aigc_pipeline.inference.rebuilding import rebuild
from aigc_pipeline.publishing.manifest import write_parquet
from tests.e2e.running import fast_config, run

pytestmark = pytest.mark.e2e
CLASSES = [str(digit) for digit in range(10)]


def synthetic(workspace):
    frame = read_manifest(workspace, recommended_only=False)
    return frame[frame["origin"] != "real"]


@pytest.fixture
def copy(digits_workspace, tmp_path):
    shutil.copytree(digits_workspace, tmp_path / "copy")
    return tmp_path / "copy"


def change_row(workspace, sample_id, **changes):
    """Write other values into a row of the published table."""
    file = workspace / "versions" / "v0001" / "metadata.parquet"
    rows = pq.read_table(file).to_pylist()
    next(row for row in rows if row["sample_id"] == sample_id).update(changes)
    write_parquet(file, pa.Table.from_pylist(rows, pq.read_schema(file).remove_metadata()), CLASSES)


@pytest.mark.parametrize("name", ["vector_workspace", "digits_workspace"])
def test_every_published_synthetic_sample_is_rebuilt_to_the_bit(name, request, recording_reporter):
    workspace = request.getfixturevalue(name)
    expected = synthetic(workspace)
    result = rebuild(workspace, (), None, reporter=recording_reporter)

    assert "generated" in set(expected["origin"])
    assert sorted(result.exact) == sorted(expected["sample_id"])
    assert not result.close
    assert not result.different
    assert not result.changed_environment


def test_samples_with_parents_are_rebuilt_from_them(tmp_path, recording_reporter):
    run(fast_config("mixture", "train.generator.kind=classic"), tmp_path)
    result = rebuild(tmp_path, (), None, reporter=recording_reporter)

    assert sorted(result.exact) == sorted(synthetic(tmp_path)["sample_id"])
    assert result.exact


def test_a_sample_alone_is_the_same_file(digits_workspace, tmp_path, recording_reporter):
    """Its neighbours in a chunk are others than in the run."""
    row = synthetic(digits_workspace).iloc[-1]
    result = rebuild(digits_workspace, [row["sample_id"][:10]], tmp_path, reporter=recording_reporter)

    assert result.exact == [row["sample_id"]]
    published = digits_workspace / "versions" / "v0001" / row["file_name"]
    assert (tmp_path / row["file_name"]).read_bytes() == published.read_bytes()


def test_a_difference_of_one_grey_level_is_within_tolerance_and_of_two_is_not(copy, recording_reporter):
    rows = synthetic(copy).iloc[:2]
    for (_, row), levels in zip(rows.iterrows(), (1, 2), strict=True):
        file = copy / "versions" / "v0001" / row["file_name"]
        pixels = np.asarray(Image.open(file)).astype(int)
        pixels[3, 3] += levels if pixels[3, 3] < 128 else -levels
        Image.fromarray(pixels.astype(np.uint8)).save(png := io.BytesIO(), "PNG")
        file.write_bytes(png.getvalue())
        change_row(copy, row["sample_id"], sha256=content_sha256(png.getvalue()))
    result = rebuild(copy, list(rows["sample_id"]), None, reporter=recording_reporter)

    assert result.close == [rows["sample_id"].iloc[0]]
    assert result.different == [rows["sample_id"].iloc[1]]


def test_a_row_that_was_not_made_so_ends_the_command_with_its_name(copy):
    row = synthetic(copy).iloc[0]
    change_row(copy, row["sample_id"], seed=int(row["seed"]) + 1)
    lineage = copy / "versions" / "v0001" / "lineage.json"
    content = json.loads(lineage.read_text())
    content["environment"]["torch"] = "1.0"
    lineage.write_text(json.dumps(content))

    told = CliRunner().invoke(app, ["rebuild", "-w", str(copy)])
    assert told.exit_code == 1
    assert row["sample_id"] in " ".join(told.output.split())
    assert "torch 1.0 (here" in " ".join(told.output.split())


def test_unknown_ids_and_removed_stages_are_one_sentence(copy, recording_reporter):
    with pytest.raises(DataError, match="no published synthetic sample"):
        rebuild(copy, ["ffffffffffff"], None, reporter=recording_reporter)
    shutil.rmtree(copy / "stages" / "split")
    with pytest.raises(WorkspaceError, match="no longer has the files of stage 'split'"):
        rebuild(copy, (), None, reporter=recording_reporter)
