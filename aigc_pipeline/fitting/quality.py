"""What is measured on held-out samples while a generator trains: how far its samples are, how much D knows by heart.

Selection chooses: the weights that are kept, and the strength of augmentation. Calibration and test are never looked at.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.features import FittedEncoder
from aigc_pipeline.features.neighbours import nearest
from aigc_pipeline.features.views import first_view
from aigc_pipeline.generators.base import Generator
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.metrics.kernel import gaussian, median_squared_distance, unbiased_mmd
from aigc_pipeline.metrics.memorisation import near_copy_share
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.training.loop import Networks, Validation
from aigc_pipeline.training.strength import Adaptation, overfitting

MIN_SELECTION = 30
"""Selection samples under which nothing is chosen: noise would."""
NUM_FAKES = 500
"""Samples drawn for one look: many would cost a family of many passes more time than training does."""
_COPYING_COST = 10.0
"""In kernel distances: a thousandth of near copies too many outweighs any difference between finished generators."""
_NARROWING = 4.0
"""The kernel's variance is the reals' median squared distance divided by this: half their median distance in sigma."""
_MAX_SIGNAL_ROWS = 500
_CHUNK_ROWS = 64
_SMALL_DATA = 5_000
_SMALL_DATA_STRENGTH = 0.3
_HORIZON_SAMPLES = 500_000


def draw(
    synthesizer: Synthesizer, networks: Networks, counts: Mapping[int, int], name: str, root: int
) -> LabelledCells:
    """Return `counts[k]` samples of every class from networks in training; the same seeds every time."""
    synthesizer = replace(synthesizer, networks=networks)
    orders = synthesizer.orders(counts, name, root=root)
    cells, _ = synthesizer.make(orders)
    labels = np.array([order.label for order in orders], np.int64)
    return LabelledCells([str(i) for i in range(len(orders))], labels, cells)


def validation_of(
    synthesizer: Synthesizer,
    encoder: FittedEncoder,
    selection: LabelledCells,
    *,
    every_samples: int,
    patience: int,
    max_copy_share: float,
    root: int,
) -> Validation | None:
    """Return what is read off about 500 samples: their kernel distance to the selection split and how many are copies.

    The samples have the selection split's class mix. None where it is too small to choose. The distance is MMD^2 with a
    Gaussian kernel (Gretton et al. 2012, Eq. 3), whose sigma is half the reals' median distance: bounded, so that no sample
    of large norm decides, as under KID's cubic one (docs/LOG.md). `held_out_score` decides: minus the distance, minus a
    cost of near copies beyond `max_copy_share`. The distance stays flat while a generator learns its training samples by
    heart, so these cost more than any distance (ADR 13); where samples are made from parents, and near them on purpose,
    nothing.
    """
    if len(selection) < MIN_SELECTION or every_samples <= 0:
        return None
    spec = synthesizer.spec
    real, train = encoder.encode(selection.cells), first_view(synthesizer.train.cells, spec)
    kernels = {"gaussian": gaussian(median_squared_distance(real) / _NARROWING or 1.0)}
    labels, counts = np.unique(selection.labels, return_counts=True)
    fakes = np.maximum(np.rint(counts * (NUM_FAKES / len(selection))), 1).astype(int)
    wanted = dict(zip(labels.tolist(), fakes.tolist(), strict=True))

    def to_train(cells: pa.Array) -> NDArray[np.floating]:
        return nearest(first_view(cells, spec), train, 1)[0][:, 0]

    unseen = to_train(selection.cells)

    def numbers(networks: Networks) -> dict[str, float]:
        drawn = draw(synthesizer, networks, wanted, "validation", root)
        distance = unbiased_mmd(kernels, real, encoder.encode(drawn.cells))["gaussian"]
        copied = near_copy_share(to_train(drawn.cells), unseen)
        too_many = 0.0 if synthesizer.generator.uses_parents else max(0.0, copied - max_copy_share)
        score = -distance - _COPYING_COST * too_many
        return {"held_out_score": score, "kernel_distance": distance, "near_copy_share": copied}

    return Validation(every_samples, numbers, patience, decides="held_out_score")


def adaptation_of(
    synthesizer: Synthesizer, selection: LabelledCells, *, total_samples: int, every_samples: int, root: int
) -> Adaptation:
    """Return how augmentation follows the overfitting of D; it stays at its start where selection is too small to tell."""
    train, spec, device = synthesizer.train, synthesizer.spec, synthesizer.device
    start = _SMALL_DATA_STRENGTH if len(train) < _SMALL_DATA else 0.0
    horizon = min(_HORIZON_SAMPLES, max(total_samples, 1))
    if len(selection) < MIN_SELECTION:
        return Adaptation(lambda _networks: 0.0, 0, horizon, start)
    held_out = selection.take(_spread(len(selection)))
    shown = train.take(_like(train.labels, held_out.labels))
    wanted = dict(zip(*(part.tolist() for part in np.unique(held_out.labels, return_counts=True)), strict=True))
    modality = modality_of(spec)
    real = {
        name: (modality.to_tensor(cells.cells, spec).to(device), torch.from_numpy(cells.labels).to(device))
        for name, cells in (("train", shown), ("held_out", held_out))
    }

    @torch.no_grad()
    def signal(networks: Networks) -> float:
        fakes = draw(synthesizer, networks, wanted, "adaptation", root)
        fake = modality.to_tensor(fakes.cells, spec).to(device), torch.from_numpy(fakes.labels).to(device)
        logits = [_logits(synthesizer.generator, networks, *each) for each in (real["train"], real["held_out"], fake)]
        return overfitting(*logits)

    return Adaptation(signal, every_samples, horizon, start)


def _logits(generator: Generator, networks: Networks, x: Tensor, labels: Tensor) -> Tensor:
    """Return what D says, in chunks of 64 rows, and halves of these where training has left too little memory."""
    logits, start, size = [], 0, _CHUNK_ROWS
    while start < len(x):
        try:
            found = generator.d_logit(networks, x[start : start + size], labels[start : start + size])
        except torch.cuda.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            continue
        assert found is not None, "only a family with a discriminator adapts its augmentation"
        logits.append(found.float())
        start += size
    return torch.cat(logits)


def _spread(num_rows: int) -> NDArray[np.int64]:
    """Return at most 500 evenly spaced rows."""
    return np.unique(np.linspace(0, num_rows - 1, min(num_rows, _MAX_SIGNAL_ROWS)).astype(np.int64))


def _like(labels: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows with the class mix of `wanted`, evenly spaced within each class."""
    rows = []
    for label, count in zip(*np.unique(wanted, return_counts=True), strict=True):
        own = np.flatnonzero(labels == label)
        rows.append(own[np.linspace(0, len(own) - 1, count).astype(np.int64)] if len(own) else own)
    return np.concatenate(rows)
