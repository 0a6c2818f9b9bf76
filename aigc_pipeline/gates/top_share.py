"""The most real-looking share of every class: the strict mode. Precision is bought with recall; the report shows both."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from aigc_pipeline.core.strict import Member
from aigc_pipeline.gates.base import Mask, show, unjudged


class TopShare(Member):
    """A set gate: per class, the survivors with the largest density ratio. Never over all classes: that empties some."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["top_share"] = "top_share"
    keep_share: float = Field(default=0.5, gt=0, le=1)
    """Share of each class to keep; rounded up."""

    def judge(self, table: pa.Table) -> Mask:
        """Read `label`, `log_density_ratio` and `accept_probability`; without a trusted critic all pass."""
        log_ratio, labels = table["log_density_ratio"].to_numpy(), table["label"].to_numpy()
        is_judged = ~np.isnan(table["accept_probability"].to_numpy())
        mask = ~is_judged
        for label in np.unique(labels[is_judged]):
            rows = np.flatnonzero(is_judged & (labels == label))
            best = np.argsort(-log_ratio[rows], kind="stable")[: int(np.ceil(self.keep_share * len(rows)))]
            mask[rows[best]] = True
        return np.asarray(mask)

    def explain(self, row: Mapping[str, object]) -> str:
        """Name the ratio and the share, or that there is no critic to ask."""
        return unjudged(row) or (
            f"log_density_ratio {show(row['log_density_ratio'])} must be among the best "
            f"{self.keep_share:.0%} of its class that are left"
        )
