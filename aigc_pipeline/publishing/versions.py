"""Version directories: built aside, claimed by one `os.rename` onto their number, never changed afterwards.

A rename onto an existing, non-empty directory fails, so two writers cannot claim one number and a reader never sees half
a version. `LATEST.json` is a hint to the version that the last run ended with, new or found again.
"""

import errno
import json
from collections.abc import Mapping
from pathlib import Path

from aigc_pipeline.core.errors import PublishError
from aigc_pipeline.core.samples import content_sha256
from aigc_pipeline.core.store import sync, translate_os_errors, write_atomically

VERSION_FILE = "version.json"
_LATEST = "LATEST.json"


def seal(directory: Path, facts: Mapping[str, object]) -> None:
    """Write `version.json`: `facts`, and every file's size and sha256."""
    files = {
        file.relative_to(directory).as_posix(): {
            "bytes": file.stat().st_size,
            "sha256": content_sha256(file.read_bytes()),
        }
        for file in sorted(directory.rglob("*"))
        if file.is_file() and file.name != VERSION_FILE
    }
    write_atomically(directory / VERSION_FILE, json.dumps({**facts, "files": files}, indent=1).encode())


def claim(built: Path, versions: Path) -> Path:
    """Move a built directory onto the next free number and return its place."""
    versions.mkdir(parents=True, exist_ok=True)
    number = _highest(versions) + 1  # a removed version's number is not given again
    while True:
        target = versions / f"v{number:04d}"
        try:
            built.rename(target)
        except OSError as err:
            if err.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                raise
            number += 1
        else:
            sync(versions)
            return target


def find_published(versions: Path, fingerprint: str) -> Path | None:
    """Return the version that was published under this fingerprint: a run killed after claiming must not claim twice."""
    for directory in published(versions):
        if json.loads((directory / VERSION_FILE).read_text())["fingerprint"] == fingerprint:
            return directory
    return None


def point_latest(versions: Path, version: Path) -> None:
    """Move the hint. It keeps the highest number that was given: one of a removed version is not given again."""
    hint = {"version": version.name, "highest": max(_highest(versions), _number(version))}
    if hint != _hint(versions):
        with translate_os_errors(versions.parent):
            write_atomically(versions.parent / _LATEST, json.dumps(hint).encode())


def resolve(path: Path) -> Path:
    """Return the version directory meant by a workspace, a version directory or a file inside one.

    Raises:
        PublishError: if there is none.
    """
    for candidate in (path, path.parent):
        if (candidate / VERSION_FILE).exists():
            return candidate
    versions = path / "versions"
    found = published(versions)
    if not found:
        msg = f"there is no published version at {path}. Give a workspace or a version directory, or run `aigc run` first."
        raise PublishError(msg)
    named = _hinted(versions)
    return named if named in found else found[-1]


def verify(version: Path) -> None:
    """Check every file of a version against its recorded size and hash.

    Raises:
        PublishError: naming the first files that are missing or changed.
    """
    listed: Mapping[str, Mapping[str, object]] = json.loads((version / VERSION_FILE).read_text())["files"]
    bad = [
        name
        for name, facts in listed.items()
        if not (version / name).is_file() or content_sha256((version / name).read_bytes()) != facts["sha256"]
    ]
    if bad:
        msg = f"{len(bad)} files of {version} are missing or changed since publication: {bad[:5]}. Publish again, or restore them."
        raise PublishError(msg)


def published(versions: Path) -> list[Path]:
    """Return the version directories by number. What else lies there (an archive, a copy under another name) is not ours."""
    found = [each for each in versions.glob("v*") if _is_named(each) and (each / VERSION_FILE).is_file()]
    return sorted(found, key=_number)


def _hinted(versions: Path) -> Path | None:
    """Return the version that the last run ended with, which may be gone; None where the hint does not tell."""
    named = versions / str(_hint(versions).get("version"))
    return named if _is_named(named) else None


def _hint(versions: Path) -> Mapping[str, object]:
    try:
        hint = json.loads((versions.parent / _LATEST).read_text())
    except (OSError, ValueError):
        return {}
    return hint if isinstance(hint, dict) else {}


def _highest(versions: Path) -> int:
    known = map(_number, [*published(versions), *filter(None, [_hinted(versions)])])
    given = _hint(versions).get("highest")
    return max([*known, *([given] if isinstance(given, int) else [])], default=0)


def _is_named(version: Path) -> bool:
    return version.name[:1] == "v" and version.name[1:].isdecimal()


def _number(version: Path) -> int:
    return int(version.name[1:])
