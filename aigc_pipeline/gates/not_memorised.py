"""Is this sample nearer to a training sample than real hold-out samples are? Near-copy screening, never a privacy proof."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from aigc_pipeline.core.strict import Member
from aigc_pipeline.gates.base import Mask, show


class NotMemorised(Member):
    """Refuse copies. The threshold is the 1 % quantile of hold-out distances, never under an absolute floor.

    The floor keeps the gate alive where hold-out samples are near-copies themselves (burst photographs). Classic
    samples derive from a declared parent on purpose; the distance they are judged by leaves their parents out.
    """

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["not_memorised"] = "not_memorised"

    def judge(self, table: pa.Table) -> Mask:
        """Read `train_distance` and `copy_threshold`; a distance of exactly the threshold is a copy."""
        return np.asarray(table["train_distance"].to_numpy() > table["copy_threshold"].to_numpy())

    def explain(self, row: Mapping[str, object]) -> str:
        """Name distance and limit."""
        return (
            f"train_distance {show(row['train_distance'])} must be over copy_threshold {show(row['copy_threshold'])}"
            f" (quantile among unseen reals: {show(row.get('train_distance_quantile'))})"
        )
