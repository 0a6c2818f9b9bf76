"""Measure fidelity in the judge encoder, train-on-synthetic accuracy, and uplift: the verdict that publishing obeys.

The test role is read here alone: for train-on-synthetic accuracy and for the one comparison of the verdict. Baseline,
dose and weight are fixed before, on the selection role.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.samples import Role
from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.data.loader import LabelledCells, concatenate, from_table, load_cells
from aigc_pipeline.data.shards import read_shards, read_table
from aigc_pipeline.features.neighbours import nearest, nearest_over_views
from aigc_pipeline.features.views import first_view, view_blocks
from aigc_pipeline.loading import feature_rows, open_encoder
from aigc_pipeline.metrics.downstream import Arm, Budget, balanced_accuracy, fit_downstream, predict
from aigc_pipeline.metrics.fidelity import NEIGHBOURS, LabelledFeatures, common_counts, compare, draw
from aigc_pipeline.metrics.memorisation import Copying, copying, wilson_interval
from aigc_pipeline.metrics.verdict import decide
from aigc_pipeline.records import (
    CandidateSet,
    DatasetSplits,
    Embeddings,
    Estimate,
    EvalReport,
    FilteredSet,
    Judge,
    ScoredSet,
    Verdict,
)
from aigc_pipeline.training.devices import device_of

STAGE_VERSION = 1
_QUOTA = "class_quota"
_BALANCED_RATIO = 1.05
_BASELINES = (
    Arm("real_and_classic", "cross_entropy"),
    Arm("class_weights", "class_weights"),
    Arm("balanced_softmax", "balanced_softmax"),
)


class EvaluateConfig(Settings):
    """How much is trained for the verdict, and what is chosen on the selection role."""

    num_seeds: int = Field(default=5, ge=2)
    """Paired trainings per arm."""
    total_samples: int | None = Field(default=None, ge=1)
    """Samples per downstream training; None means 60 per real sample within 20,000 .. 200,000."""
    batch_size: int = Field(default=64, ge=4)
    """Rows per optimizer step."""
    dose: float = Field(default=0.25, gt=0, lt=1)
    """Share of synthetic rows in a batch where selection cannot choose."""
    loss_weight: float = Field(default=0.5, gt=0, le=1)
    """Loss weight of synthetic rows."""
    doses: tuple[float, ...] = (0.1, 0.25, 0.5)
    """What selection chooses from."""
    min_selection: int = Field(default=300, ge=1)
    """Fewer selection samples than this choose nothing: defaults hold."""
    num_selection_seeds: int = Field(default=2, ge=1)
    """Trainings per option when choosing."""
    num_cas_seeds: int = Field(default=3, ge=1)
    """Trainings for train-on-synthetic and train-on-real accuracy."""
    num_subsamples: int = Field(default=10, ge=2)
    """Draws without replacement for the intervals of fidelity metrics."""
    max_copy_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of near copies among generated candidates that the screen tolerates (its lower 95 % bound counts)."""
    min_copying_z: float = Field(default=-3.0, lt=0)
    """Data-copying statistic under which accepted samples count as significantly nearer than unseen reals ..."""
    max_nearer_share: float = Field(default=0.75, gt=0.5, lt=1)
    """... and the probability of being nearer above which that fails the screen."""


def evaluate(
    context: Context,
    config: EvaluateConfig,
    splits: DatasetSplits,
    embeddings: Embeddings,
    judge: Judge,
    candidates: CandidateSet,
    scored: ScoredSet,
    filtered: FilteredSet,
) -> EvalReport:
    """Measure and decide; everything is in the record."""
    del judge, scored  # their numbers reach this stage through the filtered table; they stay inputs for the fingerprint
    bench = _Evaluation.open(context, config, splits, embeddings, candidates, filtered)
    fidelity = bench.fidelity()
    memorised, z, copies = bench.memorisation()
    cas = bench.train_on_synthetic()
    openings = dict(previous.test_openings) if (previous := context.previous(EvalReport)) else {}
    arms, verdict, per_class = bench.uplift(openings.get(splits.test_digest, 0) + 1)
    if verdict is not None:
        openings[splits.test_digest] = verdict.test_opening
        context.reporter.note(verdict.sentence)
    context.reporter.table(
        "accuracy", [{"arm": name, "balanced accuracy": round(e.value, 4)} for name, e in arms.items()]
    )
    return context.record(
        EvalReport,
        metrics={**fidelity, **copies, **cas},
        arms=arms,
        per_class=tuple(per_class),
        verdict=verdict,
        memorised=memorised,
        memorisation_z=z,
        judge_encoder=embeddings.judge_encoder,
        test_digest=splits.test_digest,
        test_openings=openings,
    )


