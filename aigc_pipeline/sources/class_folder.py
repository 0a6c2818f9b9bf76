"""A folder with one sub-folder per class, or with train, val and test folders that each hold one per class.

Deeper levels are searched, and their names mean nothing. Nothing but a `metadata.csv` is opened before `records`, nothing
is ever written, and symbolic links are not followed: one could point outside the data, or in a circle.
"""

import hashlib
import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from aigc_pipeline.core.errors import SourceError
from aigc_pipeline.core.samples import RawSample, Role
from aigc_pipeline.core.strict import Member
from aigc_pipeline.sources.base import Listing
from aigc_pipeline.sources.folder_metadata import METADATA_FILE, read_attributes

logger = logging.getLogger(__name__)

_MAX_FILE_BYTES = 256 * 2**20
_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_ROLES: dict[str, Role | None] = {
    "train": None,  # a pool: calibration and selection samples still come out of it
    "val": "selection",
    "valid": "selection",
    "validation": "selection",
    "test": "test",
}


class ClassFolder(Member):
    """Take every file below `path` but hidden ones; the name of its class folder is its class.

    A `metadata.csv` (column `file_name`, relative to the table) in `path`, in a split folder or in a class folder gives
    pictures further attributes; acceptance and recall are then reported for each of their values.
    """

    handles: ClassVar[frozenset[str] | None] = frozenset({"image"})

    kind: Literal["class_folder"] = "class_folder"
    path: Path
    """The folder that holds the class folders."""

    @property
    def modality(self) -> str:
        """Pictures."""
        return "image"

    def listing(self) -> Listing:
        """Return a digest over names, sizes, modification times, attributes, and what may not be read.

        What is left out is logged here, once a run.
        """
        warnings: list[str] = []
        files = self._files(warnings)
        for warning in warnings:
            logger.warning("%s", warning)
        digest = hashlib.sha256()
        for file in files:
            line = (file.uri, file.class_name, file.role, file.num_bytes, file.mtime_ns)
            digest.update(repr(line).encode())
            if file.attributes:
                digest.update(repr(sorted(file.attributes.items())).encode())
            if file.problem is None and not os.access(file.path, os.R_OK):  # no modification time tells a chmod
                digest.update(b"may not be read")
        return Listing(len(files), digest.hexdigest(), _printable(str(self.path)))

    def records(self) -> Iterator[RawSample]:
        """Yield the files sorted by class, then by relative path. A file that cannot be read comes with its problem."""
        for file in self._files([]):  # `listing` has said what there is to say
            content, problem = _read(file)
            yield RawSample(file.uri, file.class_name, content, file.role, problem, file.attributes)

    def _files(self, warnings: list[str]) -> list["_File"]:
        """Scan the whole tree, and add to `warnings` what is left out.

        Raises:
            SourceError: if there is no folder, no class folder or no file.
        """
        root = self.path.expanduser()
        folders = _class_folders(root, warnings)
        files = [file for folder in folders for file in _walk(folder, root)]
        if not files:
            names = ", ".join(f"'{folder.class_name}'" for folder in folders[:5])
            msg = f"the class folders of {root} ({names}) hold no file. Put the pictures of each class into its folder."
            raise SourceError(msg)
        if empty := sorted({folder.class_name for folder in folders} - {file.class_name for file in files}):
            warnings.append(f"the class folders {', '.join(map(repr, empty))} of {root} hold no file and are left out")
        return sorted(_with_attributes(files, folders, root, warnings), key=lambda file: (file.class_name, file.uri))


@dataclass(frozen=True, slots=True)
class _Folder:
    path: Path
    class_name: str
    role: Role | None


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    uri: str
    class_name: str
    role: Role | None
    num_bytes: int = -1
    mtime_ns: int = -1
    problem: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


def _with_attributes(
    files: Sequence[_File], folders: Sequence[_Folder], root: Path, warnings: list[str]
) -> list[_File]:
    """Give files the attributes that a table lists for them, and list with its problem a file that only a table knows.

    Raises:
        SourceError: if a table is not one, or no row of it names a file.
    """
    own = [folder.path for folder in folders if not folder.path.is_symlink()]
    places = {root, *(path.parent for path in own), *own}
    table = {_printable(uri): row for uri, row in read_attributes(sorted(places), root).items()}
    known = {file.uri for file in files}
    missing = sorted(table.keys() - known)
    if missing and not table.keys() & known:
        msg = (
            f"no row of {METADATA_FILE} in {root} names a file that is there; '{missing[0]}' is looked for. "
            "'file_name' is relative to the folder of the table, class folder included."
        )
        raise SourceError(msg)
    lost = [file for uri in missing if (file := _lost_file(uri, folders, root))]
    if len(lost) < len(missing):
        number = len(missing) - len(lost)
        warnings.append(f"{number} rows of {METADATA_FILE} name files outside the class folders and are left out")
    return [replace(file, attributes=table.get(file.uri, {})) for file in files] + lost


def _lost_file(uri: str, folders: Sequence[_Folder], root: Path) -> _File | None:
    """Return a file that a table names but that is not there; None where the name is in no class folder."""
    for folder in folders:
        if uri.startswith(f"{_uri(folder.path, root)}/") and ".." not in uri.split("/"):
            problem = f"{METADATA_FILE} names it, but it is missing, hidden or behind a link"
            return _File(root / uri, uri, folder.class_name, folder.role, problem=problem)
    return None


