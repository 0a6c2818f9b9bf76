"""Rejection sampling at a budget: accept with the probability that `calibrate` froze, by the sample's own coin.

The probability is a scorer's column and the coin belongs to the sample, so neither batch nor order nor retry can change
a decision.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from aigc_pipeline.core.strict import Member
from aigc_pipeline.gates.base import Mask, show, unjudged

KeepShare = Annotated[float, Field(ge=0.1, le=1)]


class RejectionSampling(Member):
    """The default filter by probability. Where the critic is unhealthy it passes everything and the report says so."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["rejection_sampling"] = "rejection_sampling"
    rule: Literal["optimal", "discriminator"] = "optimal"
    """`optimal`: min(1, c r), best for every f-divergence at its budget. `discriminator`: the rule of Azadi et al. 2018."""
    keep_share: KeepShare = 0.5
    """Budget K: share of candidates to keep, per class. Relaxed where it would only trim diversity."""
    class_keep_share: dict[str, KeepShare] = Field(default_factory=dict)
    """Budgets of single classes, by name, within the same limits."""
    min_p_real: float = Field(default=0.0, ge=0, lt=1)
    """Candidates below are never kept, whatever the budget leaves."""
    relaxes: bool = True
    """Raise the budget (by half, at most twice) where recall or coverage of the pilot falls by more than 15 %, or recall falls
    and precision does not rise."""

    def judge(self, table: pa.Table) -> Mask:
        """Read `accept_probability` and `accept_coin`."""
        probability = table["accept_probability"].to_numpy()
        return np.where(np.isnan(probability), True, table["accept_coin"].to_numpy() < probability)

    def explain(self, row: Mapping[str, object]) -> str:
        """Name coin and probability, or that there is no critic to ask."""
        return unjudged(row) or (
            f"its coin {show(row['accept_coin'])} must be under accept_probability {show(row['accept_probability'])}"
        )
