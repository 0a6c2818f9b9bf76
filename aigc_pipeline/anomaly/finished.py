"""The latest published run of a workspace, as records: what scoring of other samples needs.

The version's lineage names the records that belong together. The encoder is not among them; its fingerprint follows from
the version's settings and split.
"""

from dataclasses import dataclass
from pathlib import Path

from aigc_pipeline.config import load_config
from aigc_pipeline.core.context import Context, RuntimeConfig
from aigc_pipeline.core.errors import WorkspaceError
from aigc_pipeline.core.reporting import Reporter
from aigc_pipeline.core.store import Store
from aigc_pipeline.pipeline import BoundStage
from aigc_pipeline.publishing.lineage import Lineage
from aigc_pipeline.publishing.versions import resolve
from aigc_pipeline.records import Checkpoint, DatasetSplits, Embeddings, Judge, SynthesisPlan
from aigc_pipeline.stages.embed import embed


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
    lineage, config = Lineage.read(version), load_config(file=version / "config.yaml")
    context = Context(Store(lineage.workspace, read_only=True), config.seed, RuntimeConfig(), reporter)
    splits = lineage.record("splits", DatasetSplits)
    embeddings = BoundStage(embed, context).find(config.embed, splits)
    if embeddings is None:
        raise WorkspaceError(lineage.gone("embed"))
    return FinishedRun(
        version.name,
        context,
        lineage.record("planned", SynthesisPlan),
        splits,
        embeddings,
        lineage.record("checkpoint", Checkpoint),
        lineage.record("judge", Judge),
    )