def _class_folders(root: Path, warnings: list[str]) -> list[_Folder]:
    """Find the class folders on the first level, or on the second if the first consists of splits alone.

    Raises:
        SourceError: if `root` cannot be listed, there is none, or a split folder is a link.
    """
    entries = _listed(root)
    folders, loose = _parted(entries, warnings)
    if folders and all(entry.name.lower() in _ROLES for entry in folders):
        _refuse_links(folders)
        parts = [(_ROLES[entry.name.lower()], *_parted(_listed(Path(entry.path)), warnings)) for entry in folders]
        found = [_folder(entry, role) for role, inner, _ in parts for entry in inner]
        loose += [entry for _, _, files in parts for entry in files]
    else:
        found = [_folder(entry, None) for entry in folders]
    if not found:
        raise SourceError(_no_class_message(root, loose))
    loose = [entry for entry in loose if entry.name != METADATA_FILE]
    if loose:
        files = "1 file" if len(loose) == 1 else f"{len(loose)} files"
        warnings.append(f"left out, because they belong to no class: {files} beside the class folders of {root}")
    return found


def _refuse_links(splits: Sequence[os.DirEntry[str]]) -> None:
    """Refuse a split folder that is a link: what it points to is not followed, and without it a split would be missing."""
    if linked := [entry.path for entry in splits if entry.is_symlink()]:
        msg = (
            f"the split folder {_printable(linked[0])} is a symlink, and links are not followed. Put the folder itself "
            "there."
        )
        raise SourceError(msg)


def _folder(entry: os.DirEntry[str], role: Role | None) -> _Folder:
    return _Folder(Path(entry.path), _printable(entry.name), role)


def _listed(path: Path) -> list[os.DirEntry[str]]:
    try:
        return _visible(path)
    except OSError as err:
        msg = f"the source {path} cannot be listed: {err.strerror}. Give the folder that holds the class folders."
        raise SourceError(msg) from err


def _visible(path: Path) -> list[os.DirEntry[str]]:
    """List a folder without hidden entries and what operating systems leave behind."""
    with os.scandir(path) as entries:
        return [entry for entry in entries if not entry.name.startswith(".") and entry.name.lower() not in _LITTER]


def _parted(
    entries: Sequence[os.DirEntry[str]], warnings: list[str]
) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
    """Part folders (and links to folders, so that a linked class is not lost in silence) from the rest."""
    folders: list[os.DirEntry[str]] = []
    rest: list[os.DirEntry[str]] = []
    for entry in entries:
        try:
            (folders if entry.is_dir() else rest).append(entry)
        except OSError as err:  # a link to itself, or to where we may not look
            warnings.append(f"'{entry.path}' beside the class folders cannot be followed: {err.strerror}")
            rest.append(entry)
    return folders, rest


def _no_class_message(root: Path, loose: Sequence[os.DirEntry[str]]) -> str:
    if not loose:
        return f"{root} has no class folder. Make one folder per class in it and put the pictures there."
    example = min(entry.name for entry in loose)
    return (
        f"{root} has no class folder but {len(loose)} loose files ('{_printable(example)}'). The name of its folder is "
        "a picture's class: put them into one folder per class."
    )


def _walk(folder: _Folder, root: Path) -> Iterator[_File]:
    """Yield every file of a class, and with its problem whatever else cannot be read as one."""
    pending = [folder.path]
    if folder.path.is_symlink():
        yield _problem_file(folder.path, folder, root, "symlink to a folder: links are not followed")
        return
    while pending:
        path = pending.pop()
        try:
            entries = _visible(path)
        except OSError as err:
            yield _problem_file(path, folder, root, f"the folder cannot be listed: {err.strerror}")
            continue
        pending += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        files = [entry for entry in entries if not entry.is_dir(follow_symlinks=False)]
        yield from (_file(entry, folder, root) for entry in files if not _is_table(entry, folder))


def _is_table(entry: os.DirEntry[str], folder: _Folder) -> bool:
    return entry.name == METADATA_FILE and Path(entry.path).parent == folder.path and not entry.is_symlink()


def _file(entry: os.DirEntry[str], folder: _Folder, root: Path) -> _File:
    path = Path(entry.path)
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError as err:
        return _problem_file(path, folder, root, f"the file cannot be examined: {err.strerror}")
    return _File(
        path=path,
        uri=_uri(path, root),
        class_name=folder.class_name,
        role=folder.role,
        num_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        problem=_problem_of(status),
    )


def _problem_file(path: Path, folder: _Folder, root: Path, problem: str) -> _File:
    return _File(path, _uri(path, root), folder.class_name, folder.role, problem=problem)


def _problem_of(status: os.stat_result) -> str | None:
    if stat.S_ISLNK(status.st_mode):
        return "symlink: links are not followed"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if status.st_size > _MAX_FILE_BYTES:
        return f"too large: {status.st_size:,} bytes, at most {_MAX_FILE_BYTES:,} are read"
    return None


def _read(file: _File) -> tuple[bytes | None, str | None]:
    if file.problem is not None:
        return None, file.problem
    try:
        return file.path.read_bytes(), None
    except OSError as err:
        return None, f"the file cannot be read: {err.strerror}"


def _uri(path: Path, root: Path) -> str:
    return _printable(path.relative_to(root).as_posix())


def _printable(name: str) -> str:
    """Escape what is no UTF-8 in a file name: neither Arrow nor JSON would take it."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
