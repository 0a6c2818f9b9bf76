"""Optimal budgeted rejection sampling: accept with the probability that `calibrate` froze, by the sample's own coin.

The probability is a scorer's column and the coin belongs to the sample, so neither batch nor order nor retry can change
a decision.
"""

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from aigc_pipeline.core.strict import Member
from aigc_pipeline.gates.base import Mask


class RejectionSampling(Member):
    """The default filter by probability. Where the critic is unhealthy it passes everything and the report says so."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["rejection_sampling"] = "rejection_sampling"
    keep_share: float = Field(default=0.5, ge=0.1, le=1)
    """Budget K: share of candidates to keep, per class."""

    def judge(self, table: pa.Table) -> Mask:
        """Read `accept_probability` and `accept_coin`."""
        probability = table["accept_probability"].to_numpy()
        return np.where(np.isnan(probability), True, table["accept_coin"].to_numpy() < probability)
