"""Measure fidelity in the judge encoder, train-on-synthetic accuracy, and uplift: the verdict that publishing obeys.

The test role is read here alone: for train-on-synthetic accuracy and for the one comparison of the verdict. Baseline,
mix, dose, weight and classes are fixed before, on the selection role.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.samples import Mix, Role
from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.data.loader import LabelledCells, concatenate, from_table, load_cells
from aigc_pipeline.data.mixing import mixed_rows, mixes
from aigc_pipeline.data.shards import read_shards, read_table
from aigc_pipeline.features import FittedEncoder
from aigc_pipeline.features.neighbours import nearest, nearest_over_views
from aigc_pipeline.features.views import first_view, view_blocks
from aigc_pipeline.loading import feature_rows, open_encoder
from aigc_pipeline.metrics.classification import scores_of
from aigc_pipeline.metrics.downstream import Arm
from aigc_pipeline.metrics.fidelity import NEIGHBOURS, LabelledFeatures, common_counts, compare, draw
from aigc_pipeline.metrics.memorisation import Copying, copying
from aigc_pipeline.metrics.screening import Limits, Screening, screen
from aigc_pipeline.metrics.uplift import (
    BASELINES,
    FOR_BALANCED,
    Options,
    Pool,
    Trials,
    accuracy_estimate,
    choose_baseline,
    choose_option,
    copies_of,
    default_choice,
)
from aigc_pipeline.metrics.verdict import decide
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.records import (
    CandidateSet,
    Choice,
    DatasetSplits,
    DosePoint,
    Embeddings,
    Estimate,
    EvalReport,
    FilteredSet,
    Judge,
    ScoredSet,
    Verdict,
)
from aigc_pipeline.training.devices import device_of

STAGE_VERSION = 2
_QUOTA = "class_quota"
_BALANCED_RATIO = 1.05


class EvaluateConfig(Settings):
    """How much is trained for the verdict, and what is chosen on the selection role."""

    num_seeds: int = Field(default=5, ge=2)
    """Paired trainings per arm."""
    total_samples: int | None = Field(default=None, ge=1)
    """Samples per downstream training; None means 60 per real sample within 20,000 .. 200,000."""
    batch_size: int = Field(default=64, ge=4)
    """Rows per optimizer step."""
    network: Literal["auto", "small", "large", "linear_probe"] = "auto"
    """The downstream model. `small` and `large` start from scratch; `auto` takes the large one on a GPU.
    `linear_probe` is a linear layer on the judge encoder's features, which must not have been trained with labels: on
    features trained with the same labels, nothing could be gained."""
    doses: tuple[float, ...] = (0.1, 0.25, 0.5)
    """Shares of synthetic rows in a batch that selection chooses from."""
    dose: float = Field(default=0.25, gt=0, lt=1)
    """The dose where selection cannot choose."""
    loss_weights: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Loss weights of synthetic rows that selection chooses from."""
    loss_weight: float = Field(default=0.5, gt=0, le=1)
    """The loss weight where selection cannot choose, and while it chooses a dose."""
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

    def options(self) -> Options:
        """Return what selection chooses from."""
        return Options(self.doses, self.loss_weights, self.dose, self.loss_weight, self.num_selection_seeds)

    def limits(self) -> Limits:
        """Return what the memorisation screen tolerates."""
        return Limits(self.max_copy_share, self.min_copying_z, self.max_nearer_share)


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
    """Measure and decide; everything is in the record.

    Raises:
        ConfigError: if a linear probe is asked for on an encoder that was trained with labels.
    """
    del judge, scored  # their numbers reach this stage through the filtered table; they stay inputs for the fingerprint
    bench = _Evaluation.open(context, config, splits, embeddings, candidates, filtered)
    screening = bench.screen()
    fidelity, cas = bench.fidelity(), bench.train_on_synthetic()
    openings = dict(previous.test_openings) if (previous := context.previous(EvalReport)) else {}
    answer = bench.uplift(openings.get(splits.test_digest, 0) + 1)
    for sentence in (screening.sentence, answer.verdict and answer.verdict.sentence):
        if sentence:
            context.reporter.note(sentence)
    if answer.verdict is not None:
        openings[splits.test_digest] = answer.verdict.test_opening
    context.reporter.table(
        "accuracy", [{"arm": name, "balanced accuracy": round(e.value, 4)} for name, e in answer.arms.items()]
    )
    return context.record(
        EvalReport,
        metrics={**fidelity, **screening.estimates, **cas},
        arms=answer.arms,
        arm_scores=answer.scores,
        choice=answer.choice,
        doses=tuple(answer.doses),
        per_class=tuple(bench.describe_classes(answer)),
        verdict=answer.verdict,
        memorised=screening.failed,
        memorisation_z=screening.z,
        judge_encoder=embeddings.judge_encoder,
        test_digest=splits.test_digest,
        test_openings=openings,
    )


