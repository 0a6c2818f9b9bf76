"""Do they help? Everything is fixed on selection; then the test role is read, once, by all arms with paired seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from aigc_pipeline.core.samples import Mix, SampleSpec
from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.evaluation.material import QUOTA, Material
from aigc_pipeline.metrics.classification import scores_of
from aigc_pipeline.metrics.command import Comparison
from aigc_pipeline.metrics.downstream import Arm
from aigc_pipeline.metrics.fairness import group_outcomes
from aigc_pipeline.metrics.fidelity import draw
from aigc_pipeline.metrics.uplift import (
    BASELINES,
    Options,
    Pool,
    Trial,
    Trials,
    accuracy_estimate,
    baselines_for,
    choose_baseline,
    choose_option,
    copies_of,
    default_choice,
    uplift_estimate,
)
from aigc_pipeline.metrics.verdict import decide
from aigc_pipeline.metrics.worth import measurable_classes, shares_left, thinned_rows, worth_in_real_samples
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.records import Choice, DosePoint, Estimate, GroupOutcome, Verdict, Worth
from aigc_pipeline.training.devices import device_of

Row = dict[str, str | int | float | None]
SEEDS_TO_DESCRIBE = 2
"""Trainings of baselines that were not chosen: they are described, not tested."""


@dataclass(frozen=True)
class Settings:
    """How downstream models are trained and compared; see `EvaluateConfig` for each."""

    options: Options
    min_selection: int
    num_seeds: int
    num_cas_seeds: int
    total_samples: int | None
    batch_size: int
    network: str
    learning_shares: Sequence[float]


@dataclass(frozen=True)
class Answer:
    """What the uplift question was answered with."""

    baseline: str
    treated: str
    choice: Choice | None
    doses: list[DosePoint]
    predicted: Mapping[str, NDArray[np.int64]]
    """Per arm, on test: `[seeds, items]`."""
    arms: dict[str, Estimate]
    scores: dict[str, dict[str, float]]
    verdict: Verdict | None
    worth: tuple[Worth, ...]

    def with_command(self, comparison: Comparison, labels: NDArray[np.int64], num_classes: int) -> "Answer":
        """Return this answer with the arms of the user's own training, where it gave predictions."""
        theirs = comparison.predicted
        arms = {name: accuracy_estimate(rows == labels, labels) for name, rows in theirs.items()}
        scores = {name: scores_of(rows, labels, num_classes) for name, rows in theirs.items()}
        return replace(
            self,
            predicted={**self.predicted, **theirs},
            arms=self.arms | arms,
            scores=self.scores | scores,
        )


