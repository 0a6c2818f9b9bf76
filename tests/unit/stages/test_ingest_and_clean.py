"""Bad input, stage by stage, on a real folder."""

import io
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aigc_pipeline.config import load_config
from aigc_pipeline.core.context import Context
from aigc_pipeline.core.errors import DataError, SourceError
from aigc_pipeline.core.samples import ROLES, content_sha256
from aigc_pipeline.data.shards import read_shards, read_table
from aigc_pipeline.gates import Constant
from aigc_pipeline.modalities.image import ImageModality
from aigc_pipeline.pipeline import StageCaller
from aigc_pipeline.stages.clean import CleanConfig, clean
from aigc_pipeline.stages.ingest import ingest, list_source
from aigc_pipeline.stages.split import SplitConfig, split


def png(seed: int, side: int = 16) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    for index, name in enumerate(("cat", "dog")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(6):
            (tmp_path / "data" / name / f"{i}.png").write_bytes(png(10 * index + i))
    return tmp_path / "data"


def take(folder, context, **settings):
    config = load_config(source=folder, overrides=[f"ingest.{k}={v}" for k, v in settings.items()]).ingest
    raw = ingest(context, config, list_source(config))
    out = context.store.workspace / raw.path
    out.parent.mkdir(parents=True, exist_ok=True)
    if not out.exists():
        context.out.rename(out)
        context.out.mkdir()
    return raw


def test_bad_files_are_quarantined_with_a_reason_and_the_counts_add_up(folder, context):
    (folder / "cat" / "empty.png").write_bytes(b"")
    (folder / "cat" / "notes.txt").write_text("no picture")
    (folder / "dog" / "cut.png").write_bytes(png(99)[:150])
    raw = take(folder, context)

    ledger = read_table(context.files_of(raw) / "ledger.arrow").to_pandas().set_index("uri")
    assert raw.num_listed == 15
    assert raw.num_samples == 12
    assert ledger.loc["cat/empty.png", "reason"] == "zero_byte"
    assert ledger.loc["cat/notes.txt", "reason"] == "not_an_image"
    assert ledger.loc["dog/cut.png", "reason"] in {"truncated", "corrupt"}
    assert ledger["sample_id"].is_unique


def test_shards_are_cut_by_bytes_and_hold_the_same_rows(folder, context, monkeypatch):
    whole = read_shards(context.files_of(take(folder, context)), "raw")
    monkeypatch.setattr("aigc_pipeline.stages.ingest._SHARD_BYTES", 4 * len(png(0)))
    config = load_config(source=folder).ingest
    ingest(context, config, list_source(config))

    assert len(list(context.out.glob("raw-*.arrow"))) == 3
    assert read_shards(context.out, "raw").equals(whole)


def test_mostly_unreadable_sources_end_the_run_with_an_example(folder, context):
    for i in range(20):
        (folder / "cat" / f"broken-{i}.png").write_bytes(b"")

    with pytest.raises(SourceError, match=r"20 of 32 samples .*broken-0.*max_quarantined_share"):
        take(folder, context)


def test_as_many_unreadable_samples_as_are_allowed_do_not_end_the_run(folder, context):
    for i in range(12):
        (folder / "cat" / f"broken-{i}.png").write_bytes(b"")

    assert take(folder, context).quarantined == {"zero_byte": 12}


def committed(folder, context, **settings):
    """Ingest as a run does, which remembers what it took."""
    config = load_config(source=folder, overrides=[f"ingest.{k}={v}" for k, v in settings.items()])
    return StageCaller.of(config, context, None)(ingest, config.ingest, list_source(config.ingest))


def test_a_source_that_lost_most_of_its_samples_ends_the_run_until_it_is_allowed_once(folder, context):
    committed(folder, context)
    gone = [folder / name / f"{i}.png" for name in ("cat", "dog") for i in range(4)]
    contents = [file.read_bytes() for file in gone]
    for file in gone:
        file.unlink()

    with pytest.raises(SourceError, match=r"lists 4 samples; the last run .* 12\..*max_lost_share=1` \(now 0.5\)"):
        committed(folder, context)
    assert committed(folder, context, max_lost_share=1).num_listed == 4
    assert committed(folder, context, max_lost_share=0.4).num_listed == 4  # from here on, these four are all there is
    for file, content in zip(gone, contents, strict=True):
        file.write_bytes(content)
    assert committed(folder, context).num_listed == 12


def test_half_of_the_samples_and_other_settings_of_the_source_are_no_loss(folder, context, tmp_path):
    committed(folder, context)
    for i in range(6):
        (folder / "dog" / f"{i}.png").unlink()
    assert committed(folder, context).num_listed == 6
    assert "of 'dog', which the last run had, nothing is listed" in context.reporter.notes[-1]

    other = tmp_path / "other"
    (other / "cat").mkdir(parents=True)
    (other / "cat" / "0.png").write_bytes(png(0))
    assert committed(other, context).num_listed == 1


def test_the_source_is_never_written_to(folder, context):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    take(folder, context)

    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_duplicates_and_label_conflicts_are_refused_with_their_reason(folder, context):
    (folder / "cat" / "again.png").write_bytes(png(0))
    (folder / "dog" / "conflict.png").write_bytes(png(1))
    raw = take(folder, context)
    cleaned = clean(context, CleanConfig(), raw)

    assert cleaned.rejected == {"duplicate": 1, "label_conflict": 2}
    assert cleaned.num_in == cleaned.num_kept + 3
    ledger = read_table(context.out / "ledger.arrow").to_pandas()
    twin = ledger[ledger["reason"] == "duplicate"].iloc[0]
    kept = read_table(context.out / "kept.arrow").to_pandas()
    assert twin["duplicate_of"] in set(kept["sample_id"])
    assert ledger.loc[ledger["reason"] == "label_conflict", "duplicate_of"].isna().all()


@pytest.mark.parametrize(
    ("gates", "rejected"), [((), {"duplicate": 2}), ((Constant(),), {"constant": 1, "duplicate": 2})]
)
def test_only_the_named_gates_are_asked_and_one_content_is_one_sample_in_any_case(folder, context, gates, rejected):
    Image.new("L", (16, 16), 7).save(folder / "cat" / "flat.png")
    (folder / "cat" / "again.png").write_bytes(png(0))
    (folder / "dog" / "conflict.png").write_bytes(png(1))
    cleaned = clean(context, CleanConfig(gates=gates), take(folder, context))

    kept = read_table(context.out / "kept.arrow").to_pandas()
    assert cleaned.rejected == rejected
    assert kept["sample_id"].is_unique
    assert kept.loc[kept["sha256"] == content_sha256(png(1)), "uri"].tolist() == ["cat/1.png"]


def test_near_duplicates_form_a_cluster_and_distinct_pictures_do_not(folder, context):
    pixels = np.asarray(Image.open(io.BytesIO(png(3)))).astype(int)
    nearly = np.clip(pixels + np.random.default_rng(5).integers(-2, 3, pixels.shape), 0, 255).astype(np.uint8)
    Image.fromarray(nearly).save(folder / "cat" / "nearly.png")
    raw = take(folder, context)
    cleaned = clean(context, CleanConfig(), raw)

    kept = read_table(context.out / "kept.arrow").to_pandas().set_index("uri")
    assert cleaned.num_clusters == 12
    assert kept.loc["cat/nearly.png", "cluster"] == kept.loc["cat/3.png", "cluster"]


def test_two_samples_are_near_duplicates_up_to_the_tolerance_that_was_set(folder, context):
    pixels = np.asarray(Image.open(io.BytesIO(png(3)))).astype(int)
    Image.fromarray(np.clip(pixels + 4, 0, 255).astype(np.uint8)).save(folder / "cat" / "nearly.png")
    raw = take(folder, context)

    clusters = [clean(context, CleanConfig(near_duplicate_tolerances=each), raw).num_clusters for each in (0, 3, 5)]

    assert clusters == [13, 13, 12]


def test_cells_and_clusters_are_those_of_their_own_files_where_others_were_refused(folder, context):
    for name in ("cat", "dog"):
        Image.new("RGB", (16, 16), "red").save(folder / name / "00.png")  # first in the order of the source
    pixels = np.asarray(Image.open(io.BytesIO(png(3)))).astype(int)
    Image.fromarray(np.clip(pixels + 1, 0, 255).astype(np.uint8)).save(folder / "cat" / "nearly.png")
    raw = take(folder, context)
    cleaned = clean(context, CleanConfig(), raw)
    (context.out / "kept.arrow").rename(context.files_of(cleaned) / "kept.arrow")
    splits = split(context, SplitConfig(size=16), raw, cleaned)

    kept = read_table(context.files_of(cleaned) / "kept.arrow").to_pandas().set_index("uri")["cluster"]
    stored = pd.concat(read_table(context.out / f"{role}.arrow").to_pandas() for role in ROLES).set_index("uri")
    assert (len(stored), kept.nunique()) == (13, 12)
    assert kept["cat/nearly.png"] == kept["cat/3.png"]
    for uri, row in stored.iterrows():
        own = np.asarray(Image.open(folder / str(uri)))
        assert np.array_equal(np.array(row["cell"]).reshape(splits.spec.cell_shape), own), uri
        assert splits.classes[row["label"]] == str(uri).split("/")[0]


def test_of_one_content_in_two_given_splits_the_copy_to_test_with_is_kept(folder, tmp_path, context):
    for part in ("train", "test"):
        shutil.copytree(folder, tmp_path / "parted" / part)
        for name in ("cat", "dog"):
            for number in range(1, 6) if part == "test" else ():
                (tmp_path / "parted" / part / name / f"{number}.png").unlink()
    cleaned = clean(context, CleanConfig(), take(tmp_path / "parted", context))

    kept = read_table(context.out / "kept.arrow").to_pandas()
    assert cleaned.rejected == {"leakage": 2}
    assert set(kept.loc[kept["given_role"] == "test", "uri"]) == {"test/cat/0.png", "test/dog/0.png"}


def test_clean_and_split_decode_a_few_pictures_at_a_time(folder, context, monkeypatch):
    for i in range(100, 180):
        (folder / "cat" / f"{i}.png").write_bytes(png(i))
    sizes, decode = [], ImageModality.decode
    monkeypatch.setattr(ImageModality, "decode", lambda *each: sizes.append(len(each[1])) or decode(*each))
    raw = take(folder, context)
    cleaned = clean(context, CleanConfig(), raw)
    (context.out / "kept.arrow").rename(context.files_of(cleaned) / "kept.arrow")
    split(context, SplitConfig(), raw, cleaned)

    assert sum(sizes) == 2 * 92
    assert max(sizes) == 32


def test_one_class_only_is_one_clear_message(folder, context):
    for path in (folder / "dog").iterdir():
        path.unlink()
    (folder / "dog").rmdir()

    with pytest.raises(DataError, match="only the class 'cat'"):
        clean(context, CleanConfig(), take(folder, context))


def test_attributes_travel_from_the_folder_to_the_role_files(folder, context):
    (folder / "metadata.csv").write_text("file_name,site\ncat/0.png,north\ndog/5.png,south\n")
    raw = take(folder, context)
    cleaned = clean(context, CleanConfig(), raw)
    (context.out / "kept.arrow").rename(context.files_of(cleaned) / "kept.arrow")
    split(context, SplitConfig(), raw, cleaned)

    stored = pd.concat(read_table(context.out / f"{role}.arrow").to_pandas() for role in ROLES).set_index("uri")
    assert raw.num_listed == len(stored) == 12
    assert stored["attributes"].dropna().to_dict() == {
        "cat/0.png": '{"site": "north"}',
        "dog/5.png": '{"site": "south"}',
    }


def test_a_copied_source_is_the_same_dataset_and_a_changed_label_is_not(folder, context, tmp_path):
    first = take(folder, context)
    shutil.copytree(folder, tmp_path / "elsewhere")  # other path, other modification times
    copied = take(tmp_path / "elsewhere", context)
    (folder / "cat" / "0.png").rename(folder / "dog" / "moved.png")
    relabelled = take(folder, context)

    assert copied.fingerprint == first.fingerprint
    assert relabelled.fingerprint != first.fingerprint


def test_other_attributes_are_another_dataset(folder, store):
    split_of(folder, store)
    (folder / "metadata.csv").write_text("file_name,site\ncat/0.png,north\n")
    north = split_of(folder, store)
    (folder / "metadata.csv").write_text("file_name,site\ncat/0.png,south\n")

    assert split_of(folder, store).fingerprint != north.fingerprint


def test_a_split_is_new_where_a_role_holds_other_samples_and_not_where_files_were_renamed_or_refused(folder, store):
    first = split_of(folder, store)

    (folder / "cat" / "0.png").rename(folder / "cat" / "last.png")
    (folder / "cat" / "empty.png").write_bytes(b"")
    (folder / "dog" / "again.png").write_bytes(png(10))
    renamed = split_of(folder, store)
    (folder / "dog" / "9.png").write_bytes(png(99))

    assert renamed.path != first.path
    assert renamed.fingerprint == first.fingerprint
    assert split_of(folder, store).fingerprint != first.fingerprint


def split_of(folder, store):
    config = load_config(source=folder)
    run = StageCaller.of(config, Context(store, config.seed), None)
    raw = run(ingest, config.ingest, list_source(config.ingest))
    return run(split, config.split, raw, run(clean, config.clean, raw))


def test_a_source_without_a_usable_sample_is_refused_whatever_share_is_allowed(folder, context):
    for file in folder.rglob("*.png"):
        file.write_bytes(b"")

    with pytest.raises(SourceError, match="12 of 12 samples"):
        take(folder, context, max_quarantined_share=1)


def test_classes_that_end_in_quarantine_or_are_refused_are_named(folder, context, recording_reporter):
    for name in ("empty", "flat"):
        (folder / name).mkdir()
    (folder / "empty" / "0.png").write_bytes(b"")
    Image.new("L", (16, 16), 7).save(folder / "flat" / "0.png")
    clean(context, CleanConfig(), take(folder, context))

    assert recording_reporter.notes == [
        "1 of 14 samples cannot be read and are left out (zero_byte 1); nothing is left of 'empty'.",
        "nothing is left of 'flat': all samples were refused ({'constant': 1}).",
    ]


def test_near_duplicates_of_two_classes_are_kept_and_named(folder, context, recording_reporter):
    pixels = np.asarray(Image.open(io.BytesIO(png(3)))).astype(int)
    Image.fromarray(np.clip(pixels + 1, 0, 255).astype(np.uint8)).save(folder / "dog" / "again.png")
    cleaned = clean(context, CleanConfig(), take(folder, context))

    assert not cleaned.rejected
    [said] = [note for note in recording_reporter.notes if "near duplicates" in note]
    assert said.startswith(
        "1 clusters of near duplicates have more than one class, for example 'cat/3.png' and 'dog/again.png'"
    )


def test_class_names_that_differ_in_case_or_unicode_form_are_named(folder, context, recording_reporter):
    for name in ("Cat", "e\u0301te\u0301", "\u00e9t\u00e9"):
        (folder / name).mkdir()
        (folder / name / "1.png").write_bytes(png(len(name) + 200 + ord(name[0])))
    take(folder, context)

    said = [note for note in recording_reporter.notes if "differ in case" in note]
    assert len(said) == 2
    assert "the classes 'Cat' and 'cat' differ" in said[0]
