"""Every file of a folder is listed once, and says what is wrong with it."""

import errno
import os
from pathlib import Path

import pytest

from aigc_pipeline.anomaly.files import list_files
from aigc_pipeline.core.errors import SourceError


def test_flat_and_nested_files_are_listed_with_the_first_folder_as_class(tmp_path: Path) -> None:
    for name in ("b.png", "cat/a.png", "cat/deep/c.png", ".hidden/x.png", "cat/.DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    found = [(file.uri, file.class_name) for file in list_files(tmp_path)]

    assert found == [("b.png", None), ("cat/a.png", "cat"), ("cat/deep/c.png", "cat")]


def test_links_are_listed_but_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "file-link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "loop").symlink_to(tmp_path)

    problems = {file.uri: file.read()[1] for file in list_files(tmp_path)}

    assert problems["a.png"] is None
    assert problems["file-link.png"] == problems["loop"] == "not a regular file; links are not followed"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")

    assert list_files(tmp_path)[0].read() == (None, "not a regular file; links are not followed")


def test_a_file_that_vanished_is_a_reason_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    listed = list_files(tmp_path)
    (tmp_path / "a.png").unlink()

    content, problem = listed[0].read()

    assert content is None
    assert problem is not None
    assert "cannot be read" in problem


def test_a_folder_that_may_not_be_listed_is_a_reason_and_no_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cat/locked").mkdir(parents=True)
    (tmp_path / "a.png").write_bytes(b"x")
    _lock(monkeypatch, tmp_path / "cat/locked")

    found = {file.uri: file.read()[1] for file in list_files(tmp_path)}

    assert found == {"a.png": None, "cat/locked": "the folder cannot be listed"}


def test_a_root_that_may_not_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _lock(monkeypatch, tmp_path)

    with pytest.raises(SourceError, match="cannot be listed: Permission denied"):
        list_files(tmp_path)


def _lock(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Refuse to list `folder`; permissions would not hold where the tests run as root."""
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


@pytest.mark.parametrize("name", ["missing", "empty", "file"])
def test_no_folder_or_no_file_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"x")

    with pytest.raises(SourceError, match=name):
        list_files(tmp_path / name)
