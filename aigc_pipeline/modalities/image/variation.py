"""Label-safe variation of pictures: small geometry, drawn once and applied in a single resampling.

The elastic field was measured to help most where a class is small. Colour is left alone: it can be the label.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name all of torch uses
from jaxtyping import Float
from torch import Tensor

from aigc_pipeline.modalities.base import Variation
from aigc_pipeline.modalities.image.spec import ImageSpec

_MAX_ANGLE_DEG = 10.0
_MAX_STRETCH = 0.1
_MAX_SHIFT = 0.08  # of the side
_ELASTIC_STD = 1.5 / 28  # of the side, at the nodes
_ELASTIC_NODES = 6


def draw_variation(num_samples: int, generator: torch.Generator, spec: ImageSpec, strength: float = 1.0) -> Variation:
    """Draw legal mirrorings, a rotation, a scale, a shift and an elastic field for each of `num_samples` pictures.

    All but the mirrorings are `strength` times as far from nothing as their ranges go.
    """

    def uniform(low: float, high: float) -> Float[Tensor, " n"]:
        return low + (high - low) * torch.rand(num_samples, generator=generator, device=generator.device)

    flips = {f"flip_{symmetry}": uniform(0, 1) < 0.5 for symmetry in spec.symmetries}
    nodes = (num_samples, 2, _ELASTIC_NODES, _ELASTIC_NODES)
    return flips | {
        "angle_deg": strength * uniform(-_MAX_ANGLE_DEG, _MAX_ANGLE_DEG),
        "scale": 1 + strength * uniform(-_MAX_STRETCH, _MAX_STRETCH),
        "shift_x": strength * uniform(-_MAX_SHIFT, _MAX_SHIFT),
        "shift_y": strength * uniform(-_MAX_SHIFT, _MAX_SHIFT),
        "elastic": strength * _ELASTIC_STD * torch.randn(nodes, generator=generator, device=generator.device),
    }


def vary(
    x: Float[Tensor, "n c h w"], variation: Variation, spec: ImageSpec, *, is_sharp: bool = False
) -> Float[Tensor, "n c h w"]:
    """Mirror, then rotate (counterclockwise), enlarge, shift (right, down) and bend each picture; differentiable in x.

    Each output pixel is traced back to its place in `x` and interpolated there once; beyond the edge the edge repeats.
    Bilinear interpolation blurs: pictures that are stored and varied again when they are used take the bicubic one.
    """
    height, width = x.shape[2:]
    grid = F.affine_grid(_affine(variation, aspect=width / height), [len(x), 1, height, width], align_corners=False)
    field = F.interpolate(variation["elastic"], size=(height, width), mode="bicubic", align_corners=True)
    grid = (grid + 2 * field.movedim(1, -1)) * _mirror(variation, spec)  # the grid's side is 2
    if not is_sharp:
        return F.grid_sample(x, grid.to(x), mode="bilinear", padding_mode="border", align_corners=False)
    return F.grid_sample(x, grid.to(x), mode="bicubic", padding_mode="border", align_corners=False).clamp(-1, 1)


def _affine(variation: Variation, *, aspect: float) -> Float[Tensor, "n 2 3"]:
    """Return the map from output to input coordinates, each axis in [-1, 1]; the aspect keeps rotations rigid."""
    angle = variation["angle_deg"] * (math.pi / 180)
    cosine, sine = angle.cos() / variation["scale"], angle.sin() / variation["scale"]
    rows = torch.stack([cosine, -sine / aspect, sine * aspect, cosine], dim=1)
    linear = rows.reshape(-1, 2, 2)
    shift = torch.stack([variation["shift_x"], variation["shift_y"]], dim=1)[:, :, None]
    return torch.cat([linear, -2 * linear @ shift], dim=2)


def _mirror(variation: Variation, spec: ImageSpec) -> Float[Tensor, "n 1 1 2"]:
    """Return -1 for each axis (x, y) that is mirrored, else 1."""
    sign = torch.ones_like(variation["elastic"][:, :, 0, 0])
    for axis, symmetry in enumerate(("horizontal", "vertical")):
        if symmetry in spec.symmetries:
            sign[:, axis] -= 2.0 * variation[f"flip_{symmetry}"]
    return sign[:, None, None, :]
