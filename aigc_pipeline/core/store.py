"""The workspace: finished stages by fingerprint, unfinished ones kept for resumption, one writer at a time.

A stage works in `stages/<name>/<fingerprint>.partial`. Committing writes `record.json` last, syncs, and renames the
directory to `<fingerprint>`; its existence therefore means that the stage is complete. A killed stage finds its own
partial directory again, which is all that resuming needs. `LATEST` names the committed fingerprints of a stage, the last
one first: history that growth-aware stages may read (assignments of old files, the checkpoint that still serves).
"""

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from aigc_pipeline.core.errors import LockedError, WorkspaceError
from aigc_pipeline.core.records import Record

R = TypeVar("R", bound=Record)
_RECORD = "record.json"
_LATEST = "LATEST"


class Store:
    """Finished and unfinished stages of one workspace."""

    def __init__(self, workspace: Path, *, read_only: bool = False) -> None:
        """Open a workspace, creating its folder unless it is only read.

        Raises:
            WorkspaceError: if the folder cannot be created or written, or its path is no UTF-8.
        """
        self.workspace = workspace
        if read_only:
            return
        _refuse_undecodable(workspace)
        try:
            with translate_os_errors(workspace):
                (workspace / "stages").mkdir(parents=True, exist_ok=True)
                probe = workspace / f".writable-{os.getpid()}"
                probe.write_bytes(b"")
                probe.unlink()
        except FileNotFoundError as err:  # only here: inside a stage a missing file is a bug, not the user's
            msg = f"the workspace {workspace} cannot be created there. Choose another folder with --workspace."
            raise WorkspaceError(msg) from err

    def directory(self, stage: str, fingerprint: str) -> Path:
        """Return the directory of a finished stage (it may not exist)."""
        return self.workspace / "stages" / stage / fingerprint

    def find(self, stage: str, fingerprint: str, record_type: type[R]) -> R | None:
        """Return the record of a finished stage, or None where it has not finished or what it names is gone."""
        file = self.directory(stage, fingerprint) / _RECORD
        record = record_type.load(file) if file.exists() else None
        return record if record is not None and record.is_complete(self.workspace) else None

    def previous(self, stage: str, record_type: type[R]) -> R | None:
        """Return the record that this stage committed last in this workspace, whatever its fingerprint."""
        committed = self._committed(stage)
        return self.find(stage, committed[0], record_type) if committed else None

    def earlier(self, stage: str, record_type: type[R]) -> Iterator[R]:
        """Yield the records that this stage committed in this workspace, the last one first."""
        found = (self.find(stage, each, record_type) for each in self._committed(stage))
        return (record for record in found if record is not None)

    @contextmanager
    def open_partial(self, stage: str, fingerprint: str) -> Iterator[Path]:
        """Lock the stage and yield its partial directory; what an earlier, killed try left there is still in it.

        Raises:
            LockedError: if another process holds the lock.
            WorkspaceError: on a full disk or a refused write.
        """
        partial = self.directory(stage, fingerprint).with_suffix(".partial")
        lock = self.workspace / "stages" / stage / ".lock"
        with translate_os_errors(self.workspace), exclusive(lock, what=f"stage '{stage}'"):
            partial.mkdir(parents=True, exist_ok=True)
            yield partial

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the locks of all stages: no run is working on one, and none begins one.

        Raises:
            LockedError: if a run is working.
        """
        with translate_os_errors(self.workspace), ExitStack() as held:
            for stage in self.stages():
                held.enter_context(exclusive(stage / ".lock", what=f"stage '{stage.name}'"))
            yield

    def stages(self) -> list[Path]:
        """Return the folder of every stage that ever ran."""
        return sorted(lock.parent for lock in (self.workspace / "stages").glob("*/.lock"))

    def memory(self) -> set[Path]:
        """Return the folders that the next run may read: what each stage committed last, and where that says its files lie."""
        folders: set[Path] = set()
        for stage in self.stages():
            for fingerprint in self._committed(stage.name)[:1]:
                folder = self.directory(stage.name, fingerprint)
                folders.add(folder)
                if (record := folder / _RECORD).exists():
                    folders.add(self.workspace / json.loads(record.read_text(encoding="utf-8"))["path"])
        return folders

    def commit(self, stage: str, fingerprint: str, record: Record) -> None:
        """Turn the partial directory into the finished one. A reader sees all of it or nothing."""
        final = self.directory(stage, fingerprint)
        partial = final.with_suffix(".partial")
        write_atomically(partial / _RECORD, record.model_dump_json(indent=2).encode())
        for file in partial.rglob("*"):
            if file.is_file():
                sync(file)
        committed = [fingerprint, *(each for each in self._committed(stage) if each != fingerprint)]
        write_atomically(final.parent / _LATEST, "\n".join(committed).encode())
        if final.exists():  # a forced re-run of a finished stage: the new one replaces it
            shutil.rmtree(final)
        partial.rename(final)
        sync(final.parent)

    def _committed(self, stage: str) -> list[str]:
        """Return the fingerprints of a stage, the last one first. One that was named but never renamed is left out."""
        latest = self.workspace / "stages" / stage / _LATEST
        named = latest.read_text(encoding="utf-8").split() if latest.exists() else []
        return [each for each in named if self.directory(stage, each).exists()]


def _refuse_undecodable(workspace: Path) -> None:
    path = str(workspace.absolute())
    try:
        path.encode()
    except UnicodeEncodeError as err:
        msg = (
            f"the path of the workspace, {path!a}, is no UTF-8, and Arrow opens no other. Choose another folder with "
            "--workspace."
        )
        raise WorkspaceError(msg) from err


@contextmanager
def exclusive(lock_file: Path, *, what: str) -> Iterator[None]:
    """Hold an advisory lock, released by the kernel even when the process is killed.

    Raises:
        LockedError: naming the holder.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            handle.seek(0)
            holder = handle.read().strip() or "an unknown process"
            msg = (
                f"another run ({holder}) is working on {what} in workspace {lock_file.parents[2]}. "
                "Wait for it to end, or give this run its own folder with --workspace."
            )
            raise LockedError(msg) from err
        handle.truncate(0)
        handle.write(f"pid {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        handle.flush()
        yield


def write_atomically(file: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part of it."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)  # there only where writing failed


def sync(path: Path) -> None:
    """Flush a file or a directory entry to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_REMEDIES = {
    errno.EACCES: "no permission to write there. Choose another folder with --workspace, or correct its permissions",
    errno.EPERM: "no permission to write there. Choose another folder with --workspace, or correct its permissions",
    errno.EROFS: "the file system is read-only. Choose another folder with --workspace",
    errno.ENOSPC: "no space left on the device. Free some and run the same command again: finished stages are kept",
    errno.EDQUOT: "the disk quota is used up. Free some and run the same command again: finished stages are kept",
    errno.ENOTDIR: "a part of the path is a file. Choose another folder with --workspace",
    errno.EEXIST: "it exists and is not a folder. Choose another folder with --workspace",
}


@contextmanager
def translate_os_errors(workspace: Path) -> Iterator[None]:
    """Turn the disk errors that a user can mend into a WorkspaceError; let every other OSError through.

    Raises:
        WorkspaceError: with the path and the remedy.
    """
    try:
        yield
    except OSError as err:
        remedy = _REMEDIES.get(err.errno or 0)
        if remedy is None:
            raise
        msg = f"cannot write in workspace {workspace} ({err.filename or workspace}): {remedy}."
        raise WorkspaceError(msg) from err
