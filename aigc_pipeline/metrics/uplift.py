"""The uplift question, asked properly: everything is chosen on selection, then test is read once with paired seeds.

Arms differ in loss, resampling and synthetic rows alone. Options are searched greedily: mix and dose at the default
weight, then the weight at the best of them, then classes that lost recall give up their synthetic rows.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from aigc_pipeline.core.samples import Mix, SampleSpec
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.metrics.downstream import Arm, Budget, balanced_accuracy, bytes_of_training, fit_downstream, predict
from aigc_pipeline.metrics.verdict import paired_difference
from aigc_pipeline.records import Choice, DosePoint, Estimate
from aigc_pipeline.training.devices import map_on_threads

BASELINES: tuple[Arm, ...] = (
    Arm("real", "cross_entropy", is_varied=False),
    Arm("real_and_classic", "cross_entropy"),
    Arm("class_weights", "class_weights"),
    Arm("smote", "cross_entropy", is_oversampled=True),
    Arm("balanced_softmax", "balanced_softmax"),
    Arm("balanced_resampling", "balanced_softmax", is_resampled=True),
)
"""The last is the bar where selection cannot choose: the strongest measured on long-tailed data with online variation. Its
classes come equally often, so balanced softmax equals cross-entropy until synthetic rows tilt the mixture."""
_FOR_BALANCED = ("real", "real_and_classic")
"""Where every class is as large as the others, the rest do the same as `real_and_classic`."""
_VETO_ERRORS = 2.0
Correct = NDArray[np.bool_]


@dataclass(frozen=True)
class Pool:
    """Synthetic rows with their importance weights, 1 on average."""

    rows: LabelledCells
    importance: NDArray[np.float32]

    def of_classes(self, labels: NDArray[np.int64]) -> "Pool":
        """Return the rows of these classes."""
        index = np.flatnonzero(np.isin(self.rows.labels, labels))
        return Pool(self.rows.take(index), self.importance[index])


@dataclass(frozen=True)
class Trial:
    """One training, and the samples that its network is read on."""

    arm: Arm
    real: LabelledCells
    pool: Pool | None
    target: LabelledCells
    purpose: str
    number: int
    """Of the training among those of its purpose: with the purpose, its seed."""
    rows: NDArray[np.int64] | None = None
    """Rows of `real` to train on, taken out when the training starts: many trials wait for their turn. None: all."""


@dataclass(frozen=True)
class Trials:
    """Paired trainings: seed s of one arm shares its seed with seed s of any other. On a CPU several run at once."""

    spec: SampleSpec
    num_classes: int
    total_samples: int
    batch_size: int
    device: torch.device
    seed_for: Callable[[str, int], int]
    """Purpose and number to seed."""
    build: Callable[[], nn.Module] | None
    tick: Callable[[], None]
    """Called after each training."""

    def predictions(
        self, arm: Arm, real: LabelledCells, pool: Pool | None, target: LabelledCells, purpose: str, num_seeds: int
    ) -> NDArray[np.int64]:
        """Return predicted classes on `target`, `[seeds, items]`."""
        return self.of_arms([(arm, pool)], real, target, purpose, [num_seeds])[0]

    def of_arms(
        self,
        arms: Sequence[tuple[Arm, Pool | None]],
        real: LabelledCells,
        target: LabelledCells,
        purpose: str,
        num_seeds: Sequence[int],
    ) -> list[NDArray[np.int64]]:
        """Return each arm's predicted classes on `target`, `[seeds, items]`; `num_seeds[i]` trainings of arm i."""
        numbered = [(arm, pool, seed) for (arm, pool), n in zip(arms, num_seeds, strict=True) for seed in range(n)]
        rows = iter(self.predict([Trial(arm, real, pool, target, purpose, seed) for arm, pool, seed in numbered]))
        return [np.stack([next(rows) for _ in range(n)]) for n in num_seeds]

    def predict(self, trials: Sequence[Trial]) -> list[NDArray[np.int64]]:
        """Return the predicted classes on each trial's target, `[items]`, in the order of `trials`."""
        stopped = threading.Event()
        num_rows = max((len(each.real) + len(each.pool.rows if each.pool else ()) for each in trials), default=0)
        predicted = []
        for each in map_on_threads(
            lambda trial: self._predict(trial, stopped),
            trials,
            self.device,
            num_bytes=bytes_of_training(num_rows, self.spec),
            abandon=stopped.set,
        ):
            self.tick()
            predicted.append(each)
        return predicted

    def _predict(self, trial: Trial, stopped: threading.Event) -> NDArray[np.int64]:
        def go_on(_seen: int, _total: int) -> None:
            if stopped.is_set():
                raise _AbandonedError

        network = fit_downstream(
            trial.arm,
            trial.real if trial.rows is None else trial.real.take(trial.rows),
            trial.pool.rows if trial.pool else None,
            spec=self.spec,
            num_classes=self.num_classes,
            budget=Budget(self.total_samples, self.batch_size, self.seed_for(trial.purpose, trial.number), self.device),
            build=self.build,
            importance=trial.pool.importance if trial.pool else None,
            progress=go_on,
        )
        return predict(network, trial.target, self.spec, self.device)


