"""Is this sample like any real one at all? A conformal test against unseen reals, in the encoder's features."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from aigc_pipeline.core.strict import Member
from aigc_pipeline.gates.base import Mask, show


class InDistribution(Member):
    """Refuse outliers; by design also that share of samples as good as real."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["in_distribution"] = "in_distribution"
    min_p: float = Field(default=0.01, ge=0, lt=1)
    """Smallest `ood_p` that passes."""

    def judge(self, table: pa.Table) -> Mask:
        """Read `ood_p`; where it is null (the scorer says when) every row passes."""
        p = table["ood_p"].to_numpy()
        return np.asarray(np.isnan(p) | (p >= self.min_p))

    def explain(self, row: Mapping[str, object]) -> str:
        """Name p and limit, or that it is not tested."""
        p = show(row["ood_p"])
        if p == show(None):
            return f"its ood_p is {p}: varied real samples, small classes and runs that hold nothing back are not tested, and it passes"
        return f"ood_p {p} must be at least {self.min_p}"
