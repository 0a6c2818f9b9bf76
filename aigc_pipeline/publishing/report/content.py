"""What a report is made of: the records of a run, and two ways to show a sample. It holds no pixels and no HTML."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from aigc_pipeline.records import Arrivals, EvalReport, FilteredSet, Judge, SynthesisPlan

Html = str


@dataclass(frozen=True)
class ReportContent:
    """Everything that report and card say about one run."""

    version: str | None
    """None where the number is not known: not claimed yet, or nothing was published. `reason` says what was."""
    reason: str
    """Why it was published as it is, or why not."""
    sentence: str
    """The verdict in one sentence."""
    plan: SynthesisPlan
    judge: Judge
    filtered: FilteredSet
    evaluation: EvalReport
    candidates: pa.Table
    """Columns of `core.tables.CANDIDATES`, in index order."""
    candidate_html: Callable[[list[int]], list[Html]]
    """Row numbers of `candidates` to what a page shows of them."""
    train_html: Callable[[list[str]], list[Html]]
    """Ids of training samples to what a page shows of them."""
    classes: tuple[str, ...]
    source: str
    samples_seen: int
    family: str
    created: str
    """Date and time, ISO 8601."""
    num_proof: int | None = None
    """Real samples that the critic was proven on; None where it is not known, and then not shown."""
    arrivals: Arrivals | None = None
    """Samples that the run before did not have; None where there is none, or where they were not compared."""
    best_samples_seen: int = 0
    """Samples seen when the weights were current that validation chose; 0 where nothing chose."""
    training_events: tuple[str, ...] = ()
    """What went wrong in training and how it was answered."""
    num_real: int | None = None
    """Published real rows; None where it is not known, and then not shown."""
    num_synthetic: int | None = None
    """Published synthetic rows; None where it is not known, and then not shown."""
    num_recommended: int | None = None
    """Synthetic rows among them that the verdict recommends; None where it is not known, and then not shown."""
    has_references: bool = False
    """Real rows lie in `references.parquet` and name the user's own files."""
