"""What stands for rows so that distances are bounded from below at a fraction of the price."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

NUM_COMPONENTS = 128
"""To find the nearest row: fewer leave many rows of colour pictures to measure; more take longer to compare (docs/LOG.md)."""
_SHORT = 4
"""Rows of so many times the components, or shorter, stand for themselves: looking closer costs more than components save."""
_COMPONENT_ROWS = 512
"""Rows that the components are read off: any will do, since they decide the time alone."""
_WIDENED_ROWS = 256
_ROUNDING, _DOUBLE_ROUNDING = 2.0**-24, 2.0**-53


@dataclass(frozen=True)
class BoundingSpace:
    """Numbers that stand for rows; their distances never exceed those of the rows.

    Either the rows themselves, less their center, or their leading principal components and the length of what these
    leave out: by the triangle inequality, |x - y|^2 >= |Px - Py|^2 + (|x - PPx| - |y - PPy|)^2.
    """

    center: Float64[Tensor, " d"]
    """Distances do not change with the origin; rounding errors shrink."""
    components: Float64[Tensor, "d c"] | None
    """Orthonormal directions; None where the centered rows stand for themselves."""

    @classmethod
    def of(cls, points: Float[Tensor, "n d"], num_components: int = NUM_COMPONENTS) -> "BoundingSpace":
        """Choose principal components, or none where they save nothing."""
        center = points.mean(0).double().nan_to_num(0, 0, 0)
        if min(points.shape) <= _SHORT * num_components:
            return cls(center, None)
        some = points[:: -(-len(points) // _COMPONENT_ROWS)] - center
        if not some.isfinite().all():
            return cls(center, None)
        vectors = torch.linalg.eigh(some @ some.T).eigenvectors[:, -num_components:]
        return cls(center, torch.linalg.qr(some.T @ vectors).Q)

    @property
    def whole(self) -> "BoundingSpace":
        """The space of the rows themselves."""
        return BoundingSpace(self.center, None)

    @property
    def slack(self) -> float:
        """Share of the squared norms by which rounding may raise a squared distance at most.

        It holds for every order of summation: a product of c terms is off by at most c u |x||y| (Higham 2002, Accuracy
        and Stability of Numerical Algorithms, Eq. 3.5), the norms and the centering by a few u more. What components leave
        out is a difference of squares in float64, off by less than 20 d u |x|^2, before its root is taken.
        """
        size = len(self.center)
        if self.components is None:
            return (2 * size + 16) * _ROUNDING
        return (2 * self.components.shape[1] + 32) * _ROUNDING + 4 * math.sqrt(20 * size * _DOUBLE_ROUNDING)

    @property
    def double_slack(self) -> float:
        """The same for the rows themselves in float64."""
        return (2 * len(self.center) + 16) * _DOUBLE_ROUNDING

    def __call__(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Return what stands for some rows."""
        if self.components is None:
            return rows - self.center.float()
        numbers = torch.empty(len(rows), self.components.shape[1] + 1)
        for start in range(0, len(rows), _WIDENED_ROWS):
            centered = rows[start : start + _WIDENED_ROWS] - self.center
            leading = centered @ self.components
            left = torch.linalg.vector_norm(centered, dim=1).square() - leading.square().sum(1)
            part = numbers[start : start + _WIDENED_ROWS]
            part[:, :-1], part[:, -1] = leading, left.clamp_min(0).sqrt()
        return numbers