class _AbandonedError(Exception):
    """Ends a training that nobody waits for any more, so that an interrupted run ends at once."""


@dataclass(frozen=True)
class Options:
    """What selection may choose from, and the defaults where it cannot."""

    doses: Sequence[float]
    loss_weights: Sequence[float]
    default_dose: float
    default_weight: float
    num_seeds: int

    def num_trainings(self, num_baselines: int, num_mixes: int) -> int:
        """Return how many trainings a choice takes: all baselines, each mix at each dose, then the other loss weights."""
        further = num_mixes * len(self.doses) + len(self.other_weights) if num_mixes else 0
        return (num_baselines + further) * self.num_seeds

    @property
    def other_weights(self) -> list[float]:
        """Return the loss weights that are tried at the best mix and dose."""
        return [weight for weight in self.loss_weights if weight != self.default_weight]


def baselines_for(*, is_balanced: bool) -> list[Arm]:
    """Return the baselines that differ on data whose classes are equally large, or are not."""
    return [arm for arm in BASELINES if arm.name in _FOR_BALANCED or not is_balanced]


def choose_baseline(
    trials: Trials, arms: Sequence[Arm], rest: LabelledCells, selection: LabelledCells, num_seeds: int
) -> tuple[Arm, Correct]:
    """Return the arm with the best balanced accuracy on selection, and its correctness there."""
    found = trials.of_arms([(arm, None) for arm in arms], rest, selection, "select", [num_seeds] * len(arms))
    tried = [(arm, rows == selection.labels) for arm, rows in zip(arms, found, strict=True)]
    return max(tried, key=lambda each: mean_balanced_accuracy(each[1], selection.labels))


