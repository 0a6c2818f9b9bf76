"""A small encoder trained on the training split: cross-entropy plus a contrastive loss. Its head is the label referee.

Supervised features under-rate collapse, contrastive ones under-rate missing classes; the sum is best or near best on
both. Label smoothing 0.05; NT-Xent (Chen et al. 2020, Eq. 1) at temperature 0.2 over two label-safe
variations. Noise and blur are not used as variation: the metric must see them.
"""

from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name all of torch uses
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.core.strict import Member
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.features.base import EncoderNetwork, FittedEncoder, finish
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.training.batch import Batch
from aigc_pipeline.training.devices import resident
from aigc_pipeline.training.loop import Hooks, LoopSettings, Networks, Phase, TrainingData, Validation, train
from aigc_pipeline.training.samplers import ClassPower
from aigc_pipeline.training.schedule import Cosine

_LABEL_SMOOTHING = 0.05
_TEMPERATURE = 0.2
_LARGE_DATA = 20_000
_CHECKS = 12
_CHECKED_AT_ONCE = 1_024


class Classifier(Member):
    """Encoder and referee in one network."""

    handles: ClassVar[frozenset[str] | None] = None

    kind: Literal["classifier"] = "classifier"
    num_features: int | None = Field(default=None, ge=2)
    """Feature dimension; None means 64, and 128 above 20,000 training samples."""
    total_samples: int | None = Field(default=None, ge=1)
    """Samples to train on at most; None means 60 per training sample within 20,000 .. 400,000."""
    batch_size: int = Field(default=64, ge=2)
    """Samples per step; each is seen in two variations."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Start of a cosine to zero."""
    patience: int = Field(default=4, ge=1)
    """Checks on the selection split without progress before training stops; there are 12 in all."""

    @property
    def feature_space(self) -> str:
        """The kind."""
        return self.kind

    def build(self, spec: SampleSpec, num_classes: int, num_train: int, seed: int) -> EncoderNetwork:
        """Return trunk and head."""
        size = self.num_features or (128 if num_train > _LARGE_DATA else 64)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return EncoderNetwork(modality_of(spec).network(spec, size), size, num_classes)

    def samples_to_see(self, num_train: int) -> int:
        """Return how many samples are trained on at most."""
        return self.total_samples or int(np.clip(60 * num_train, 20_000, 400_000))

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
        """Train with early stopping on selection accuracy."""
        network = self.build(spec, num_classes, len(train), seed).to(device)
        data = training_data(train, spec, device)
        total = self.samples_to_see(len(train))
        _train(
            {"encoder": network},
            [Phase("encoder", ("encoder",), _Objective(spec), Cosine(self.learning_rate, 0.0), weight_decay=1e-3)],
            data,
            LoopSettings(total, self.batch_size, seed),
            validation=_validation(selection, spec, device, max(total // _CHECKS, self.batch_size), self.patience),
            hooks=hooks,
        )
        return finish(self.feature_space, network, train, spec, has_head=True)


_train = train  # the loop; `train` is also this file's word for a split


def training_data(train: LabelledCells, spec: SampleSpec, device: torch.device) -> TrainingData:
    """Put a split on the device if it is small enough; classes are drawn with power 0.5, so that rare ones are seen."""
    labels = torch.from_numpy(train.labels).to(device)
    x = resident(modality_of(spec).to_tensor(train.cells, spec), device)
    return TrainingData(x, labels, ClassPower(labels, 0.5))


class _Objective:
    """Cross-entropy on both variations plus NT-Xent between them."""

    def __init__(self, spec: SampleSpec) -> None:
        self.spec, self.modality = spec, modality_of(spec)

    def __call__(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        encoder = networks["encoder"]
        pair = torch.cat([batch.x, batch.x])
        varied = self.modality.vary(
            pair, self.modality.draw_variation(len(pair), batch.draws.generator, self.spec), self.spec
        )
        features: Tensor = encoder.trunk(varied)  # type: ignore[operator]
        logits: Tensor = encoder.head(torch.relu(features))  # type: ignore[operator]
        supervised = F.cross_entropy(logits, batch.labels.repeat(2), label_smoothing=_LABEL_SMOOTHING)
        contrastive = nt_xent(*features.chunk(2), temperature=_TEMPERATURE)
        return supervised + contrastive, {"cross_entropy": supervised, "nt_xent": contrastive}


def nt_xent(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], *, temperature: float) -> Float[Tensor, ""]:
    """Return the normalized temperature-scaled cross-entropy of Chen et al. 2020, Eq. 1; rows i of both are a pair."""
    z = F.normalize(torch.cat([a, b]), dim=1)
    similarity = z @ z.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    n = len(a)
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(similarity, partner)


def _validation(
    selection: LabelledCells, spec: SampleSpec, device: torch.device, every: int, patience: int
) -> Validation | None:
    if not len(selection):
        return None
    x = resident(modality_of(spec).to_tensor(selection.cells, spec), device)
    labels = torch.from_numpy(selection.labels).to(device)

    @torch.no_grad()
    def accuracy(networks: Networks) -> dict[str, float]:
        encoder = networks["encoder"]
        features = torch.cat([encoder.trunk(part.to(device)) for part in torch.split(x, _CHECKED_AT_ONCE)])  # type: ignore[operator]
        logits: Tensor = encoder.head(torch.relu(features))  # type: ignore[operator]
        return {"accuracy": float((logits.argmax(1) == labels).float().mean())}

    return Validation(every, accuracy, patience, decides="accuracy")
