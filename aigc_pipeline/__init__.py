"""A batch data-augmentation pipeline that measures whether it helps, and may answer "publish nothing".

`run` and `read_manifest` are the two things most users need. Heavy libraries load when they are first used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from aigc_pipeline.core.reporting import Reporter
    from aigc_pipeline.records import Manifest

# Waiting OpenMP threads must sleep, not spin: two busy processes on two cores otherwise slow each other down
# sevenfold and more (benchmarks/waiting_threads.py). OpenMP reads this when torch is loaded, so it stands here. A value that you set yourself wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["__version__", "read_manifest", "run"]


def run(
    source: Path | str,
    *,
    workspace: Path | str = "workspace",
    config: Path | str | None = None,
    overrides: tuple[str, ...] = (),
    reporter: Reporter | None = None,
) -> Manifest:
    """Augment a dataset: the same as `aigc run SOURCE`.

    Args:
        source: a folder with one sub-folder per class, or `"digits"`.
        workspace: where stages and published versions are kept; running again resumes.
        config: a YAML file of settings.
        overrides: dotted settings, such as `"train.max_minutes=10"`.
        reporter: who is told what happens; the `aigc_pipeline` logger by default.

    Raises:
        PipelineError: with what happened, where, and what to do.
    """
    from aigc_pipeline.config import load_config
    from aigc_pipeline.core.context import Context
    from aigc_pipeline.core.reporting import LogReporter
    from aigc_pipeline.core.store import Store
    from aigc_pipeline.pipeline import run_pipeline

    settings = load_config(file=Path(config) if config else None, source=source, overrides=overrides)
    context = Context(Store(Path(workspace)), settings.seed, settings.runtime, reporter or LogReporter())
    return run_pipeline(settings, context=context)


def read_manifest(version: Path | str, *, recommended_only: bool = True) -> pd.DataFrame:
    """Read a published version (or a workspace's latest) as a DataFrame: real rows, and the recommended synthetic ones.

    Raises:
        PublishError: if there is no such version.
    """
    from aigc_pipeline.publishing.manifest import read_manifest as read

    return read(Path(version), recommended_only=recommended_only)
