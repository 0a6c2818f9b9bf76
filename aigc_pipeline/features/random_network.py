"""A random, untrained network as encoder: free, deterministic, independent of labels. The judge of published distances.

Random convolutional features rank degradations sensibly and cannot have been optimized by the
filter, which reads the trained encoder. Also the only encoder below 100 training samples.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.core.strict import Member
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.features.base import EncoderNetwork, FittedEncoder, finish
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.training.loop import Hooks


class RandomNetwork(Member):
    """The modality's default network with random weights."""

    handles: ClassVar[frozenset[str] | None] = None

    kind: Literal["random_network"] = "random_network"
    num_features: int = Field(default=64, ge=2)
    """Feature dimension; small, because the bias of Frechet distances grows with its square."""

    @property
    def feature_space(self) -> str:
        """The kind."""
        return self.kind

    def build(self, spec: SampleSpec, num_classes: int, num_train: int, seed: int) -> EncoderNetwork:
        """Return a network without class head."""
        del num_classes, num_train
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return EncoderNetwork(modality_of(spec).network(spec, self.num_features), self.num_features, 0)

    def fit(
        self,
        train: LabelledCells,
        selection: LabelledCells,
        *,
        spec: SampleSpec,
        num_classes: int,
        seed: int,
        device: torch.device,
        hooks: Hooks,
    ) -> FittedEncoder:
        """Standardize; there is nothing to train."""
        del selection, hooks
        network = self.build(spec, num_classes, len(train), seed).to(device)
        return finish(self.feature_space, network, train, spec, has_head=False)
