"""Classic augmentation as a family without training: each sample varies one real parent, which its row names.

Geometry (flips where legal, rotation, scale, shift, elastic) is the modality's; this file only draws it per seed, so
that a sample can be rebuilt from parent and seed.
"""

import json
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from aigc_pipeline.core.errors import DataError
from aigc_pipeline.core.samples import Origin, SampleSpec
from aigc_pipeline.generators.base import Family, Synthesis
from aigc_pipeline.modalities import Variation, modality_of
from aigc_pipeline.training.loop import Networks, Phase


class Classic(Family):
    """Label-safe variation of real samples. Needs no training and no minimum class size."""

    handles: ClassVar[frozenset[str] | None] = None
    paper: ClassVar[str] = (
        'Simard et al. 2003, "Best practices for convolutional neural networks" (elastic); flips, rotation, scale, shift'
    )
    choose_when: ClassVar[str] = "few samples, or as the honest comparison: needs no training."
    uses_parents: ClassVar[bool] = True
    is_trained: ClassVar[bool] = False

    kind: Literal["classic"] = "classic"
    strength: float = Field(default=0.5, gt=0, le=1)
    """How far stored samples are varied, in the ranges of the variation that trainings apply anew to every row shown. Both
    add up: rows stored at 1 harm small classes where trainings vary them again (docs/LOG.md)."""

    @property
    def origin(self) -> Origin:
        """Derived from a parent."""
        return "classic"

    @property
    def samples_side_by_side(self) -> bool:
        """Return True."""
        return True

    @property
    def batch_size(self) -> int:
        """Nothing is trained."""
        return 1

    @property
    def ema_half_life_samples(self) -> float:
        """Nothing is trained."""
        return 0.0

    def networks(self, spec: SampleSpec, num_classes: int, seed: int) -> dict[str, nn.Module]:
        """Return none."""
        del spec, num_classes, seed
        return {}

    def phases(self, spec: SampleSpec, num_train: int) -> list[Phase]:
        """Return none."""
        del spec, num_train
        return []

    def sample(
        self,
        networks: Networks,
        seeds: Sequence[int],
        labels: Int[Tensor, " n"],
        *,
        spec: SampleSpec,
        parents: Float[Tensor, "n *shape"] | None = None,
    ) -> Synthesis:
        """Vary `parents[i]` by a draw from `seeds[i]`.

        Raises:
            DataError: without parents.
        """
        del networks, labels
        if parents is None:
            msg = "the classic family varies real samples and was given no parents"
            raise DataError(msg)
        modality = modality_of(spec)
        draws = [
            modality.draw_variation(1, torch.Generator().manual_seed(seed), spec, strength=self.strength)
            for seed in seeds
        ]
        variation = {name: torch.cat([draw[name] for draw in draws]).to(parents.device) for name in draws[0]}
        return Synthesis(modality.vary(parents, variation, spec, is_sharp=True), [_describe(draw) for draw in draws])


def _describe(draw: Variation) -> str:
    """Return the scalar parameters as JSON; fields (elastic) follow from the row's seed."""
    scalars = {name: round(float(value), 6) for name, value in draw.items() if value.numel() == 1}
    fields = {name: "from seed" for name, value in draw.items() if value.numel() != 1}
    return json.dumps(scalars | fields, sort_keys=True)
