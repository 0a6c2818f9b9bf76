"""What a stage is given besides its settings and records: where to write, whom to tell, and the root seed."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field

from aigc_pipeline.core.execution import Executor, SerialExecutor
from aigc_pipeline.core.records import Record
from aigc_pipeline.core.reporting import LogReporter, Reporter
from aigc_pipeline.core.seeding import seed_for
from aigc_pipeline.core.store import Store
from aigc_pipeline.core.strict import Settings

R = TypeVar("R", bound=Record)


class RuntimeConfig(Settings):
    """Circumstance: where and with what the work is done. None of it enters a fingerprint."""

    device: str = "auto"
    """`auto` takes a GPU when there is one; else `cpu`, `cuda`, `cuda:1` ..."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of the tensor library; 0 means one per core."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the generator's training passes: `auto` is bfloat16 on a GPU that has it, else float32. Penalties, optimizer and
    weights stay in float32, whose convolutions a GPU rounds to TF32 as torch's default is."""
    compile: bool = False
    """Compile the generator's networks for training (torch.compile): minutes at the start, faster after. For GPUs."""
    deterministic: bool = False
    """Only algorithms that repeat exactly on a GPU; slower. On a CPU every run repeats anyway."""
    processes: int = Field(default=1, ge=1)
    """Processes that train together (torchrun), one GPU each; on a CPU they share the threads."""
    tracking: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ("tensorboard",)
    """Where curves and sample grids are kept, under `<workspace>/tracking`. wandb and mlflow are extras of their names;
    their own environment variables (WANDB_MODE, MLFLOW_TRACKING_URI ...) say where they send what they get."""

    @property
    def num_threads(self) -> int:
        """Threads to use, at least 1."""
        return self.threads or _num_cores()


@dataclass(frozen=True)
class Context:
    """One run's surroundings. `for_stage` narrows it to one stage."""

    store: Store
    seed: int
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    reporter: Reporter = field(default_factory=LogReporter)
    executor: Executor = field(default_factory=SerialExecutor)
    config_yaml: str = ""
    """All resolved settings, for the published record; never read by a stage's logic."""
    stage: str = ""
    version: int = 0
    fingerprint: str = ""
    out: Path = Path()

    def for_stage(self, stage: str, version: int, fingerprint: str, out: Path) -> "Context":
        """Return this context with the stage's name, fingerprint and output directory filled in."""
        return replace(self, stage=stage, version=version, fingerprint=fingerprint, out=out)

    def record(self, record_type: type[R], **content: object) -> R:
        """Build the record of the running stage: its fingerprint and path are filled in here."""
        path = self.store.directory(self.stage, self.fingerprint).relative_to(self.store.workspace).as_posix()
        return record_type.model_validate(
            {
                "fingerprint": self.fingerprint,
                "path": path,
                "created_by": f"{self.stage}@{self.version}",
                **content,
            }
        )

    def files_of(self, record: Record) -> Path:
        """Return the absolute directory where the files of `record` lie."""
        return self.store.workspace / record.path

    def previous(self, record_type: type[R]) -> R | None:
        """Return what this stage committed last in this workspace, or None on the first run."""
        return self.store.previous(self.stage, record_type)

    def earlier(self, record_type: type[R]) -> Iterator[R]:
        """Yield all that this stage committed in this workspace, the last one first."""
        return self.store.earlier(self.stage, record_type)

    def seed_for(self, *names: str | int) -> int:
        """Return the named seed of this stage."""
        return seed_for(self.seed, self.stage, *names)


def _num_cores() -> int:
    """Return how many cores this process may use; macOS cannot tell, and there all count."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
