from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from aigc_pipeline.core.samples import content_sha256
from aigc_pipeline.core.tables import CANDIDATES, build_table
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.modalities import ImageSpec, VectorSpec, modality_of
from aigc_pipeline.publishing.snippet import SNIPPET
from aigc_pipeline.publishing.trial import SyntheticRows, write_real, write_with_synthetic

CLASSES = ("cat", "dog")
SPEC = ImageSpec(height=8, width=8, channels=3)
FLAT = VectorSpec(num_values=3, scale=1.0)


def cells_of(spec, num, seed):
    generator = np.random.default_rng(seed)
    if spec.kind == "image":
        return cells_from_numpy(generator.integers(0, 256, (num, *spec.cell_shape), np.uint8))
    return cells_from_numpy(generator.normal(size=(num, spec.num_values)).astype(np.float32))


def stored(spec, role, num, seed):
    ids = [content_sha256(f"{role}{row}".encode()) for row in range(num)]
    return pa.table(
        {
            "sample_id": [each[:32] for each in ids],
            "uri": [f"cat/{row}.jpg" for row in range(num)],
            "sha256": ids,
            "label": np.arange(num) % 2,
            "cell": cells_of(spec, num, seed),
        }
    )


def write(folder, spec=SPEC):
    real = {role: stored(spec, role, 4, seed) for seed, role in enumerate(("train", "calibration", "test"))}
    ids, labels = ["e" * 32, "f" * 32], np.array([0, 1])
    table = build_table(
        CANDIDATES,
        {
            "sample_id": ids,
            "label": labels,
            "class_name": list(CLASSES),
            "origin": ["generated"] * 2,
            "accept_coin": [0.5] * 2,
            "importance_weight": [0.5, 1.5],
            "class_want": [1, 1],
            "accepted": [True] * 2,
        },
    )
    synthetic = SyntheticRows(table, LabelledCells(ids, labels, cells_of(spec, 2, 9)), 2.0)
    names = {"classes": CLASSES, "spec": spec}
    without, rows = write_real(folder / "without", real, **names)
    treated = write_with_synthetic(folder / "with", without, rows, synthetic, **names)
    return SimpleNamespace(without=without, with_synthetic=treated), synthetic


def test_the_two_manifests_differ_in_synthetic_rows_alone(tmp_path):
    trials, _ = write(tmp_path)
    without, treated = pd.read_parquet(trials.without), pd.read_parquet(trials.with_synthetic)
    added = treated[treated["origin"] != "real"]

    pd.testing.assert_frame_equal(treated[treated["origin"] == "real"], without)
    assert added["split"].tolist() == ["train"] * 2
    assert added["weight"].tolist() == [1.0, 3.0]
    assert (without["weight"] == 1).all()
    assert without["split"].value_counts().to_dict() == {"train": 8, "test": 4}
    assert without.loc[without["split"] == "test", "class_name"].tolist() == ["cat", "dog"] * 2


def test_every_listed_picture_lies_beside_its_manifest_and_no_other_does(tmp_path):
    trials, synthetic = write(tmp_path)
    for manifest in (trials.without, trials.with_synthetic):
        rows = pd.read_parquet(manifest)
        on_disk = {file.relative_to(manifest.parent).as_posix() for file in manifest.parent.rglob("*.png")}

        assert on_disk == set(rows["file_name"])
        for name, sha256 in zip(rows["file_name"], rows["sha256"], strict=True):
            assert content_sha256((manifest.parent / name).read_bytes()) == sha256
    last = (trials.with_synthetic.parent / rows["file_name"].iloc[-1]).read_bytes()
    expected = modality_of(SPEC).encode(synthetic.cells.cells, SPEC)[-1]
    np.testing.assert_array_equal(*(np.asarray(Image.open(BytesIO(each))) for each in (last, expected)))


def test_real_pictures_are_stored_once(tmp_path):
    trials, _ = write(tmp_path)
    name = pd.read_parquet(trials.without)["file_name"].iloc[0]

    assert (trials.without.parent / name).samefile(trials.with_synthetic.parent / name)


def test_pictures_are_copied_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def refuse(*files):
        raise OSError(files)

    monkeypatch.setattr("os.link", refuse)
    trials, _ = write(tmp_path)
    name = pd.read_parquet(trials.without)["file_name"].iloc[0]
    files = [manifest.parent / name for manifest in (trials.without, trials.with_synthetic)]

    assert files[0].read_bytes() == files[1].read_bytes()
    assert not files[0].samefile(files[1])


def test_the_published_snippet_reads_a_trial(tmp_path, monkeypatch):
    trials, _ = write(tmp_path)
    monkeypatch.chdir(trials.with_synthetic.parent)
    scope = {}
    exec(SNIPPET, scope)  # noqa: S102 - what the card shows

    assert (len(scope["train"]), len(scope["real_only"]), len(scope["test"])) == (10, 8, 4)
    assert "12 real and 2 synthetic" in (trials.with_synthetic.parent / "README.md").read_text()
    assert "12 real and 0 synthetic" in (trials.without.parent / "README.md").read_text()


def test_writing_again_gives_the_same_bytes(tmp_path):
    first = {name: getattr(write(tmp_path)[0], name).read_bytes() for name in ("without", "with_synthetic")}
    (tmp_path / "with" / "left-over.png").write_bytes(b"")
    trials, _ = write(tmp_path)

    assert {name: getattr(trials, name).read_bytes() for name in first} == first
    assert not (tmp_path / "with" / "left-over.png").exists()


@pytest.mark.parametrize("which", ["without", "with_synthetic"])
def test_inline_samples_travel_in_the_table(tmp_path, which):
    rows = pd.read_parquet(getattr(write(tmp_path, FLAT)[0], which))

    assert rows["file_name"].isna().all()
    assert [len(each) for each in rows["values"]] == [3] * len(rows)
