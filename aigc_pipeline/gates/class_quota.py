"""No more accepted samples of a class than the plan wants: the first ones in index order."""

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from aigc_pipeline.core.strict import Member
from aigc_pipeline.gates.base import Mask


class ClassQuota(Member):
    """A set gate: counts the survivors it is given. What it refuses was good, only not wanted."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["class_quota"] = "class_quota"

    def judge(self, table: pa.Table) -> Mask:
        """Read `label` and `class_want`."""
        labels, want = table["label"].to_numpy(), table["class_want"].to_numpy()
        mask = np.zeros(len(table), bool)
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            mask[rows[: want[rows[0]]]] = True
        return mask
