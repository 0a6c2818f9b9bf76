"""The `vector` modality: a sample's content is its float32 numbers, little endian. Its harmless shift is none at all."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor, nn

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.data.shards import cells_from_numpy, cells_to_numpy
from aigc_pipeline.modalities.base import Facts, FloatArray, Reject, Variation
from aigc_pipeline.modalities.vector.spec import VectorSpec

_JITTER = 0.05  # of the training spread: small against any structure a mixture of points can have
_HIDDEN = 64


class VectorModality:
    """See `Modality` for what each verb promises."""

    kind: ClassVar[str] = "vector"
    extensions: ClassVar[frozenset[str]] = frozenset({".f32"})
    folder: ClassVar[str] = "vectors"
    suffix: ClassVar[str] = ".f32"
    tolerance: ClassVar[float] = 1e-5

    def inspect(self, content: bytes) -> Facts | Reject:
        """Accept any whole number of finite float32 numbers."""
        if not content or len(content) % 4:
            return Reject("unreadable", f"{len(content)} bytes are no whole number of float32 values")
        values = np.frombuffer(content, "<f4")
        if not np.isfinite(values).all():
            return Reject("not_finite", "the vector holds NaN or infinity")
        return {"num_values": len(values), "sum_squares": float(np.square(values, dtype=np.float64).sum())}

    def fit(
        self,
        facts: pa.Table,
        *,
        size: int | None = None,
        symmetries: tuple[str, ...] = (),
        keep_alpha: bool = False,
    ) -> VectorSpec:
        """Take the commonest length and the root-mean-square value of the training split.

        Raises:
            ConfigError: if a setting of pictures is given: points have nothing of the kind.
        """
        asked = {"size": size, "symmetries": list(symmetries), "keep_alpha": keep_alpha}
        if given := [f"split.{name} ({value})" for name, value in asked.items() if value]:
            msg = f"{' and '.join(given)} cannot be honoured: the samples are vectors, not pictures. Leave it out."
            raise ConfigError(msg)
        lengths = facts["num_values"].to_numpy()
        num_values = int(np.bincount(lengths).argmax())
        mean_square = facts["sum_squares"].to_numpy()[lengths == num_values].mean() / num_values
        return VectorSpec(num_values=num_values, scale=float(np.sqrt(mean_square)) or 1.0)

    def decode(self, contents: Sequence[bytes], spec: VectorSpec) -> pa.Array:
        """Cut or zero-pad to the spec's length."""
        points = np.zeros((len(contents), spec.num_values), np.float32)
        for row, content in zip(points, contents, strict=True):
            values = np.frombuffer(content, "<f4")[: spec.num_values]
            row[: len(values)] = values
        return cells_from_numpy(points)

    def to_tensor(self, cells: pa.Array, spec: VectorSpec) -> Float[Tensor, "n d"]:
        """Divide by the scale."""
        return torch.from_numpy(np.array(cells_to_numpy(cells, spec.shape), np.float32)) / spec.scale

    def from_tensor(self, x: Float[Tensor, "n d"], spec: VectorSpec) -> pa.Array:
        """Multiply by the scale."""
        return cells_from_numpy((x.detach().float().cpu() * spec.scale).numpy())

    def views(self, cells: pa.Array, spec: VectorSpec) -> Iterator[FloatArray]:
        """Yield the scaled points alone."""
        yield np.asarray(cells_to_numpy(cells, spec.shape), np.float32) / np.float32(spec.scale)

    def encode(self, cells: pa.Array, spec: VectorSpec) -> list[bytes] | None:  # noqa: ARG002 - points live inline
        """Return None: the table itself carries the numbers."""
        return None

    def columns(self, cells: pa.Array, spec: VectorSpec) -> pa.Table:
        """Return the column `values`, a list of float32."""
        points = cells_to_numpy(cells, spec.shape)
        return pa.table({"values": pa.array(list(points), pa.list_(pa.field("item", pa.float32())))})

    def html(self, cells: pa.Array, spec: VectorSpec) -> list[str]:
        """Show the numbers with three digits."""
        points = cells_to_numpy(cells, spec.shape)
        return ["<code>" + ", ".join(f"{value:.3g}" for value in point) + "</code>" for point in points]

    def grid(self, cells: pa.Array, spec: VectorSpec, columns: int) -> bytes | None:  # noqa: ARG002 - nothing to draw
        """Return None."""
        return None

    def network(self, spec: VectorSpec, out_features: int, *, is_large: bool = False) -> nn.Module:
        """Return a multilayer perceptron with two hidden layers; the large one is four times as wide."""
        width = 4 * _HIDDEN if is_large else _HIDDEN
        return nn.Sequential(
            nn.Linear(spec.num_values, width),
            nn.LeakyReLU(0.1),
            nn.Linear(width, width),
            nn.LeakyReLU(0.1),
            nn.Linear(width, out_features),
        )

    def draw_variation(
        self, num_samples: int, generator: torch.Generator, spec: VectorSpec, *, strength: float = 1.0
    ) -> Variation:
        """Draw a small jitter."""
        noise = torch.randn(num_samples, spec.num_values, generator=generator, device=generator.device)
        return {"jitter": noise * (strength * _JITTER)}

    def vary(
        self, x: Float[Tensor, "n d"], variation: Variation, spec: VectorSpec, *, is_sharp: bool = False
    ) -> Float[Tensor, "n d"]:
        """Add the jitter."""
        del spec, is_sharp  # nothing is resampled
        return x + variation["jitter"]
