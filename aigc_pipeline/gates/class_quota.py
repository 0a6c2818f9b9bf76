"""No more accepted samples of a class and origin than the plan wants: the first ones in index order.

Where a class is both generated and varied, either may fill the budget alone; selection decides how they share it.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from aigc_pipeline.core.strict import Member
from aigc_pipeline.gates.base import Mask, show


class ClassQuota(Member):
    """A set gate: counts the survivors it is given. What it refuses was good, only not wanted."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["class_quota"] = "class_quota"

    def judge(self, table: pa.Table) -> Mask:
        """Read `label`, `origin` and `class_want`."""
        labels, want = table["label"].to_numpy(), table["class_want"].to_numpy()
        is_varied = np.array([origin == "classic" for origin in table["origin"].to_pylist()], bool)
        mask = np.zeros(len(table), bool)
        for label in np.unique(labels):
            for side in (is_varied, ~is_varied):
                rows = np.flatnonzero((labels == label) & side)
                mask[rows[: want[rows[0]]] if len(rows) else rows] = True
        return mask

    def explain(self, row: Mapping[str, object]) -> str:
        """Say how many are wanted."""
        return f"the plan wants {show(row['class_want'])} of class {show(row['class_name'])}; the first in order get the places"
