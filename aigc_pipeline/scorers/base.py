"""What a scorer is: candidates in, columns out; a pure function of (sample, judge). And what it is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from aigc_pipeline.core.errors import WorkspaceError
from aigc_pipeline.core.samples import content_sha256
from aigc_pipeline.features.search import Reference

FloatArray = NDArray[np.float32]
SMALL_CLASS = 25
"""Training samples under which nothing that is fitted knows a class: not the encoder, and not the critic."""
_ANEW = "Remove the folder {folder} and run `aigc run` again with the same settings: the judge is then fitted anew."
Columns = Mapping[str, NDArray[np.generic] | list[str]]


@dataclass(frozen=True)
class ScoringBatch:
    """What all scorers share about n candidates, computed once."""

    labels: NDArray[np.int64]
    nearest_train: Callable[[], tuple[FloatArray, NDArray[np.int64]]]
    """Returns near-copy distances to the training split and the rows that are nearest. The dearest number of all: measured
    when it is first asked for, and once."""
    features: FloatArray
    judge_features: FloatArray
    referee_logits: FloatArray | None
    d_logit: FloatArray | None
    parents: NDArray[np.int64]
    """Row of the parent in the training split, -1 for none."""
    is_classic: NDArray[np.bool_]
    """Varied by hand-written variation, not made by the trained family."""
    coins: NDArray[np.float64]


@dataclass(frozen=True)
class JudgeState:
    """Everything fitted that a verdict depends on. Arrays and numbers only; stored as one `.npz` without pickle."""

    critic_weights: NDArray[np.float64]
    """`[d]`, or `[d + 1]` with the discriminator's logit last; empty where there is no critic."""
    critic_bias: float
    critic_reals: NDArray[np.int64]
    """`[classes]`: reals that the critic was fitted on, of classes that it judges. Of a class without any it knows nothing."""
    uses_d_logit: bool
    d_offset: NDArray[np.float64]
    """`[classes]`: what a relativistic loss leaves undefined, taken out before the critic reads the logit."""
    d_scale: float
    calibrator: str
    """Kind of the calibrator that `calibration` belongs to."""
    calibration: NDArray[np.float64]
    """Its global parameters, `[p]`."""
    class_calibration: NDArray[np.float64]
    """`[classes, q]`: parameters per class, padded with NaN."""
    class_share: NDArray[np.float64]
    """`[classes]`: how much a class's own calibrator counts against the global one, in [0, 1]."""
    log_mean_ratio: NDArray[np.float64]
    """`[classes]`: log of the mean ratio over pilot fakes; subtracted, so that ratios average 1 per class."""
    acceptance_constant: NDArray[np.float64]
    """`[classes]`: the acceptance rule's constant, frozen on the pilot."""
    acceptance_peak: NDArray[np.float64]
    """`[classes]`: largest log ratio on the pilot; only the discriminator rule reads it."""
    acceptance_rule: str
    min_p_real: float
    """Acceptance is 0 below."""
    filters_by_probability: bool
    holdout_logits: NDArray[np.float64]
    """Sorted out-of-fold calibrated logits of hold-out reals."""
    temperature: float
    holdout_distances: NDArray[np.float64]
    """Sorted near-copy distances of hold-out reals to the training split."""
    holdout_outlyingness: NDArray[np.float64]
    """Sorted distances of hold-out reals to their k-th training neighbour in the encoder."""
    copy_threshold: float
    distinct_threshold: float
    """How near training samples come to one another."""
    repeat_threshold: float
    """So near, nobody sees a difference."""
    class_have: NDArray[np.int64]

    def save(self, file: Path) -> str:
        """Write the state; return its sha256."""
        with file.open("wb") as handle:
            arrays: dict[str, Any] = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
            np.savez(handle, **arrays)
        return content_sha256(file.read_bytes())

    def judges(self, batch: ScoringBatch) -> NDArray[np.bool_]:
        """Return which rows the critic can judge: generated or real, of a class that it has seen.

        Varied real samples look like their parents, real ones: what tells them from unseen reals is that the encoder knows
        these parents.
        """
        return np.asarray(~batch.is_classic & (self.critic_reals[batch.labels] > 0))

    @classmethod
    def load(cls, file: Path) -> "JudgeState":
        """Read a state back.

        Raises:
            WorkspaceError: if the file holds other fields or is damaged; says how to get a new one.
        """
        try:
            with np.load(file, allow_pickle=False) as arrays:
                values = {name: arrays[name] if arrays[name].ndim else arrays[name].item() for name in arrays.files}
        except (OSError, EOFError, ValueError, BadZipFile) as err:
            msg = f"cannot read the judge in {file}: {err}. {_ANEW.format(folder=file.parent)}"
            raise WorkspaceError(msg) from err
        if differing := sorted({field.name for field in fields(cls)} ^ set(values)):
            msg = (
                f"the judge in {file} was fitted by another version of aigc (fields that differ: {', '.join(differing)}). "
                f"{_ANEW.format(folder=file.parent)}"
            )
            raise WorkspaceError(msg)
        return cls(**values)


@dataclass(frozen=True)
class TrainReference:
    """The training split as candidates are compared with it."""

    ids: list[str]
    view: FloatArray
    """The modality's first view, `[n, d]`."""
    features: FloatArray
    """In the encoder, `[n, d]`."""
    judge_features: FloatArray

    @cached_property
    def prepared_view(self) -> Reference:
        """`view`, ready to be searched again and again."""
        return Reference.of(self.view)

    def excluded(self, parents: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Return the rows that samples with these parents must not be matched with; None where that excludes nothing."""
        return parents if (parents >= 0).any() and len(self.ids) > 1 else None


class Scorer(Protocol):
    """One way to look at candidates."""

    columns: ClassVar[tuple[str, ...]]
    """What it adds."""

    def score(self, batch: ScoringBatch, state: JudgeState, reference: TrainReference) -> Columns:
        """Return one array per column, `[n]`; NaN only where the column may be null."""
        ...


def percentile(values: NDArray[np.floating], holdout: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (1 + #{h <= v}) / (n + 1) against sorted hold-out values, a conformal p-value: small means lower than theirs."""
    return (1 + np.searchsorted(holdout, values, side="right")) / (len(holdout) + 1)
