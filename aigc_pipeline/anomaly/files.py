"""Files of a folder, flat or in sub-folders, each with its content or with the reason why it has none.

Nothing is left out in silence but hidden entries. Symbolic links are not followed: one could point in a circle.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aigc_pipeline.core.errors import SourceError

_MAX_FILE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class UserFile:
    """One file; `class_name` is the folder of the first level, None for a loose file."""

    uri: str
    path: Path
    class_name: str | None

    def read(self) -> tuple[bytes | None, str | None]:
        """Return the content, or None and what is wrong."""
        try:
            status = self.path.lstat()
            if stat.S_ISDIR(status.st_mode):
                return None, "the folder cannot be listed"
            if not stat.S_ISREG(status.st_mode):
                return None, "not a regular file; links are not followed"
            if status.st_size > _MAX_FILE_BYTES:
                return None, f"too large: {status.st_size:,} bytes, at most {_MAX_FILE_BYTES:,} are read"
            return self.path.read_bytes(), None
        except OSError as err:
            return None, f"the file cannot be read: {err.strerror}"


def list_files(folder: Path) -> list[UserFile]:
    """Return all files below `folder`, sorted by path.

    Raises:
        SourceError: if it is no folder, cannot be listed, or holds no file.
    """
    root = folder.expanduser()
    if not root.is_dir():
        msg = f"{folder} is not a folder. Give the folder that holds the pictures."
        raise SourceError(msg)
    files = sorted(_walk(root), key=lambda file: file.uri)
    if not files:
        msg = f"{folder} holds no file. Put the pictures there, flat or in one sub-folder per class."
        raise SourceError(msg)
    return files


def _walk(root: Path) -> Iterator[UserFile]:
    unlisted: list[OSError] = []
    for place, folders, names in os.walk(root, onerror=unlisted.append, followlinks=False):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        folders[:] = [name for name in folders if not name.startswith(".") and name not in links]
        yield from (_file(Path(place) / name, root) for name in [*links, *names] if not name.startswith("."))
    for err in unlisted:
        if Path(err.filename) == root:
            msg = f"{root} cannot be listed: {err.strerror}. Give a folder that you may read."
            raise SourceError(msg) from err
        yield _file(Path(err.filename), root)


def _file(path: Path, root: Path) -> UserFile:
    parts = path.relative_to(root).parts
    return UserFile(_printable("/".join(parts)), path, _printable(parts[0]) if len(parts) > 1 else None)


def _printable(name: str) -> str:
    """Escape what is no UTF-8 in a file name: neither Arrow nor JSON would take it."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
