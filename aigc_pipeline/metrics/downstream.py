"""The downstream model: a network trained by an arm's rules and read on untouched samples.

Arms differ in their loss, in how real rows are drawn, and in whether synthetic rows are mixed in. All take the same
number of optimizer steps: with epochs instead of steps held equal, synthetic data looks ten points better than it is.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name all of torch uses
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.data.loader import LabelledCells, concatenate
from aigc_pipeline.metrics.smote import Interpolated, joined, smote, whole
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.training.batch import Batch
from aigc_pipeline.training.devices import resident
from aigc_pipeline.training.loop import Hooks, LoopSettings, Networks, Phase, Sampler, TrainingData, train
from aigc_pipeline.training.samplers import ClassPower, Mixed
from aigc_pipeline.training.schedule import Cosine

Loss = Literal["cross_entropy", "class_weights", "balanced_softmax"]
_LEARNING_RATE = 2e-3
_WEIGHT_DECAY = 1e-3
_PREDICT_ROWS = 1_024
_BUILDING = threading.Lock()
"""Start weights come from torch's one global generator; trainings run side by side."""


@dataclass(frozen=True)
class Arm:
    """One way to train. `dose` is the share of synthetic rows in a batch, `loss_weight` their weight in the loss."""

    name: str
    loss: Loss
    dose: float = 0.0
    loss_weight: float = 1.0
    is_varied: bool = True
    """Vary every row anew each time it is shown (classic augmentation)."""
    is_resampled: bool = False
    """Draw real rows so that every class comes equally often."""
    is_oversampled: bool = False
    """Bring every class up to the largest by SMOTE first."""


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
    build: Callable[[], nn.Module] | None = None,
    importance: NDArray[np.float32] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> nn.Module:
    """Train one network; returns it in evaluation mode.

    Args:
        build: makes the network `[n, *shape] -> [n, classes]`; the modality's small one from scratch by default.
        importance: `[len(synthetic)]`: further loss weights of synthetic rows, 1 on average.
        progress: called with samples seen and their total after every step; what it raises ends the training.
    """
    modality, device = modality_of(spec), budget.device
    synthetic = synthetic if arm.dose > 0 else None
    with _BUILDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(budget.seed)
        network = (build() if build else modality.network(spec, num_classes)).to(device)
    prior = torch.from_numpy(class_prior(arm, real, synthetic, num_classes)).to(device)
    train(
        {"model": network},
        [
            Phase(
                "model",
                ("model",),
                _Objective(spec, arm, prior),
                Cosine(_LEARNING_RATE, 0.0),
                weight_decay=_WEIGHT_DECAY,
            )
        ],
        _training_data(arm, real, synthetic, importance, spec, budget),
        LoopSettings(budget.total_samples, budget.batch_size, budget.seed),
        hooks=Hooks(progress=progress) if progress else None,
    )
    return network.eval()


def bytes_of_training(num_rows: int, spec: SampleSpec) -> int:
    """Return the memory of a training's samples."""
    return num_rows * math.prod(spec.shape) * torch.float32.itemsize


def _training_data(
    arm: Arm,
    real: LabelledCells,
    synthetic: LabelledCells | None,
    importance: NDArray[np.float32] | None,
    spec: SampleSpec,
    budget: Budget,
) -> TrainingData:
    """Return the rows of an arm: real ones, those of SMOTE, synthetic ones."""
    cells = real if synthetic is None else concatenate(real, synthetic)
    x, device = modality_of(spec).to_tensor(cells.cells, spec), budget.device
    if not arm.is_oversampled:
        sampler, weights = _batches(arm, real.labels, synthetic, importance, device)
        return TrainingData(resident(x, device), torch.from_numpy(cells.labels).to(device), sampler, weights)
    rows = np.arange(len(cells))
    new = smote(x[: len(real)], real.labels, numpy_generator(budget.seed, "smote"))
    segments = joined(whole(rows[: len(real)]), new, whole(rows[len(real) :]))
    labels = cells.labels[segments.start]
    sampler, weights = _batches(arm, labels[: len(real) + len(new)], synthetic, importance, device)
    return Interpolated(
        resident(x, device), torch.from_numpy(labels).to(device), sampler, weights, segments=segments, spec=spec
    )


def _batches(
    arm: Arm,
    real: NDArray[np.int64],
    synthetic: LabelledCells | None,
    importance: NDArray[np.float32] | None,
    device: torch.device,
) -> tuple[Sampler, Float[Tensor, " n"]]:
    """Return how batches are drawn from rows with the labels `real` and synthetic rows behind them, and loss weights."""
    from_real = ClassPower(torch.from_numpy(real).to(device), 0.0 if arm.is_resampled else 1.0)
    if synthetic is None:
        return from_real, torch.ones(len(real), device=device)
    weights = torch.ones(len(real) + len(synthetic), device=device)
    weights[len(real) :] = arm.loss_weight
    if importance is not None:
        weights[len(real) :] *= torch.from_numpy(importance).to(device)
    from_synthetic = ClassPower(torch.from_numpy(synthetic.labels).to(device), 1.0)
    return Mixed((from_real, from_synthetic), (1 - arm.dose, arm.dose)), weights


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
    counts = real.class_counts(num_classes)
    is_balanced = arm.is_resampled or arm.is_oversampled
    shares = (counts > 0) / np.count_nonzero(counts) if is_balanced else counts / len(real)
    if synthetic is not None and arm.dose > 0:
        mixed = synthetic.class_counts(num_classes) / len(synthetic)
        shares = (1 - arm.dose) * shares + arm.dose * arm.loss_weight * mixed
    return np.asarray(shares / shares.sum(), np.float32)


class _Objective:
    """Weighted cross-entropy, with the class prior taken into account as the arm says."""

    def __init__(self, spec: SampleSpec, arm: Arm, prior: Float[Tensor, " k"]) -> None:
        self.spec, self.modality, self.arm, self.prior = spec, modality_of(spec), arm, prior.clamp_min(1e-6)

    def __call__(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        x = batch.x
        if self.arm.is_varied:
            x = self.modality.vary(
                x, batch.draws.of(lambda n, rng: self.modality.draw_variation(n, rng, self.spec)), self.spec
            )
        logits = networks["model"](x)
        weights = batch.weights
        if self.arm.loss == "balanced_softmax":  # Ren et al. 2020, Eq. 3
            logits = logits + self.prior.log()
        if self.arm.loss == "class_weights":
            weights = weights / (self.prior[batch.labels] * len(self.prior))
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        return (losses * weights).sum() / weights.sum(), {}


def balanced_accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Return the mean over classes of the share of correct predictions, in [0, 1]."""
    correct = predicted == labels
    return float(np.mean([correct[labels == label].mean() for label in np.unique(labels)]))
