"""What of a workspace neither a version nor the next run needs, and removing it.

A stage's last result stays: it is the memory of roles, questions and fits that the next run reads. So does what
rebuilding, scoring and sampling read of the versions that stay, and what a killed run may still be resumed from.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aigc_pipeline.core.errors import PublishError, WorkspaceError
from aigc_pipeline.core.store import Store, translate_os_errors
from aigc_pipeline.publishing.lineage import Lineage
from aigc_pipeline.publishing.versions import published, resolve

DAYS_TO_RESUME = 7
"""What a killed run left is kept that long after its last change."""
_NEEDED = ("splits", "planned", "embeddings", "checkpoint", "judge")
"""The records of a version whose files `rebuild`, `score` and `synthesize` read."""
_DOOMED = ".removed-"
"""A folder is renamed before its files go, so that half of it is never taken for a version or a finished stage."""


@dataclass(frozen=True)
class Surplus:
    """A folder that may go."""

    what: str
    """`versions`, `results of train`, `killed runs`, `half removed`."""
    folder: Path
    num_bytes: int


def prune(workspace: Path, *, keep_versions: int | None, remove: bool) -> list[Surplus]:
    """Find what may go, and remove it where asked to, while no run is working on the workspace.

    Args:
        keep_versions: the newest so many stay, and the latest; None keeps all.
        remove: False only looks.

    Raises:
        WorkspaceError: if there is no workspace, or a folder cannot be removed.
        LockedError: if it is to be removed and a run is working on a stage.
        PublishError: if a version that stays cannot be read: what it needs is not known then.
    """
    if not (workspace / "stages").is_dir():
        msg = f"there is no workspace at {workspace}: it has no folder 'stages'. Name the folder that was given to `aigc run`."
        raise WorkspaceError(msg)
    store = Store(workspace, read_only=not remove)
    if not remove:
        return list(_surplus(store, _staying(workspace, keep_versions)))
    with store.alone(), translate_os_errors(workspace):
        found = list(_surplus(store, _staying(workspace, keep_versions)))
        for each in found:
            _remove(each.folder)
    return found


def _staying(workspace: Path, keep_versions: int | None) -> list[Path]:
    """Return the versions that stay."""
    versions = published(workspace / "versions")
    if not versions or keep_versions is None:
        return versions
    latest = resolve(workspace)
    return [each for each in versions if each in versions[-keep_versions:] or each == latest]


def _surplus(store: Store, staying: Sequence[Path]) -> Iterator[Surplus]:
    """Yield what may go: versions first, so that none stands without its stages where removing is cut short."""
    workspace = store.workspace
    needed = store.memory() | {folder for version in staying for folder in _needed_by(version, workspace)}
    for version in published(workspace / "versions"):
        if version not in staying:
            yield _measured("versions", version)
    for stage in store.stages():
        for folder in sorted(each for each in stage.iterdir() if each.is_dir()):
            if folder.name.startswith(_DOOMED):
                yield _measured("half removed", folder)
            elif folder.suffix == ".partial":
                if time.time() - _last_change(folder) > DAYS_TO_RESUME * 86_400:
                    yield _measured("killed runs", folder)
            elif folder not in needed:
                yield _measured(f"results of {stage.name}", folder)
    yield from (_measured("half removed", each) for each in sorted((workspace / "versions").glob(f"{_DOOMED}*")))


def _needed_by(version: Path, workspace: Path) -> list[Path]:
    """Return the stage folders that a version needs.

    Raises:
        PublishError: if its lineage cannot be read.
    """
    try:
        lineage = Lineage.read(version)
    except PublishError as err:
        msg = f"{err} Nothing was removed, since what {version.name} needs is not known; removing its folder helps as well."
        raise PublishError(msg) from err
    return [workspace / lineage.folder(name).relative_to(lineage.workspace) for name in _NEEDED]


def _measured(what: str, folder: Path) -> Surplus:
    return Surplus(what, folder, sum(each.stat().st_size for each in folder.rglob("*") if each.is_file()))


def _last_change(folder: Path) -> float:
    return max(each.stat().st_mtime for each in (folder, *folder.rglob("*")))


def _remove(folder: Path) -> None:
    doomed = folder.with_name(f"{_DOOMED}{folder.name.removeprefix(_DOOMED)}")
    folder.rename(doomed)
    shutil.rmtree(doomed)
