"""Folder conventions: what counts as a class, what is listed with a problem, what is refused outright."""

import os
from pathlib import Path

import pytest

from aigc_pipeline.core.errors import SourceError
from aigc_pipeline.core.samples import RawSample
from aigc_pipeline.sources.class_folder import ClassFolder


def put(root: Path, *names: str) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())


def records(root: Path) -> list[RawSample]:
    return list(ClassFolder(path=root).records())


def test_first_level_is_the_class_and_deeper_levels_mean_nothing(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "cat/winter/b.png", "dog/c.png")

    assert [(sample.uri, sample.class_name) for sample in records(tmp_path)] == [
        ("cat/a.png", "cat"),
        ("cat/winter/b.png", "cat"),
        ("dog/c.png", "dog"),
    ]


def test_content_is_the_bytes_of_the_file(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png")

    assert records(tmp_path)[0] == RawSample("cat/a.png", "cat", b"cat/a.png")


def test_order_is_by_class_then_path_whatever_the_disk_says(tmp_path: Path) -> None:
    put(tmp_path, "b/2.png", "a/9.png", "b/10.png", "a/z/0.png", "B/1.png")

    uris = [sample.uri for sample in records(tmp_path)]

    assert uris == ["B/1.png", "a/9.png", "a/z/0.png", "b/10.png", "b/2.png"]


def test_split_folders_give_roles_and_hold_the_classes(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/a.png", "Val/cat/b.png", "test/cat/c.png", "test/dog/d.png")

    found = {sample.uri: (sample.class_name, sample.given_role) for sample in records(tmp_path)}

    assert found == {
        "train/cat/a.png": ("cat", None),
        "Val/cat/b.png": ("cat", "selection"),
        "test/cat/c.png": ("cat", "test"),
        "test/dog/d.png": ("dog", "test"),
    }


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Validation"])
def test_every_word_for_the_validation_split_means_selection(tmp_path: Path, name: str) -> None:
    put(tmp_path, "train/cat/a.png", f"{name}/cat/b.png")

    found = {sample.uri: sample.given_role for sample in records(tmp_path)}

    assert found == {"train/cat/a.png": None, f"{name}/cat/b.png": "selection"}


def test_split_word_beside_other_names_is_a_class(tmp_path: Path) -> None:
    put(tmp_path, "test/a.png", "cat/b.png")

    assert {(sample.class_name, sample.given_role) for sample in records(tmp_path)} == {("test", None), ("cat", None)}


def test_hidden_entries_and_litter_are_not_listed(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "cat/.DS_Store", "cat/Thumbs.db", ".git/config", "__MACOSX/cat/a.png", "cat/.x/b.png")

    assert [sample.uri for sample in records(tmp_path)] == ["cat/a.png"]


def test_file_of_another_type_is_listed_so_that_it_is_accounted_for(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "cat/notes.txt")

    assert [sample.uri for sample in records(tmp_path)] == ["cat/a.png", "cat/notes.txt"]


def test_loose_file_beside_class_folders_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "README.md", "cat/a.png")

    source = ClassFolder(path=tmp_path)
    assert source.listing().num_listed == len(list(source.records())) == 1
    assert caplog.text.count("1 file beside the class folders") == 1


def test_class_folder_without_a_file_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "cat/a.png")
    (tmp_path / "dog").mkdir()

    assert ClassFolder(path=tmp_path).listing().num_listed == 1
    assert "the class folders 'dog' of" in caplog.text


def test_symlinks_are_listed_with_a_problem_and_not_followed(tmp_path: Path) -> None:
    put(tmp_path, "data/cat/a.png", "elsewhere/secret.png")
    (tmp_path / "data/cat/link.png").symlink_to(tmp_path / "elsewhere/secret.png")
    (tmp_path / "data/cat/circle").symlink_to(tmp_path / "data")
    (tmp_path / "data/dog").symlink_to(tmp_path / "elsewhere")

    problems = {sample.uri: sample.problem for sample in records(tmp_path / "data") if sample.content is None}

    assert set(problems) == {"cat/link.png", "cat/circle", "dog"}
    assert all(str(problem).startswith("symlink") for problem in problems.values())