@dataclass(frozen=True)
class Question:
    """One evaluation's material and settings; each method answers one question."""

    material: Material
    settings: Settings

    def train_on_synthetic(self) -> dict[str, Estimate]:
        """Return CAS: accuracy on test after training on synthetic (on real) samples, both of the same size and mix."""
        material, classes, num_seeds = self.material, self.material.num_classes, self.settings.num_cas_seeds
        train, test = material.roles["train"], material.roles["test"]
        kept = material.candidates.take(np.flatnonzero(material.good))
        counts = np.minimum(train.class_counts(classes), kept.class_counts(classes))
        if (counts == 0).any():
            material.context.reporter.note(
                "a class has no good candidate, or none but those made from held-back samples: train-on-synthetic accuracy "
                "is not measured."
            )
            return {}
        name = "real_and_classic" if material.is_balanced(train) else "balanced_softmax"
        arm = next(each for each in BASELINES if each.name == name)
        trials = self._trials("train on synthetic", 2 * num_seeds, train)
        estimates: dict[str, Estimate] = {}
        for name, pool in (("synthetic", kept), ("real", train)):
            drawn = [
                draw(pool.labels, counts, numpy_generator(material.context.seed, "cas", seed))
                for seed in range(num_seeds)
            ]
            predicted = trials.predict(
                [Trial(arm, pool, None, test, f"cas-{seed}", 0, rows) for seed, rows in enumerate(drawn)]
            )
            scores = scores_of(np.stack(predicted), test.labels, classes)
            estimates[f"cas/{name}"] = Estimate(value=scores["balanced_accuracy"], n=len(test))
            for key in ("accuracy", "macro_precision", "macro_recall", "macro_f1"):
                estimates[f"cas_{key}/{name}"] = Estimate(value=scores[key], n=len(test))
        return estimates

    def ask(self, opening: int) -> Answer:
        """Choose on selection, then train every arm and read test."""
        material, num_seeds = self.material, self.settings.num_seeds
        real, test, pools = material.real, material.roles["test"], material.pools()
        baselines = baselines_for(is_balanced=material.is_balanced(real))
        baseline, choice, doses = self._choose(baselines, pools)
        treated = replace(baseline, name=f"{baseline.name}_and_synthetic")
        arms: list[tuple[Arm, Pool | None]] = [(arm, None) for arm in baselines]
        if choice is not None:
            used = np.array([material.splits.classes.index(name) for name in choice.classes])
            pool = pools[choice.mix].of_classes(used)
            treated = replace(treated, dose=choice.dose, loss_weight=choice.loss_weight)
            control = copies_of(real, pool, numpy_generator(material.context.seed, "copies"))
            arms += [(treated, pool), (replace(treated, name=f"{baseline.name}_and_copies"), control)]
        fewer = min(num_seeds, SEEDS_TO_DESCRIBE)
        seeds = [num_seeds if pool or arm is baseline else fewer for arm, pool in arms]
        rows_of_arms = self._trials("uplift", sum(seeds), real).of_arms(arms, real, test, "uplift", seeds)
        predicted = {arm.name: rows for (arm, _), rows in zip(arms, rows_of_arms, strict=True)}
        correct = {name: np.asarray(rows == test.labels) for name, rows in predicted.items()}
        verdict: Verdict | None = None
        worth: tuple[Worth, ...] = ()
        if choice is not None:
            verdict = decide(
                correct[baseline.name],
                correct[treated.name],
                test.labels,
                baseline_name=baseline.name,
                dose=choice.dose,
                loss_weight=choice.loss_weight,
                opening=opening,
            )
            worth = self._worth(baseline, correct)
        return Answer(
            baseline.name,
            treated.name,
            choice,
            doses,
            predicted,
            {name: accuracy_estimate(rows, test.labels) for name, rows in correct.items()},
            {name: scores_of(rows, test.labels, material.num_classes) for name, rows in predicted.items()},
            verdict,
            worth,
        )

    def _choose(self, baselines: list[Arm], pools: Mapping[Mix, Pool]) -> tuple[Arm, Choice | None, list[DosePoint]]:
        """Choose on selection; too small a selection chooses nothing."""
        material, options = self.material, self.settings.options
        selection, names = material.roles.get("selection"), material.splits.classes
        if selection is None or len(selection) < self.settings.min_selection:
            arm = baselines[-1]
            return arm, default_choice(arm, pools, options, names) if pools else None, []
        rest, usable = material.all_but("selection", "test"), material.pools("selection")
        trials = self._trials("selection", options.num_trainings(len(baselines), len(usable)), rest)
        found = choose_baseline(trials, baselines, rest, selection, options.num_seeds)
        if not usable:
            return found[0], default_choice(found[0], pools, options, names) if pools else None, []
        choice, doses = choose_option(trials, found, usable, rest, selection, options, names, accepted=pools)
        return found[0], choice, doses

    def _worth(self, baseline: Arm, correct: Mapping[str, NDArray[np.bool_]]) -> tuple[Worth, ...]:
        """Turn learning curves around: one over all classes, one of its own for each class whose recall clearly rose."""
        material, shares, num_seeds = self.material, self.settings.learning_shares, self.settings.num_seeds
        real, test = material.real, material.roles["test"]
        without, treated = correct[baseline.name], correct[f"{baseline.name}_and_synthetic"]
        if not shares:
            return ()
        if uplift_estimate(without, treated, test.labels).value <= 0:
            return _no_worth("Nothing measurable: accuracy did not rise with the synthetic samples.")
        whole = shares_left(real.labels, shares)
        if not whole:
            return _no_worth("Not measured: the classes are too small to train on parts of them.")
        risen = {k: shares_left(real.labels, shares, [k]) for k in measurable_classes(without, treated, test.labels)}
        number = num_seeds * sum(len(left) for left in (whole, *risen.values()))
        trials = self._trials("learning curve", number, real)

        def curve(left: Mapping[float, float], classes: Sequence[int] | None) -> dict[float, NDArray[np.bool_]]:
            points = [
                Trial(baseline, real, None, test, "uplift", s, thinned_rows(real.labels, share, s, classes))
                for share in left.values()
                for s in range(num_seeds)
            ]
            predicted = iter(trials.predict(points))
            hits = {share: np.stack([next(predicted) for _ in range(num_seeds)]) == test.labels for share in left}
            return {1.0: without} | hits

        return worth_in_real_samples(
            curve(whole, None),
            treated,
            test.labels,
            real.class_counts(material.num_classes),
            material.splits.classes,
            seed=material.context.seed_for("worth"),
            class_curves={label: curve(left, [label]) for label, left in risen.items() if left},
            control=correct[f"{baseline.name}_and_copies"],
        )

    def groups(self, answer: Answer) -> tuple[GroupOutcome, ...]:
        """Return how each class and each group of every attribute fared."""
        material = self.material
        labels, treated = material.roles["test"].labels, answer.predicted.get(answer.treated)
        seen = dict(zip(material.real.ids, material.real_attributes, strict=True))
        return group_outcomes(
            material.table,
            seen,
            material.attributes["test"],
            labels,
            material.splits.classes,
            answer.predicted[answer.baseline] == labels,
            None if treated is None else treated == labels,
        )

    def describe_classes(self, answer: Answer) -> list[Row]:
        """Describe each class: counts and recall on test. Described, never tested."""
        material = self.material
        labels, own = material.roles["test"].labels, material.candidates.labels
        reasons = np.array([reason or "" for reason in material.table["reject_reason"].to_pylist()])
        predicted = material.table["label_predicted"].to_pandas().to_numpy()
        treated = answer.predicted.get(answer.treated)
        rows: list[Row] = []
        for label, name in enumerate(material.splits.classes):
            mine, items = own == label, labels == label
            referred = mine & ~np.isnan(predicted)  # unknown where there is no referee
            rows.append(
                {
                    "class": name,
                    "real_train": material.splits.class_counts["train"][label],
                    "candidates": int(mine.sum()),
                    "accepted": int((reasons[mine] == "").sum()),
                    "over_quota": int((reasons[mine] == QUOTA).sum()),
                    "label_agreement": float((predicted[referred] == label).mean()) if referred.any() else None,
                    "recall_baseline": float((answer.predicted[answer.baseline][:, items] == label).mean()),
                    "recall_with_synthetic": None if treated is None else float((treated[:, items] == label).mean()),
                    "test_samples": int(items.sum()),
                }
            )
        return rows

    def _trials(self, purpose: str, number: int, real: LabelledCells) -> Trials:
        """Return how downstream models are trained, with progress over `number` trainings."""
        context = self.material.context
        total = samples_per_training(self.settings, len(real))
        done = iter(range(1, number + 1))
        return Trials(
            self.material.splits.spec,
            self.material.num_classes,
            total,
            self.settings.batch_size,
            device_of(context.runtime),
            context.seed_for,
            self._build(),
            lambda: context.reporter.progress(f"evaluate: {purpose}", next(done, number), number),
        )

    def _build(self) -> Callable[[], nn.Module]:
        """Return what makes a fresh downstream network."""
        kind, material = self.settings.network, self.material
        if kind == "linear_probe":
            return lambda: material.judge_encoder.linear_probe(material.num_classes)
        return scratch_network(kind, material.splits.spec, material.num_classes, device_of(material.context.runtime))


def _no_worth(sentence: str) -> tuple[Worth, ...]:
    return (Worth(class_name=None, real_samples=None, sentence=sentence, curve=()),)


def samples_per_training(settings: Settings, num_real: int) -> int:
    """Return how many samples a downstream training is shown."""
    return settings.total_samples or int(np.clip(60 * num_real, 20_000, 200_000))


def scratch_network(kind: str, spec: SampleSpec, num_classes: int, device: torch.device) -> Callable[[], nn.Module]:
    """Return what makes a fresh network that starts from scratch: the large one where it is named, or on a GPU."""
    is_large = kind == "large" or (kind == "auto" and device.type == "cuda")
    return lambda: modality_of(spec).network(spec, num_classes, is_large=is_large)
