"""A gate on empty pictures: one flat color teaches a generator nothing and makes every distance small."""

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from aigc_pipeline.core.errors import DataError
from aigc_pipeline.core.strict import Member
from aigc_pipeline.gates.base import Mask


class Constant(Member):
    """Keep pictures whose brightness varies."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"image"})
    kind: Literal["constant"] = "constant"
    min_luma_std: float = Field(default=2.0, ge=0)
    """Least standard deviation of luma, in steps of 0..255, that passes. Transparency counts as white: leave the gate out
    for white shapes on it."""

    def judge(self, table: pa.Table) -> Mask:
        """Read `luma_std`."""
        if "luma_std" not in table.column_names:
            msg = f"constant reads the column luma_std, which {table.column_names} lacks"
            raise DataError(msg)
        return np.asarray(table["luma_std"].to_numpy() >= self.min_luma_std, bool)
