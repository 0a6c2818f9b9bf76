"""The digits version as downstream tools see it."""

import io
import json
from collections import Counter

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from aigc_pipeline import read_manifest
from aigc_pipeline.core.samples import content_sha256
from aigc_pipeline.publishing.versions import resolve

pytestmark = pytest.mark.e2e


@pytest.fixture
def version(digits_workspace):
    return resolve(digits_workspace)


def test_pandas_pyarrow_and_duckdb_see_the_same_rows(version):
    file = version / "metadata.parquet"
    frame, table = pd.read_parquet(file), pq.read_table(file)
    counted = duckdb.sql("select origin, count(*) from read_parquet($file) group by origin", params={"file": str(file)})

    assert list(frame.columns) == table.column_names
    assert dict(counted.fetchall()) == dict(Counter(frame["origin"]))
    assert len(frame) == table.num_rows


def test_datasets_loads_the_directory_with_pictures_and_class_labels(version, tmp_path):
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(version), cache_dir=str(tmp_path), split="train")
    frame = pd.read_parquet(version / "metadata.parquet")

    assert len(loaded) == len(frame)
    assert set(frame.columns) - {"file_name"} <= set(loaded.column_names)
    assert loaded.features["label"].names == [str(digit) for digit in range(10)]
    row = loaded[0]
    assert row["image"].size == (8, 8)
    assert row["label"] == frame.iloc[0]["label"]
    assert row["sample_id"] == frame.iloc[0]["sample_id"]


def test_every_row_has_a_picture_of_the_listed_hash(version):
    frame = pd.read_parquet(version / "metadata.parquet")

    for row in frame.itertuples():
        content = (version / row.file_name).read_bytes()
        assert content_sha256(content) == row.sha256
    assert Image.open(io.BytesIO(content)).size == (8, 8)


def test_real_and_synthetic_pictures_leave_through_the_same_encoder(version):
    frame = pd.read_parquet(version / "metadata.parquet")
    headers = {
        origin: {(version / name).read_bytes()[:26] for name in part["file_name"].head(40)}
        for origin, part in frame.groupby("origin")
    }

    assert headers["real"] == headers["generated"]


def test_no_path_holds_a_split_word_or_a_class_folder(version):
    words = {"train", "test", "val", "valid", "validation", "eval", "evaluation", "dev"}

    for path in version.rglob("*"):
        parts = path.relative_to(version).with_suffix("").parts
        assert not words & {word for part in parts for word in part.lower().split("-")}


def test_given_test_samples_stay_test_samples(version):
    frame = pd.read_parquet(version / "metadata.parquet")

    assert Counter(frame["split"])["test"] == 540
    assert set(frame[frame["split"] == "test"]["origin"]) == {"real"}


def test_read_manifest_gives_real_and_recommended_rows(version):
    everything, recommended = read_manifest(version, recommended_only=False), read_manifest(version)

    assert recommended["recommended"].all()
    assert len(recommended) == everything["recommended"].sum()


def test_metrics_name_their_feature_space_and_nothing_is_called_fid(version):
    report = json.loads((version / "metrics.json").read_text())["EvalReport"]

    assert report["judge_encoder"] == "random_network"
    assert not any("fid" in name.lower() for name in report["metrics"])
    assert {"frechet_distance/before", "frechet_distance/after", "frechet_distance/real"} <= set(report["metrics"])
    assert len({report["metrics"][f"frechet_distance/{name}"]["n"] for name in ("before", "after", "real")}) == 1


def test_classes_are_recognised_by_a_model_that_never_saw_a_generated_digit(version):
    """Even after 20,000 samples of training (seconds), most accepted digits are what they say they are."""
    from sklearn.svm import SVC

    frame = pd.read_parquet(version / "metadata.parquet")
    pixels = np.stack([np.asarray(Image.open(version / name), float).ravel() for name in frame["file_name"]])
    real = frame["origin"] == "real"
    model = SVC().fit(pixels[real], frame["label"][real])

    assert model.score(pixels[~real], frame["label"][~real]) > 0.8
