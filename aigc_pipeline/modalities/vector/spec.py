"""The spec of a point: how many numbers it has and the scale that brings the training split to unit spread."""

from typing import Literal

from aigc_pipeline.core.samples import SampleSpec


class VectorSpec(SampleSpec):
    """Points of `num_values` float32 numbers; in networks they are divided by `scale`."""

    kind: Literal["vector"] = "vector"
    num_values: int
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        """`(num_values,)`."""
        return (self.num_values,)
