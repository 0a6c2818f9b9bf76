"""Gates for cleaning and for filtering. The two unions are the registry: a new gate is one file and one name here."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.gates.base import FilterGate, Gate, Mask
from aigc_pipeline.gates.class_quota import ClassQuota
from aigc_pipeline.gates.cleaning import Duplicate, LabelConflict, Leakage
from aigc_pipeline.gates.constant import Constant
from aigc_pipeline.gates.distinct import Distinct
from aigc_pipeline.gates.in_distribution import InDistribution
from aigc_pipeline.gates.label_agreement import LabelAgreement
from aigc_pipeline.gates.metropolis_hastings import MetropolisHastings
from aigc_pipeline.gates.min_p_real import MinPReal
from aigc_pipeline.gates.not_memorised import NotMemorised
from aigc_pipeline.gates.rejection_sampling import RejectionSampling
from aigc_pipeline.gates.size_limits import SizeLimits
from aigc_pipeline.gates.top_share import TopShare

AnyCleaningGate = Annotated[SizeLimits | Constant | LabelConflict | Leakage | Duplicate, Field(discriminator="kind")]
AnyFilterGate = Annotated[
    LabelAgreement
    | InDistribution
    | NotMemorised
    | Distinct
    | RejectionSampling
    | MetropolisHastings
    | TopShare
    | MinPReal,
    Field(discriminator="kind"),
]
_CLEANING: tuple[type[Gate], ...] = (SizeLimits, Constant, LabelConflict, Leakage, Duplicate)
_FILTERING: tuple[type[FilterGate], ...] = (
    *(LabelAgreement, InDistribution, NotMemorised, Distinct, RejectionSampling, MetropolisHastings, TopShare),
    *(MinPReal, ClassQuota),
)  # mypy proves that each meets the Protocol
_SAMPLERS = ("rejection_sampling", "metropolis_hastings", "top_share")
BY_PROBABILITY = (*_SAMPLERS, "min_p_real")
"""Gates that rest on the critic."""


class ImportanceWeights(Settings):
    """Weights instead of rejection (Grover et al. 2019): nothing is thrown away, likely samples count more."""

    power: float = Field(default=1.0, gt=0, le=1)
    """Flattening: weight = ratio ** power."""
    max_weight: float = Field(default=5.0, gt=1)
    """Largest weight, in units of the mean."""


class FilterPolicy(Settings):
    """The gates that candidates pass, in order. The class quota always comes last and is not listed."""

    gates: tuple[AnyFilterGate, ...] = (
        LabelAgreement(),
        InDistribution(),
        NotMemorised(),
        Distinct(),
        RejectionSampling(),
    )
    """In order. `rejection_sampling` keeps a budget per class; `metropolis_hastings` or `top_share` stand in its place;
    `min_p_real` is a floor, with or without one of them."""
    importance: ImportanceWeights | None = None
    """Weight accepted samples by their density ratio instead of rejecting by it."""

    @model_validator(mode="after")
    def _ratio_counts_once(self) -> Self:
        by_probability = [gate.kind for gate in self.gates if gate.kind in BY_PROBABILITY]
        if self.importance is not None and by_probability:
            msg = (
                f"filter.importance weights by the same ratio that {', '.join(by_probability)} rejects by: it would "
                "count twice. List filter.gates without it."
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _one_sampler(self) -> Self:
        samplers = [gate.kind for gate in self.gates if gate.kind in _SAMPLERS]
        if len(samplers) > 1:
            msg = (
                f"filter.gates draws by the same ratio {len(samplers)} times: {', '.join(samplers)}. List one of them."
            )
            raise ValueError(msg)
        return self

    @property
    def rejection(self) -> RejectionSampling | None:
        """The gate that keeps a budget, if it is listed."""
        return next((gate for gate in self.gates if isinstance(gate, RejectionSampling)), None)

    def refuse_unknown_classes(self, classes: Sequence[str]) -> None:
        """Check the names in class budgets.

        Raises:
            ConfigError: if one is no class of the dataset.
        """
        named = self.rejection.class_keep_share if self.rejection is not None else ()
        if unknown := sorted(set(named) - set(classes)):
            msg = f"filter.gates: class_keep_share names the classes {unknown}; the dataset has {sorted(classes)}."
            raise ConfigError(msg)

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
    "BY_PROBABILITY",
    "AnyCleaningGate",
    "AnyFilterGate",
    "ClassQuota",
    "Constant",
    "Distinct",
    "Duplicate",
    "FilterGate",
    "FilterPolicy",
    "Gate",
    "ImportanceWeights",
    "InDistribution",
    "LabelAgreement",
    "LabelConflict",
    "Leakage",
    "MetropolisHastings",
    "MinPReal",
    "NotMemorised",
    "RejectionSampling",
    "SizeLimits",
    "TopShare",
    "apply_gates",
    "count_reasons",
]
