"""Signs of a sick training: exploding penalty, a discriminator that learned by heart, collapsed or mislabeled samples.

Each is a number in the curves; past its limit it becomes an alarm, which the loop answers.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.features import FittedEncoder
from aigc_pipeline.fitting.quality import draw
from aigc_pipeline.generators import Generator, dump_generator
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.training.health import Finding
from aigc_pipeline.training.loop import Networks

MAX_PENALTY = 100.0
MIN_DIVERSITY = 0.2
MIN_AGREEMENT = 0.3
MAX_OVERFITTING = 0.8
_GAP_WINDOWS = 10
_DIVERSITY_AFTER, _AGREEMENT_AFTER = 0.25, 1 / 3
_ERRORS_OVER_GUESSING, _ERRORS_FALLEN = 2.0, 3.0
"""Standard errors that tell a share from guessing, and from the best one before."""
GRID_SIZE = 64
"""Samples drawn for one report, over all classes."""
REPORT_SAMPLES = 5_000
"""A report is due after so many samples seen, and before every checkpoint."""
_SMALLEST_DISTANCE = 1e-3
Report = Mapping[str, float]


@dataclass(frozen=True)
class HealthWatch:
    """Looks at the numbers of each report and at a fixed grid of samples."""

    synthesizer: Synthesizer
    encoder: FittedEncoder
    root: int
    classes: NDArray[np.int64] | None
    """The class that each label of the synthesizer means; None where the generator is not told the class."""
    total_samples: int
    """Samples that the training shows. Before the first report's worth of them a generator has learned too little to be sick."""

    def __call__(self, networks: Networks, history: Sequence[Report], progress: float) -> Finding:
        """Return diversity and label agreement, and the first thing that is past its limit."""
        made = draw(self.synthesizer, networks, _grid_counts(self.synthesizer.train.labels), "watch", self.root)
        numbers: dict[str, float] = {}
        if (ratio := diversity(made, self.synthesizer)) is not None:
            numbers["diversity"] = ratio
        asked = made if self.classes is None else made.labelled(self.classes[made.labels])
        if self.encoder.has_head and self.classes is not None:
            numbers["label_agreement"] = agreement(asked, self.encoder)
        found = [*history[:-1], {**history[-1], **numbers}]
        alarm = diverging(found) or overfitted(found)
        if progress * self.total_samples >= REPORT_SAMPLES:
            alarm = alarm or collapsed(found, progress) or mislabeled(found, progress, Counter(asked.labels.tolist()))
        return Finding(alarm, numbers)


def diversity(made: LabelledCells, synthesizer: Synthesizer) -> float | None:
    """Return the mean distance of two samples of a class, as a share of the same among its training samples.

    The mean over classes whose training samples differ; None where there is none.
    """
    shares = []
    for label in np.unique(made.labels):
        real = _spread_of(synthesizer.train, int(label), synthesizer)
        fake = _spread_of(made, int(label), synthesizer)
        if real is not None and fake is not None and real > _SMALLEST_DISTANCE:
            shares.append(fake / real)
    return float(np.mean(shares)) if shares else None


def agreement(made: LabelledCells, encoder: FittedEncoder) -> float:
    """Return the share of samples whose class the referee sees as asked for."""
    return float((encoder.encode_with_logits(made.cells)[1].argmax(1) == made.labels).mean())


def collapsed(history: Sequence[Report], progress: float) -> str | None:
    """Tell when samples of a class hardly differ, after a quarter of the training, and do not come to differ more."""
    ratio = history[-1].get("diversity", 1.0)
    earlier = [report["diversity"] for report in history[:-1] if "diversity" in report]
    if progress < _DIVERSITY_AFTER or ratio >= MIN_DIVERSITY or ratio > max(earlier, default=1.0):
        return None
    return f"mode collapse: samples of a class differ {ratio:.0%} as much as real ones do (limit {MIN_DIVERSITY:.0%})"


def mislabeled(history: Sequence[Report], progress: float, counts: Mapping[int, int]) -> str | None:
    """Tell when the referee sees other classes than asked for, after a third of the training.

    Under the limit alone is no sign: hard pictures are learned slowly, and going back helps them nothing. Seeing the class
    no more often than by guessing is one, and so is clearly less often than before.

    Args:
        counts: how many samples of each class the share is taken over.
    """
    share = history[-1].get("label_agreement", 1.0)
    if progress < _AGREEMENT_AFTER or share >= MIN_AGREEMENT:
        return None
    before = max((report.get("label_agreement", 0.0) for report in history[:-1]), default=0.0)
    guessing, number = 1 / len(counts), sum(counts.values())
    errors = [math.sqrt(p * (1 - p) / number) for p in (guessing, before)]
    is_guessing = share <= guessing + _ERRORS_OVER_GUESSING * errors[0]
    if not is_guessing and share >= before - _ERRORS_FALLEN * errors[1]:
        return None
    how = "no more than guessing" if is_guessing else f"{before:.0%} before"
    return f"the referee sees the class that was asked for in {share:.0%} of the samples ({how}; limit {MIN_AGREEMENT:.0%})"


def diverging(history: Sequence[Report]) -> str | None:
    """Tell when the gradient penalty explodes."""
    value = history[-1].get("discriminator/penalty", 0.0)
    if value <= MAX_PENALTY:
        return None
    return f"the gradient penalty reached {value:,.0f} (limit {MAX_PENALTY:.0f}): training diverges"


def overfitted(history: Sequence[Report]) -> str | None:
    """Tell when D's lead has grown for ten reports while it knows its samples by heart, at the strongest augmentation."""
    last = [report.get("discriminator/logit_gap") for report in history[-_GAP_WINDOWS:]]
    if len(last) < _GAP_WINDOWS or None in last:
        return None
    gaps = [float(gap or 0.0) for gap in last]
    is_growing = all(after > before for before, after in pairwise(gaps))
    signal = history[-1].get("overfitting", 0.0)
    if not is_growing or signal <= MAX_OVERFITTING:
        return None
    return f"the discriminator's lead has grown {_GAP_WINDOWS} reports in a row at an overfitting of {signal:.2f} (limit {MAX_OVERFITTING})"


def _spread_of(cells: LabelledCells, label: int, synthesizer: Synthesizer) -> float | None:
    """Return the mean root-mean-square distance between two of at most 64 samples of a class."""
    rows = np.flatnonzero(cells.labels == label)[:GRID_SIZE]
    if len(rows) < 2:
        return None
    x: Tensor = modality_of(synthesizer.spec).to_tensor(cells.take(rows).cells, synthesizer.spec).flatten(1)
    distance = float(torch.pdist(x).mean())
    return distance / math.sqrt(x.shape[1])


def _grid_counts(labels: NDArray[np.int64]) -> dict[int, int]:
    """Return 64 samples over all classes, at least 4 of each."""
    classes = np.unique(labels)
    return {int(label): max(4, GRID_SIZE // len(classes)) for label in classes}


def divergence_remedy(generator: Generator) -> str:
    """Return what helps a family against divergence, by the names of its settings."""
    settings = dump_generator(generator)
    penalty = next((name for name in ("gamma", "penalty_weight") if name in settings), None)
    raised = f" or raise the penalty weight (train.generator.{penalty})" if penalty else ""
    return f"Lower train.generator.learning_rate{raised}, or train longer"
