"""The downstream model: a small network from scratch, trained by an arm's rules and read on untouched samples.

Arms differ only in their loss and in whether synthetic rows are mixed in. All take the same number of optimizer steps
and the same classic variation: with epochs instead of steps held equal, synthetic data looks ten points better than it is.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name all of torch uses
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.data.loader import LabelledCells, concatenate
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.training.loop import Batch, LoopSettings, Networks, Phase, Sampler, TrainingData, train
from aigc_pipeline.training.samplers import ClassPower, Mixed
from aigc_pipeline.training.schedule import Cosine

Loss = Literal["cross_entropy", "class_weights", "balanced_softmax"]
_LEARNING_RATE = 2e-3
_WEIGHT_DECAY = 1e-3
_PREDICT_ROWS = 1_024


@dataclass(frozen=True)
class Arm:
    """One way to train. `dose` is the share of synthetic rows in a batch, `loss_weight` their weight in the loss."""

    name: str
    loss: Loss
    dose: float = 0.0
    loss_weight: float = 1.0


@dataclass(frozen=True)
class Budget:
    """The same for every arm of a comparison."""

    total_samples: int
    batch_size: int
    seed: int
    device: torch.device


def fit_downstream(
    arm: Arm,
    real: LabelledCells,
    synthetic: LabelledCells | None,
    *,
    spec: SampleSpec,
    num_classes: int,
    budget: Budget,
) -> nn.Module:
    """Train one network; returns it in evaluation mode."""
    modality, device = modality_of(spec), budget.device
    uses_synthetic = synthetic is not None and arm.dose > 0
    rows = concatenate(real, synthetic) if uses_synthetic and synthetic is not None else real
    labels = torch.from_numpy(rows.labels).to(device)
    weights = torch.ones(len(rows), device=device)
    sampler: Sampler = ClassPower(labels, 1.0)
    if uses_synthetic:
        weights[len(real) :] = arm.loss_weight
        sampler = Mixed((len(real), len(rows) - len(real)), (1 - arm.dose, arm.dose))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(budget.seed)
        network = modality.network(spec, num_classes).to(device)
    objective = _Objective(spec, arm.loss, torch.from_numpy(class_prior(arm, real, synthetic, num_classes)).to(device))
    train(
        {"model": network},
        [Phase("model", ("model",), objective, Cosine(_LEARNING_RATE, 0.0), weight_decay=_WEIGHT_DECAY)],
        TrainingData(modality.to_tensor(rows.cells, spec).to(device), labels, sampler, weights),
        LoopSettings(budget.total_samples, budget.batch_size, budget.seed),
    )
    return network.eval()


@torch.no_grad()
def predict(network: nn.Module, samples: LabelledCells, spec: SampleSpec, device: torch.device) -> NDArray[np.int64]:
    """Return the predicted class per sample, `[n]`."""
    modality, parts = modality_of(spec), []
    for start in range(0, len(samples), _PREDICT_ROWS):
        x = modality.to_tensor(samples.cells.slice(start, _PREDICT_ROWS), spec).to(device)
        parts.append(network(x).argmax(1).cpu().numpy())
    return np.concatenate(parts).astype(np.int64)


def class_prior(
    arm: Arm, real: LabelledCells, synthetic: LabelledCells | None, num_classes: int
) -> NDArray[np.float32]:
    """Return the class shares that the loss effectively sees, `[classes]`: real and synthetic mixed by dose and weight."""
    shares = real.class_counts(num_classes) / len(real)
    if synthetic is not None and arm.dose > 0:
        mixed = synthetic.class_counts(num_classes) / len(synthetic)
        shares = (1 - arm.dose) * shares + arm.dose * arm.loss_weight * mixed
    return np.asarray(shares / shares.sum(), np.float32)


class _Objective:
    """Weighted cross-entropy on varied samples, with the class prior taken into account as the arm says."""

    def __init__(self, spec: SampleSpec, loss: Loss, prior: Float[Tensor, " k"]) -> None:
        self.spec, self.modality, self.loss, self.prior = spec, modality_of(spec), loss, prior.clamp_min(1e-6)

    def __call__(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        variation = self.modality.draw_variation(len(batch.x), batch.rng, self.spec)
        logits = networks["model"](self.modality.vary(batch.x, variation, self.spec))
        weights = batch.weights
        if self.loss == "balanced_softmax":  # Ren et al. 2020, Eq. 3
            logits = logits + self.prior.log()
        if self.loss == "class_weights":
            weights = weights / (self.prior[batch.labels] * len(self.prior))
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        return (losses * weights).sum() / weights.sum(), {}


def balanced_accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Return the mean over classes of the share of correct predictions, in [0, 1]."""
    correct = predicted == labels
    return float(np.mean([correct[labels == label].mean() for label in np.unique(labels)]))