@dataclass(frozen=True)
class _Answer:
    """What the uplift question was answered with."""

    choice: Choice | None
    doses: list[DosePoint]
    predicted: Mapping[str, NDArray[np.int64]]
    """Per arm, on test: `[seeds, items]`."""
    arms: dict[str, Estimate]
    scores: dict[str, dict[str, float]]
    verdict: Verdict | None
    baseline: str
    treated: str


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
    judge_encoder: FittedEncoder

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
        return cls(context, config, splits, roles, features, table, cells, encoded, encoder)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.splits.classes)

    @property
    def good(self) -> NDArray[np.bool_]:
        """Candidates of the plan's own method that passed every gate but the quota."""
        reasons = self.table["reject_reason"].to_pylist()
        passed = np.array([reason is None or reason == _QUOTA for reason in reasons], bool)
        return np.asarray(self.own_method & passed)

    @property
    def own_method(self) -> NDArray[np.bool_]:
        """Candidates by the plan's method for their class: not the varied ones beside generated ones."""
        generated = self.is_generated
        with_generated = np.unique(self.candidates.labels[generated])
        return np.asarray(generated | ~np.isin(self.candidates.labels, with_generated))

    @property
    def is_generated(self) -> NDArray[np.bool_]:
        """Candidates that a generator made."""
        return np.array([origin == "generated" for origin in self.table["origin"].to_pylist()], bool)

    def fidelity(self) -> dict[str, Estimate]:
        """Compare before, after and real-vs-real with hold-out reals at equal n and equal class mix."""

        def pool(rows: NDArray[np.bool_]) -> LabelledFeatures:
            return LabelledFeatures(self.candidate_features[rows], self.candidates.labels[rows])

        return compare(
            self._unseen(),
            {
                "before": pool(self.own_method),
                "after": pool(self.good),
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

    def screen(self) -> Screening:
        """Screen generated candidates for copies, one by one and as a set."""
        generated = self.is_generated
        if not generated.any():
            return Screening(False, None, {}, None)
        threshold = self.table["copy_threshold"].to_numpy()
        is_copy = self.table["train_distance"].to_numpy() <= threshold
        kept = generated & self.good
        unseen = self._holdout_distance() <= threshold[0]
        return screen(is_copy[generated], is_copy[kept], unseen, self._copying(kept), self.config.limits())

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
        arm = _arm("real_and_classic" if self._is_balanced(train) else "balanced_softmax")
        trials = self._trials("train on synthetic", 2 * self.config.num_cas_seeds, train)
        estimates = {}
        for name, pool in (("synthetic", kept), ("real", train)):
            predicted = np.concatenate(
                [
                    trials.predictions(
                        arm, pool.take(draw(pool.labels, counts, numpy_generator(self.context.seed, "cas", seed))),
                        None, test, f"cas-{seed}", 1,
                    )
                    for seed in range(self.config.num_cas_seeds)
                ]
            )  # fmt: skip
            scores = scores_of(predicted, test.labels, self.num_classes)
            estimates[f"cas/{name}"] = Estimate(value=scores["balanced_accuracy"], n=len(test))
            estimates[f"cas_macro_f1/{name}"] = Estimate(value=scores["macro_f1"], n=len(test))
        return estimates

    def uplift(self, opening: int) -> _Answer:
        """Fix everything on selection, then read the test role once."""
        real = concatenate(*(part for role, part in self.roles.items() if role != "test"))
        test, pools = self.roles["test"], self._pools()
        baselines = [arm for arm in BASELINES if arm.name in FOR_BALANCED or not self._is_balanced(real)]
        baseline, choice, doses = self._choose(baselines, pools)
        treated = Arm(f"{baseline.name}_and_synthetic", baseline.loss)
        arms: list[tuple[Arm, Pool | None]] = [(arm, None) for arm in baselines]
        if choice is not None:
            pool = pools[choice.mix].of_classes(np.array([self.splits.classes.index(name) for name in choice.classes]))
            treated = replace(baseline, name=treated.name, dose=choice.dose, loss_weight=choice.loss_weight)
            control = copies_of(real, pool, numpy_generator(self.context.seed, "copies"))
            arms += [(treated, pool), (replace(treated, name=f"{baseline.name}_and_copies"), control)]
        trials = self._trials("uplift", self.config.num_seeds * len(arms), real)
        predicted = {
            arm.name: trials.predictions(arm, real, pool, test, "uplift", self.config.num_seeds) for arm, pool in arms
        }
        verdict = None
        if choice is not None:
            verdict = decide(
                predicted[baseline.name] == test.labels,
                predicted[treated.name] == test.labels,
                test.labels,
                baseline_name=baseline.name,
                dose=choice.dose,
                loss_weight=choice.loss_weight,
                opening=opening,
            )
        return _Answer(
            choice,
            doses,
            predicted,
            {name: accuracy_estimate(rows == test.labels, test.labels) for name, rows in predicted.items()},
            {name: scores_of(rows, test.labels, self.num_classes) for name, rows in predicted.items()},
            verdict,
            baseline.name,
            treated.name,
        )

    def _pools(self) -> dict[Mix, Pool]:
        """Return the accepted rows of every mix that there is; the plan's own comes first."""
        accepted = np.flatnonzero(self.table["accepted"].to_numpy(zero_copy_only=False))
        if not len(accepted):
            return {}
        table = self.table.take(pa.array(accepted))
        rows = {mix: accepted[mixed_rows(table, mix)] for mix in mixes(table)}
        weights = self.table["importance_weight"].to_numpy()
        return {mix: Pool(self.candidates.take(index), weights[index]) for mix, index in rows.items()}

    def _choose(self, baselines: list[Arm], pools: Mapping[Mix, Pool]) -> tuple[Arm, Choice | None, list[DosePoint]]:
        """Choose on selection; too small a selection chooses nothing."""
        selection, options = self.roles.get("selection"), self.config.options()
        if selection is None or len(selection) < self.config.min_selection:
            arm = baselines[-1]
            return arm, default_choice(arm, pools, options, self.splits.classes) if pools else None, []
        rest = concatenate(*(part for role, part in self.roles.items() if role in {"train", "calibration"}))
        number = len(baselines) + len(pools) * len(options.doses) + len(options.loss_weights) - 1
        trials = self._trials("selection", number * options.num_seeds, rest)
        found = choose_baseline(trials, baselines, rest, selection, options.num_seeds)
        if not pools:
            return found[0], None, []
        choice, doses = choose_option(trials, found, pools, rest, selection, options, self.splits.classes)
        return found[0], choice, doses

    def _trials(self, purpose: str, number: int, real: LabelledCells) -> Trials:
        """Return how downstream models are trained, with progress over `number` trainings."""
        total = self.config.total_samples or int(np.clip(60 * len(real), 20_000, 200_000))
        done = iter(range(1, number + 1))
        return Trials(
            self.splits.spec,
            self.num_classes,
            total,
            self.config.batch_size,
            device_of(self.context.runtime),
            self.context.seed_for,
            self._build(),
            lambda: self.context.reporter.progress(f"evaluate: {purpose}", next(done, number), number),
        )

    def _build(self) -> Callable[[], nn.Module]:
        """Return what makes a fresh downstream network."""
        kind, spec = self.config.network, self.splits.spec
        if kind == "linear_probe":
            encoder = self.judge_encoder
            if encoder.has_head:
                msg = (
                    f"evaluate.network is 'linear_probe', but the judge encoder '{encoder.kind}' was trained with the "
                    "same labels, so that a probe on it could not gain. Use embed.judge.kind=random_network."
                )
                raise ConfigError(msg)
            return lambda: encoder.linear_probe(self.num_classes)
        is_large = kind == "large" or (kind == "auto" and device_of(self.context.runtime).type == "cuda")
        return lambda: modality_of(spec).network(spec, self.num_classes, is_large=is_large)

    def _is_balanced(self, samples: LabelledCells) -> bool:
        counts = samples.class_counts(self.num_classes)
        return bool(counts.max() <= _BALANCED_RATIO * max(counts.min(), 1))

    def describe_classes(self, answer: _Answer) -> list[dict[str, str | int | float | None]]:
        """Describe each class: counts and recall on test. Described, never tested."""
        test = self.roles["test"]
        reasons = np.array([reason or "" for reason in self.table["reject_reason"].to_pylist()])
        rows: list[dict[str, str | int | float | None]] = []
        for label, name in enumerate(self.splits.classes):
            mine, items = self.candidates.labels == label, test.labels == label
            agreement = self.table["label_predicted"].to_pandas().to_numpy()[mine] == label
            treated = answer.predicted.get(answer.treated)
            rows.append(
                {
                    "class": name,
                    "real_train": self.splits.class_counts["train"][label],
                    "candidates": int(mine.sum()),
                    "accepted": int((reasons[mine] == "").sum()),
                    "over_quota": int((reasons[mine] == _QUOTA).sum()),
                    "label_agreement": float(agreement.mean()) if mine.any() else None,
                    "recall_baseline": float((answer.predicted[answer.baseline][:, items] == label).mean()),
                    "recall_with_synthetic": None if treated is None else float((treated[:, items] == label).mean()),
                    "test_samples": int(items.sum()),
                }
            )
        return rows


def _arm(name: str) -> Arm:
    return next(arm for arm in BASELINES if arm.name == name)