def choose_option(
    trials: Trials,
    baseline: tuple[Arm, Correct],
    pools: Mapping[Mix, Pool],
    rest: LabelledCells,
    selection: LabelledCells,
    options: Options,
    class_names: Sequence[str],
    *,
    accepted: Mapping[Mix, Pool] | None = None,
) -> tuple[Choice, list[DosePoint]]:
    """Search mix, dose and weight; then take synthetic rows away from classes that lost recall by two errors.

    Args:
        accepted: all rows of each mix, where `pools` leaves some out. A class that only has such rows lost nothing by them.
    """
    arm, without = baseline
    tried: list[tuple[DosePoint, Correct]] = []

    def attempt(points: Sequence[tuple[Mix, float, float]]) -> None:
        arms = [
            (replace(arm, name="option", dose=dose, loss_weight=weight), pools[mix]) for mix, dose, weight in points
        ]
        found = trials.of_arms(arms, rest, selection, "select", [options.num_seeds] * len(arms))
        for (mix, dose, weight), rows in zip(points, found, strict=True):
            hits = rows == selection.labels
            uplift = uplift_estimate(without, hits, selection.labels)
            tried.append((DosePoint(mix=mix, dose=dose, loss_weight=weight, uplift=uplift), hits))

    def best() -> tuple[DosePoint, Correct]:
        return max(tried, key=lambda each: each[0].uplift.value)

    attempt([(mix, dose, options.default_weight) for mix in pools for dose in options.doses])
    found = best()[0]
    attempt([(found.mix, found.dose, weight) for weight in options.other_weights])
    point, hits = best()
    vetoed = set(_losing_classes(without, hits, selection.labels))
    present = np.unique((accepted or pools)[point.mix].rows.labels)
    used = [k for k in present if k not in vetoed] or present
    choice = Choice(
        baseline=arm.name,
        mix=point.mix,
        dose=point.dose,
        loss_weight=point.loss_weight,
        classes=tuple(class_names[k] for k in used),
        on_selection=True,
    )
    return choice, [each for each, _ in tried]


def default_choice(baseline: Arm, pools: Mapping[Mix, Pool], options: Options, class_names: Sequence[str]) -> Choice:
    """Return what holds where selection is too small to choose: the plan's own mix at the default dose."""
    mix = next(iter(pools))
    return Choice(
        baseline=baseline.name,
        mix=mix,
        dose=options.default_dose,
        loss_weight=options.default_weight,
        classes=tuple(class_names[k] for k in np.unique(pools[mix].rows.labels)),
        on_selection=False,
    )


def copies_of(real: LabelledCells, pool: Pool, generator: np.random.Generator) -> Pool:
    """Return the control: real rows drawn again, as many of each class as `pool` has. More exposure, nothing new."""
    rows = [generator.choice(np.flatnonzero(real.labels == label)) for label in pool.rows.labels]
    return Pool(real.take(np.array(rows, np.int64)), np.ones(len(rows), np.float32))


def mean_balanced_accuracy(correct: Correct, labels: NDArray[np.int64]) -> float:
    """Return balanced accuracy, averaged over seeds, in [0, 1]."""
    return float(np.mean([balanced_accuracy(np.where(row, labels, -1), labels) for row in correct]))


def uplift_estimate(without: Correct, treated: Correct, labels: NDArray[np.int64]) -> Estimate:
    """Return the paired difference in balanced accuracy with a 95 % interval over seeds and items."""
    found = paired_difference(without, treated, labels)
    return Estimate(value=found.delta, ci_low=found.low, ci_high=found.high, n=len(labels))


def accuracy_estimate(correct: Correct, labels: NDArray[np.int64]) -> Estimate:
    """Return mean balanced accuracy with a normal 95 % interval over seeds and items, within 0 and 1."""
    classes = np.unique(labels)
    by_seed = np.stack([correct[:, labels == label].mean(1) for label in classes]).mean(0)
    by_item = correct.mean(0)
    items = sum(by_item[labels == label].var() / (labels == label).sum() for label in classes) / len(classes) ** 2
    half = 1.96 * float(np.sqrt(by_seed.var(ddof=1) / len(by_seed) + items))
    value = float(by_seed.mean())
    return Estimate(value=value, ci_low=max(value - half, 0.0), ci_high=min(value + half, 1.0), n=len(labels))


def _losing_classes(without: Correct, treated: Correct, labels: NDArray[np.int64]) -> list[int]:
    """Return classes whose recall fell by more than two standard errors."""
    losing = []
    for label in np.unique(labels):
        mine = labels == label
        delta, error, _ = paired_difference(without[:, mine], treated[:, mine], labels[mine])
        if delta < -_VETO_ERRORS * error:
            losing.append(int(label))
    return losing