@dataclass(frozen=True)
class _Evaluation:
    """The data of one evaluation and the measurements over it."""

    context: Context
    config: EvaluateConfig
    splits: DatasetSplits
    roles: Mapping[Role, LabelledCells]
    judge_features: Mapping[Role, NDArray[np.float32]]
    table: pa.Table
    candidates: LabelledCells
    candidate_features: NDArray[np.float32]

    @classmethod
    def open(
        cls,
        context: Context,
        config: EvaluateConfig,
        splits: DatasetSplits,
        embeddings: Embeddings,
        candidates: CandidateSet,
        filtered: FilteredSet,
    ) -> "_Evaluation":
        roles: dict[Role, LabelledCells] = {}
        features: dict[Role, NDArray[np.float32]] = {}
        present: list[Role] = [
            role for role in ("train", "calibration", "selection", "test") if splits.num_samples(role)
        ]
        for role in present:
            roles[role] = load_cells(context.files_of(splits) / f"{role}.arrow")
            stored = read_table(context.files_of(embeddings) / f"features-{role}.arrow")
            features[role] = feature_rows(stored, "judge_feature")
        cells = (
            from_table(read_shards(context.files_of(candidates), "candidates"))
            if candidates.num_samples
            else roles["train"].take(np.zeros(0, np.int64))
        )
        encoder = open_encoder(context, splits, embeddings, "judge")
        encoded = encoder.encode(cells.cells) if len(cells) else np.zeros((0, features["train"].shape[1]), np.float32)
        table = read_table(context.files_of(filtered) / "filtered.arrow")
        return cls(context, config, splits, roles, features, table, cells, encoded)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.splits.classes)

    @property
    def good(self) -> NDArray[np.bool_]:
        """Candidates that passed every gate but the quota."""
        reasons = self.table["reject_reason"].to_pylist()
        return np.array([reason is None or reason == _QUOTA for reason in reasons], bool)

    def fidelity(self) -> dict[str, Estimate]:
        """Compare before, after and real-vs-real with hold-out reals at equal n and equal class mix."""
        return compare(
            self._unseen(),
            {
                "before": LabelledFeatures(self.candidate_features, self.candidates.labels),
                "after": LabelledFeatures(self.candidate_features[self.good], self.candidates.labels[self.good]),
                "real": LabelledFeatures(self.judge_features["train"], self.roles["train"].labels),
            },
            num_classes=self.num_classes,
            num_draws=self.config.num_subsamples,
            seed=self.context.seed,
        )

    def _unseen(self) -> LabelledFeatures:
        """Return judge features of the reals that neither generator nor encoder saw."""
        held: list[Role] = [role for role in ("calibration", "selection") if role in self.roles]
        return LabelledFeatures(
            np.concatenate([self.judge_features[role] for role in held]),
            np.concatenate([self.roles[role].labels for role in held]),
        )

    def memorisation(self) -> tuple[bool, float | None, dict[str, Estimate]]:
        """Screen generated candidates for copies, one by one and as a set."""
        generated = np.array([origin == "generated" for origin in self.table["origin"].to_pylist()], bool)
        if not generated.any():
            return False, None, {}
        is_copy = self.table["train_distance"].to_numpy() <= self.table["copy_threshold"].to_numpy()
        kept = generated & self.good
        estimates = {"near_copy_rate/before": _share(is_copy[generated])}
        if kept.any():
            estimates["near_copy_rate/after"] = _share(is_copy[kept])
        estimates["near_copy_rate/real"] = _share(self._holdout_distance() <= self.table["copy_threshold"][0].as_py())
        found = self._copying(kept)
        if found is not None:
            estimates["nearer_than_unseen_reals/after"] = Estimate(value=found.nearer_share, n=int(kept.sum()))
        z = None if found is None else found.z
        too_many = (estimates["near_copy_rate/before"].ci_low or 0.0) > self.config.max_copy_share
        failed = too_many or (
            found is not None
            and found.z < self.config.min_copying_z
            and found.nearer_share > self.config.max_nearer_share
        )
        if failed:
            self.context.reporter.note(
                f"the memorisation screen failed: {is_copy[generated].mean():.1%} of generated candidates are near copies "
                f"of training samples (tolerated {self.config.max_copy_share:.0%}), and accepted ones are nearer than unseen "
                f"reals with probability {'n/a' if found is None else f'{found.nearer_share:.2f}'} (tolerated "
                f"{self.config.max_nearer_share}). No synthetic sample is published. Use more data, or train shorter."
            )
        return failed, z, estimates

    def _holdout_distance(self) -> NDArray[np.float32]:
        """Return the near-copy distance of unseen reals to the training split."""
        held = concatenate(*(part for role, part in self.roles.items() if role in {"calibration", "selection"}))
        spec = self.splits.spec
        return nearest_over_views(view_blocks(held.cells, spec), first_view(self.roles["train"].cells, spec))[0]

    def _copying(self, kept: NDArray[np.bool_]) -> Copying | None:
        """Return C_T in the judge encoder; hold-out reals and accepted samples at the same class mix."""
        unseen, labels = self._unseen(), self.candidates.labels[kept]
        counts = common_counts([unseen.labels, labels], self.num_classes)
        if counts.sum() <= 2 * NEIGHBOURS:
            return None
        generator = numpy_generator(self.context.seed, "copying")
        real = unseen.features[draw(unseen.labels, counts, generator)]
        fake = self.candidate_features[kept][draw(labels, counts, generator)]
        train = self.judge_features["train"]
        return copying(nearest(fake, train, 1)[0][:, 0], nearest(real, train, 1)[0][:, 0])

    def train_on_synthetic(self) -> dict[str, Estimate]:
        """Return CAS: accuracy on test after training on synthetic (on real) samples, both of the same size and mix."""
        train, test = self.roles["train"], self.roles["test"]
        kept = self.candidates.take(np.flatnonzero(self.good))
        counts = np.minimum(train.class_counts(self.num_classes), kept.class_counts(self.num_classes))
        if (counts == 0).any():
            self.context.reporter.note("a class has no good candidate: train-on-synthetic accuracy is not measured.")
            return {}
        arm = _BASELINES[0] if self._is_balanced(train) else _BASELINES[2]
        accuracy: dict[str, list[float]] = {"synthetic": [], "real": []}
        for seed in range(self.config.num_cas_seeds):
            generator = numpy_generator(self.context.seed, "cas", seed)
            for name, pool in (("synthetic", kept), ("real", train)):
                chosen = pool.take(draw(pool.labels, counts, generator))
                predicted = self._fit_and_predict(arm, chosen, None, test, "cas", seed)
                accuracy[name].append(balanced_accuracy(predicted, test.labels))
            self.context.reporter.progress("evaluate: train on synthetic", seed + 1, self.config.num_cas_seeds)
        return {f"cas/{name}": Estimate(value=float(np.mean(values)), n=len(test)) for name, values in accuracy.items()}

    def uplift(
        self, opening: int
    ) -> tuple[dict[str, Estimate], Verdict | None, list[dict[str, str | int | float | None]]]:
        """Fix baseline and dose on selection, then read the test role once."""
        accepted = self.candidates.take(np.flatnonzero(self.table["accepted"].to_numpy(zero_copy_only=False)))
        real = concatenate(*(part for role, part in self.roles.items() if role != "test"))
        test = self.roles["test"]
        baselines = _BASELINES[:1] if self._is_balanced(real) else _BASELINES
        chosen, dose = self._choose(baselines, accepted)
        treated = Arm(f"{chosen.name}_and_synthetic", chosen.loss, dose, self.config.loss_weight)
        arms = [*baselines, treated] if len(accepted) else list(baselines)
        correct = {arm.name: self._correct(arm, real, accepted, test, arms.index(arm), len(arms)) for arm in arms}
        estimates = {name: _accuracy_estimate(hits, test.labels) for name, hits in correct.items()}
        verdict = None
        if len(accepted):
            verdict = decide(
                correct[chosen.name],
                correct[treated.name],
                test.labels,
                baseline_name=chosen.name,
                dose=dose,
                loss_weight=self.config.loss_weight,
                opening=opening,
            )
        return estimates, verdict, self._per_class(correct, chosen, treated)

    def _choose(self, baselines: Sequence[Arm], accepted: LabelledCells) -> tuple[Arm, float]:
        """Choose baseline and dose by balanced accuracy on selection; too small a selection chooses nothing."""
        selection = self.roles.get("selection")
        if selection is None or len(selection) < self.config.min_selection:
            return baselines[-1], self.config.dose
        rest = concatenate(*(part for role, part in self.roles.items() if role in {"train", "calibration"}))

        def mean_accuracy(arm: Arm) -> float:
            seeds = range(self.config.num_selection_seeds)
            return float(
                np.mean(
                    [
                        balanced_accuracy(
                            self._fit_and_predict(arm, rest, accepted, selection, "select", seed), selection.labels
                        )
                        for seed in seeds
                    ]
                )
            )

        chosen = max(baselines, key=mean_accuracy) if len(baselines) > 1 else baselines[0]
        if not len(accepted):
            return chosen, self.config.dose
        weight = self.config.loss_weight
        dose = max(self.config.doses, key=lambda d: mean_accuracy(Arm("option", chosen.loss, d, weight)))
        return chosen, dose

    def _correct(
        self, arm: Arm, real: LabelledCells, accepted: LabelledCells, test: LabelledCells, position: int, num_arms: int
    ) -> NDArray[np.bool_]:
        """Return correct or not, `[seeds, items]`."""
        rows = []
        total = self.config.num_seeds * num_arms
        for seed in range(self.config.num_seeds):
            rows.append(self._fit_and_predict(arm, real, accepted, test, "uplift", seed) == test.labels)
            self.context.reporter.progress("evaluate: uplift", position * self.config.num_seeds + seed + 1, total)
        return np.stack(rows)

    def _fit_and_predict(
        self,
        arm: Arm,
        real: LabelledCells,
        synthetic: LabelledCells | None,
        target: LabelledCells,
        purpose: str,
        seed: int,
    ) -> NDArray[np.int64]:
        device = device_of(self.context.runtime)
        total = self.config.total_samples or int(np.clip(60 * len(real), 20_000, 200_000))
        budget = Budget(total, self.config.batch_size, self.context.seed_for(purpose, seed), device)
        network = fit_downstream(
            arm, real, synthetic, spec=self.splits.spec, num_classes=self.num_classes, budget=budget
        )
        return predict(network, target, self.splits.spec, device)

    def _is_balanced(self, samples: LabelledCells) -> bool:
        counts = samples.class_counts(self.num_classes)
        return bool(counts.max() <= _BALANCED_RATIO * max(counts.min(), 1))

    def _per_class(
        self, correct: Mapping[str, NDArray[np.bool_]], chosen: Arm, treated: Arm
    ) -> list[dict[str, str | int | float | None]]:
        """Describe each class: counts and recall on test. Described, never tested."""
        test = self.roles["test"]
        reasons = np.array([reason or "" for reason in self.table["reject_reason"].to_pylist()])
        rows: list[dict[str, str | int | float | None]] = []
        for label, name in enumerate(self.splits.classes):
            mine, items = self.candidates.labels == label, test.labels == label
            agreement = self.table["label_predicted"].to_pandas().to_numpy()[mine] == label
            has_treated = treated.name in correct
            rows.append(
                {
                    "class": name,
                    "real_train": self.splits.class_counts["train"][label],
                    "candidates": int(mine.sum()),
                    "accepted": int((reasons[mine] == "").sum()),
                    "over_quota": int((reasons[mine] == _QUOTA).sum()),
                    "label_agreement": float(agreement.mean()) if mine.any() else None,
                    "recall_baseline": float(correct[chosen.name][:, items].mean()),
                    "recall_with_synthetic": float(correct[treated.name][:, items].mean()) if has_treated else None,
                    "test_samples": int(items.sum()),
                }
            )
        return rows


def _share(flags: NDArray[np.bool_]) -> Estimate:
    low, high = wilson_interval(int(flags.sum()), len(flags))
    return Estimate(value=float(flags.mean()), ci_low=low, ci_high=high, n=len(flags))


def _accuracy_estimate(hits: NDArray[np.bool_], labels: NDArray[np.int64]) -> Estimate:
    """Return mean balanced accuracy with a normal 95 % interval over seeds and items, as in the verdict."""
    classes = np.unique(labels)
    by_seed = np.stack([hits[:, labels == label].mean(1) for label in classes]).mean(0)
    by_item = hits.mean(0)
    items = sum(by_item[labels == label].var() / (labels == label).sum() for label in classes) / len(classes) ** 2
    half = 1.96 * float(np.sqrt(by_seed.var(ddof=1) / len(by_seed) + items))
    value = float(by_seed.mean())
    return Estimate(value=value, ci_low=value - half, ci_high=value + half, n=len(labels))