def test_linked_split_folder_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "data/train/cat/a.png", "elsewhere/cat/secret.png")
    (tmp_path / "data/test").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(SourceError, match="data/test is a symlink, and links are not followed"):
        records(tmp_path / "data")


def test_link_to_itself_beside_class_folders_is_left_out_with_its_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "cat/a.png")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    source = ClassFolder(path=tmp_path)
    assert source.listing().num_listed == 1
    assert [sample.uri for sample in source.records()] == ["cat/a.png"]
    assert "loop' beside the class folders cannot be followed: Too many levels of symbolic links" in caplog.text


def test_file_over_the_limit_is_listed_as_too_large_without_reading_it(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png")
    os.truncate(tmp_path / "cat/a.png", 256 * 2**20 + 1)

    (sample,) = records(tmp_path)

    assert sample.content is None
    assert str(sample.problem).startswith("too large: 268,435,457 bytes")


def test_pipe_is_listed_with_a_problem_instead_of_blocking(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png")
    os.mkfifo(tmp_path / "cat/pipe")

    assert [sample.problem for sample in records(tmp_path)] == [None, "not a regular file"]


def test_file_that_vanishes_after_listing_comes_with_a_problem(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "cat/b.png")
    samples = ClassFolder(path=tmp_path).records()
    next(samples)
    (tmp_path / "cat/b.png").unlink()

    sample = next(samples)

    assert sample.content is None
    assert "No such file" in str(sample.problem)


def test_name_that_is_no_utf8_is_escaped(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png")
    Path(os.fsdecode(os.fsencode(tmp_path / "cat") + b"/\xff.png")).write_bytes(b"x")

    uris = [sample.uri for sample in records(tmp_path)]

    assert rb"cat/\udcff.png" in [uri.encode("utf-8") for uri in uris]


def test_folder_whose_name_is_no_utf8_is_named_in_escapes(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    put(root, "cat/a.png")

    assert ClassFolder(path=root).listing().uri == f"{tmp_path}/\\udcff"


def test_equal_trees_have_equal_digests_and_a_touched_file_changes_it(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "dog/b.png")
    source = ClassFolder(path=tmp_path)
    before = source.listing()

    assert source.listing() == before
    os.utime(tmp_path / "cat/a.png", ns=(1, 1))
    touched = source.listing()
    assert touched.digest != before.digest
    (tmp_path / "cat/a.png").write_bytes(b"longer, and of the same time")
    os.utime(tmp_path / "cat/a.png", ns=(1, 1))
    assert source.listing().digest != touched.digest


def test_listing_counts_what_records_yield(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "dog/b.png", "dog/x/c.png")

    assert ClassFolder(path=tmp_path).listing().num_listed == len(records(tmp_path)) == 3


def test_listing_does_not_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "cat/a.png")
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("a file was read"))

    assert ClassFolder(path=tmp_path).listing().num_listed == 1


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere cannot be listed: No such file"):
        ClassFolder(path=tmp_path / "nowhere").listing()


def test_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "cat.png")

    with pytest.raises(SourceError, match="Not a directory"):
        ClassFolder(path=tmp_path / "cat.png").listing()


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Make one folder per class"):
        ClassFolder(path=tmp_path).listing()


def test_loose_pictures_alone_are_refused_with_advice(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")

    with pytest.raises(SourceError, match=r"2 loose files \('a.png'\).*put them into one folder per class"):
        ClassFolder(path=tmp_path).listing()


def test_split_folders_without_classes_are_refused_with_advice(tmp_path: Path) -> None:
    put(tmp_path, "train/a.png", "test/b.png")

    with pytest.raises(SourceError, match="put them into one folder per class"):
        ClassFolder(path=tmp_path).listing()


def test_empty_class_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()

    with pytest.raises(SourceError, match=r"\('cat'\) hold no file"):
        ClassFolder(path=tmp_path).listing()


def test_a_file_that_may_be_read_at_last_changes_the_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "cat/a.png", "dog/b.png")
    readable = ClassFolder(path=tmp_path).listing()
    monkeypatch.setattr(os, "access", lambda file, mode: file.name != "b.png" and mode == os.R_OK)

    assert ClassFolder(path=tmp_path).listing().digest != readable.digest
