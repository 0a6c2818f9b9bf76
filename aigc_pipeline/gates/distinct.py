"""Is this sample different from every earlier candidate of its class?"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from aigc_pipeline.core.strict import Member
from aigc_pipeline.gates.base import Mask, show


class Distinct(Member):
    """Refuse repeats. Compares with earlier candidates, accepted or not, so that no other gate can change the answer."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["distinct"] = "distinct"

    def judge(self, table: pa.Table) -> Mask:
        """Read `nearest_earlier_distance` and `distinct_threshold`; the first of a class, where it is null, passes."""
        distance = table["nearest_earlier_distance"].to_numpy()
        return np.asarray(np.isnan(distance) | (distance > table["distinct_threshold"].to_numpy()))

    def explain(self, row: Mapping[str, object]) -> str:
        """Name distance and limit, or that nothing came before."""
        distance = show(row["nearest_earlier_distance"])
        if distance == show(None):
            return f"its nearest_earlier_distance is {distance}: it is the first candidate of its class, and passes"
        meaning = (
            "the limit for samples made from a real one, which are near each other on purpose"
            if row["parent_ids"]
            else "the nearest that training samples come to one another"
        )
        return f"nearest_earlier_distance {distance} must be over {show(row['distinct_threshold'])}, {meaning}"
