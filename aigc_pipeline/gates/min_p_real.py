"""A plain threshold on the calibrated probability of being real. Trims diversity; the report shows how much."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from aigc_pipeline.core.strict import Member
from aigc_pipeline.gates.base import Mask, show, unjudged


class MinPReal(Member):
    """Keep samples with `p_real` of at least the threshold."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["min_p_real"] = "min_p_real"
    threshold: float = Field(default=0.5, ge=0, le=1)
    """Smallest `p_real` that passes."""

    def judge(self, table: pa.Table) -> Mask:
        """Read `p_real`; where `accept_probability` is null no trusted critic exists, and every row passes."""
        is_blocked = np.isnan(table["accept_probability"].to_numpy())
        return np.asarray(is_blocked | (table["p_real"].to_numpy() >= self.threshold))

    def explain(self, row: Mapping[str, object]) -> str:
        """Name probability and limit, or that there is no critic to ask."""
        return unjudged(row) or f"p_real {show(row['p_real'])} must be at least {self.threshold}"
