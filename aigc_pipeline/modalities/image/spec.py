"""The spec of a picture: its size, its channels, and the mirrorings that leave its label true."""

from typing import Literal, get_args

from pydantic import Field

from aigc_pipeline.core.samples import SampleSpec

Symmetry = Literal["horizontal", "vertical"]
SYMMETRIES: tuple[Symmetry, ...] = get_args(Symmetry)


class ImageSpec(SampleSpec):
    """Pictures of `height` x `width` px: uint8 `h w c` as cells, float32 `c h w` in [-1, 1] in networks."""

    kind: Literal["image"] = "image"
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    channels: Literal[1, 2, 3, 4]
    """Grey, grey and alpha, RGB, RGB and alpha."""
    symmetries: tuple[Symmetry, ...] = ()

    @property
    def has_alpha(self) -> bool:
        """True where transparency is a channel."""
        return self.channels in {2, 4}

    @property
    def shape(self) -> tuple[int, ...]:
        """`(channels, height, width)`."""
        return (self.channels, self.height, self.width)

    @property
    def cell_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`: the order of the values in a cell."""
        return (self.height, self.width, self.channels)
