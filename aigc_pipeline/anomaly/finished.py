"""The latest published run of a workspace, as records: what scoring of other samples needs.

The version's lineage names the records that belong together. The encoder is not among them; its fingerprint follows from
the version's settings and split. What each stage committed last would not do: it may belong to another, unfinished run.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from aigc_pipeline.config import load_config
from aigc_pipeline.core.context import Context, RuntimeConfig
from aigc_pipeline.core.errors import PublishError, WorkspaceError
from aigc_pipeline.core.records import Record
from aigc_pipeline.core.reporting import Reporter
from aigc_pipeline.core.store import Store
from aigc_pipeline.pipeline import BoundStage
from aigc_pipeline.publishing.versions import resolve
from aigc_pipeline.records import Checkpoint, DatasetSplits, Embeddings, Judge, SynthesisPlan
from aigc_pipeline.stages.embed import embed

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class FinishedRun:
    """One run's records, and a context to read their files with: the device and threads of now, not of then."""

    version: str
    context: Context
    planned: SynthesisPlan
    splits: DatasetSplits
    embeddings: Embeddings
    checkpoint: Checkpoint
    judge: Judge


def latest_run(place: Path, *, reporter: Reporter) -> FinishedRun:
    """Find the run behind a workspace's latest version, or behind the version directory `place`.

    Raises:
        PublishError: if there is no version, or its lineage cannot be read.
        WorkspaceError: if the files of a stage are gone.
    """
    version = resolve(place)
    workspace = version.resolve().parents[1]
    config = load_config(file=version / "config.yaml")
    context = Context(Store(workspace, read_only=True), config.seed, RuntimeConfig(), reporter)
    try:
        paths = {
            name: facts["path"] for name, facts in json.loads((version / "lineage.json").read_text())["records"].items()
        }
    except (OSError, ValueError, KeyError, TypeError) as err:
        msg = f"cannot read {version / 'lineage.json'}: {err}. The version is damaged; publish again, or restore the file."
        raise PublishError(msg) from err
    splits = _record(workspace, paths, "splits", DatasetSplits)
    embeddings = BoundStage(embed, context).find(config.embed, splits)
    if embeddings is None:
        raise WorkspaceError(_gone(workspace, "embed"))
    return FinishedRun(
        version.name,
        context,
        _record(workspace, paths, "planned", SynthesisPlan),
        splits,
        embeddings,
        _record(workspace, paths, "checkpoint", Checkpoint),
        _record(workspace, paths, "judge", Judge),
    )


def _record(workspace: Path, paths: dict[str, str], name: str, record_type: type[R]) -> R:
    file = workspace / paths.get(name, name) / "record.json"
    if not file.exists():
        raise WorkspaceError(_gone(workspace, file.parent.parent.name))
    return record_type.load(file)


def _gone(workspace: Path, stage: str) -> str:
    return (
        f"workspace {workspace} no longer has the files of stage '{stage}' that its latest version was made with: they were "
        "removed, or another version of aigc made them. Run `aigc run` again with the same settings."
    )
