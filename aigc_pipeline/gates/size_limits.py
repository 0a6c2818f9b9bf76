"""A gate on a picture's size: too small to show its subject, or so long that the centre crop would lose it."""

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from aigc_pipeline.core.errors import DataError
from aigc_pipeline.core.strict import Member
from aigc_pipeline.gates.base import Mask


class SizeLimits(Member):
    """Keep pictures whose short side is long enough and whose sides are alike enough."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"image"})
    kind: Literal["size_limits"] = "size_limits"
    min_side_px: int = Field(default=8, ge=1)
    """Least length of the short side that passes."""
    max_aspect: float = Field(default=4.0, ge=1)
    """Largest ratio of the long to the short side that passes."""

    def judge(self, table: pa.Table) -> Mask:
        """Read `width` and `height`, in px."""
        if missing := {"width", "height"} - set(table.column_names):
            msg = f"size_limits reads the columns {sorted(missing)}, which {table.column_names} lacks"
            raise DataError(msg)
        width, height = table["width"].to_numpy(), table["height"].to_numpy()
        short, long = np.minimum(width, height), np.maximum(width, height)
        return np.asarray((short >= self.min_side_px) & (long <= self.max_aspect * short), bool)
