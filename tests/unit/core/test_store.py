import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from aigc_pipeline.core.errors import LockedError, WorkspaceError
from aigc_pipeline.core.records import Record
from aigc_pipeline.core.store import Store, translate_os_errors, write_atomically


class Answer(Record):
    value: int


def make_answer(fingerprint: str, value: int = 42) -> Answer:
    return Answer(fingerprint=fingerprint, path=f"stages/think/{fingerprint}", created_by="think@1", value=value)


def commit(store: Store, fingerprint: str, value: int = 42) -> None:
    with store.open_partial("think", fingerprint) as partial:
        (partial / "notes.txt").write_text("why")
        store.commit("think", fingerprint, make_answer(fingerprint, value))


def test_a_committed_stage_is_found_with_its_files(store):
    commit(store, "aa")

    assert store.find("think", "aa", Answer) == make_answer("aa")
    assert (store.directory("think", "aa") / "notes.txt").read_text() == "why"


def test_an_unfinished_stage_is_not_found_but_keeps_its_files_for_the_next_try(store):
    with store.open_partial("think", "aa") as partial:
        (partial / "half.txt").write_text("half")

    assert store.find("think", "aa", Answer) is None
    with store.open_partial("think", "aa") as partial:
        assert (partial / "half.txt").read_text() == "half"


def test_previous_is_the_last_commit_whatever_its_fingerprint(store):
    commit(store, "aa", 1)
    commit(store, "bb", 2)

    found = store.previous("think", Answer)
    assert found is not None
    assert found.value == 2


def test_a_stage_that_is_committed_again_is_the_new_one_alone(store):
    commit(store, "aa", 1)
    (store.directory("think", "aa") / "old.txt").write_text("old")
    commit(store, "aa", 2)

    assert store.find("think", "aa", Answer) == make_answer("aa", 2)
    assert {file.name for file in store.directory("think", "aa").iterdir()} == {"notes.txt", "record.json"}
    assert [found.value for found in store.earlier("think", Answer)] == [2]


def test_a_stage_whose_record_names_what_is_gone_has_not_finished(store, monkeypatch):
    commit(store, "aa")
    monkeypatch.setattr(Answer, "is_complete", lambda _self, workspace: workspace != store.workspace)

    assert store.find("think", "aa", Answer) is None
    assert store.previous("think", Answer) is None


def test_every_file_of_a_stage_is_on_disk_before_its_folder_has_its_name(store, monkeypatch):
    synced: list[Path] = []
    monkeypatch.setattr("aigc_pipeline.core.store.sync", synced.append)
    commit(store, "aa")

    partial, final = store.directory("think", "aa").with_suffix(".partial"), store.directory("think", "aa")
    assert set(synced[:-1]) == {partial / "notes.txt", partial / "record.json"}
    assert synced[-1] == final.parent


def test_a_damaged_record_says_which_folder_to_remove(store):
    commit(store, "aa")
    (store.directory("think", "aa") / "record.json").write_text(json.dumps({"value": "no"}))

    with pytest.raises(WorkspaceError, match=r"Remove its folder .*think/aa"):
        store.find("think", "aa", Answer)


def _hold(
    workspace: str, ready: "multiprocessing.synchronize.Event", done: "multiprocessing.synchronize.Event"
) -> None:
    with Store(Path(workspace)).open_partial("think", "aa"):
        ready.set()
        done.wait(30)


def test_a_second_run_on_the_same_stage_is_refused_and_told_who_holds_it(store):
    spawn = multiprocessing.get_context("spawn")
    ready, done = spawn.Event(), spawn.Event()
    holder = spawn.Process(target=_hold, args=(str(store.workspace), ready, done))
    holder.start()
    assert ready.wait(30)
    try:
        with pytest.raises(LockedError, match=rf"pid {holder.pid}.*--workspace"), store.open_partial("think", "bb"):
            pass
        assert not store.directory("think", "bb").with_suffix(".partial").exists()
    finally:
        done.set()
        holder.join(30)

    with store.open_partial("think", "aa"):
        pass  # the lock went with its holder


def test_a_file_in_place_of_the_workspace_is_one_clear_message(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(WorkspaceError, match="Choose another folder with --workspace"):
        Store(tmp_path / "file")


def test_workspace_whose_path_is_no_utf8_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    workspace = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))

    with pytest.raises(WorkspaceError, match=r"udcff', is no UTF-8.*--workspace"):
        Store(workspace)


@pytest.mark.parametrize(("code", "remedy"), [(errno.EACCES, "no permission"), (errno.ENOSPC, "no space left")])
def test_disk_errors_are_translated_with_their_remedy(tmp_path, code, remedy):
    with pytest.raises(WorkspaceError, match=remedy), translate_os_errors(tmp_path):
        raise OSError(code, os.strerror(code), str(tmp_path / "x"))


def test_other_os_errors_are_not_swallowed(tmp_path):
    with pytest.raises(ConnectionResetError), translate_os_errors(tmp_path):
        raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_a_reader_of_the_old_file_reads_all_of_it_while_a_new_one_is_written(tmp_path):
    write_atomically(tmp_path / "state", b"old and long")
    with (tmp_path / "state").open("rb", buffering=0) as reader:
        write_atomically(tmp_path / "state", b"new")

        assert reader.read() == b"old and long"
    assert (tmp_path / "state").read_bytes() == b"new"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), descriptor)

    write_atomically(tmp_path / "state", b"old")
    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "state", b"new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"state": b"old"}


@pytest.mark.parametrize(("last_call", "latest"), [("rename", 1), ("sync", 2)])
def test_what_was_committed_last_is_known_wherever_a_commit_is_cut_off(store, monkeypatch, last_call, latest):
    commit(store, "aa", 1)

    def killed(path: Path, *_target: Path) -> None:
        if last_call == "rename" or path.is_dir():
            raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.rename" if last_call == "rename" else "aigc_pipeline.core.store.sync", killed)
    with pytest.raises(KeyboardInterrupt):
        commit(store, "bb", 2)

    found = store.previous("think", Answer)
    assert found is not None
    assert found.value == latest


def test_a_workspace_that_is_only_read_is_not_written_to(tmp_path):
    Store(tmp_path / "missing", read_only=True)

    assert not list(tmp_path.iterdir())
