"""Gates for cleaning and for filtering. The two unions are the registry: a new gate is one file and one name here."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import Field

from aigc_pipeline.core.strict import Settings
from aigc_pipeline.gates.base import Gate, Mask
from aigc_pipeline.gates.class_quota import ClassQuota
from aigc_pipeline.gates.cleaning import Duplicate, LabelConflict, Leakage
from aigc_pipeline.gates.constant import Constant
from aigc_pipeline.gates.distinct import Distinct
from aigc_pipeline.gates.label_agreement import LabelAgreement
from aigc_pipeline.gates.min_p_real import MinPReal
from aigc_pipeline.gates.not_memorised import NotMemorised
from aigc_pipeline.gates.rejection_sampling import RejectionSampling
from aigc_pipeline.gates.size_limits import SizeLimits

AnyCleaningGate = Annotated[SizeLimits | Constant | LabelConflict | Leakage | Duplicate, Field(discriminator="kind")]
AnyFilterGate = Annotated[
    LabelAgreement | NotMemorised | Distinct | RejectionSampling | MinPReal, Field(discriminator="kind")
]
_MEMBERS: tuple[type[Gate], ...] = (
    *(SizeLimits, Constant, LabelConflict, Leakage, Duplicate),
    *(LabelAgreement, NotMemorised, Distinct, RejectionSampling, MinPReal, ClassQuota),
)  # mypy proves that each meets the Protocol


class FilterPolicy(Settings):
    """The gates that candidates pass, in order. The class quota always comes last and is not listed."""

    gates: tuple[AnyFilterGate, ...] = (LabelAgreement(), NotMemorised(), Distinct(), RejectionSampling())
    """In order. `rejection_sampling` keeps a budget per class, `min_p_real` a plain threshold."""

    def before_rejection(self) -> tuple[AnyFilterGate, ...]:
        """Return the gates that come before rejection sampling: its budget refers to their survivors."""
        kinds = [gate.kind for gate in self.gates]
        return self.gates[: kinds.index("rejection_sampling")] if "rejection_sampling" in kinds else self.gates


def apply_gates(gates: Sequence[Gate], table: pa.Table) -> list[str | None]:
    """Return, per row, the kind of the first gate that refused it, or None where all let it pass.

    Each gate is given the survivors of the gates before it, in index order.
    """
    reasons: list[str | None] = [None] * len(table)
    alive = np.arange(len(table))
    for gate in gates:
        if not len(alive):
            break
        mask: Mask = gate.judge(table.take(pa.array(alive)))
        for row in alive[~mask]:
            reasons[row] = gate.kind
        alive = alive[mask]
    return reasons


def count_reasons(reasons: Sequence[str | None]) -> dict[str, int]:
    """Count refusals by reason."""
    return dict(Counter(reason for reason in reasons if reason is not None))


__all__ = [
    "AnyCleaningGate",
    "AnyFilterGate",
    "ClassQuota",
    "Constant",
    "Distinct",
    "Duplicate",
    "FilterPolicy",
    "Gate",
    "LabelAgreement",
    "LabelConflict",
    "Leakage",
    "MinPReal",
    "NotMemorised",
    "RejectionSampling",
    "SizeLimits",
    "apply_gates",
    "count_reasons",
]
