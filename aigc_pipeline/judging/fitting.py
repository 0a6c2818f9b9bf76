"""The steps that make a judge: distances, critic, proof on unseen data, normalization, budget, acceptance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.data.loader import LabelledCells, concatenate
from aigc_pipeline.features.neighbours import nearest_over_views
from aigc_pipeline.features.search import Reference
from aigc_pipeline.features.views import view_blocks
from aigc_pipeline.gates import FilterPolicy, Gate, RejectionSampling
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.judging.pilots import Pilot, Pilots
from aigc_pipeline.judging.settings import JudgeSettings
from aigc_pipeline.metrics.trade import Pilot as TradePilot
from aigc_pipeline.metrics.trade import Trade, choose_budget
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.records import DatasetSplits
from aigc_pipeline.scorers import Bench, JudgeState, ScoringBatch
from aigc_pipeline.scorers.acceptance import solve_acceptance, solve_discriminator
from aigc_pipeline.scorers.base import SMALL_CLASS
from aigc_pipeline.scorers.calibration import fit_temperature
from aigc_pipeline.scorers.calibrators import fit_per_class
from aigc_pipeline.scorers.critic import (
    LOG_RATIO_LIMIT,
    accept_probability,
    calibrate_scores,
    calibrated_logit,
    class_balanced_weights,
    critic_inputs,
    fit_critic,
    log_ratio,
    p_of,
)
from aigc_pipeline.scorers.health import Health, measure
from aigc_pipeline.scorers.in_distribution import outlyingness

_MIN_SURVIVORS = 20
COPY_FLOOR_TOLERANCES = 8.0
_REPEAT_TOLERANCES = 2.0
_MAX_SPACING_ROWS = 4_000
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Fitting:
    """The steps, and what they share."""

    context: Context
    config: JudgeSettings
    splits: DatasetSplits
    synthesizer: Synthesizer
    bench: Bench

    @property
    def pilots(self) -> Pilots:
        """Return where fakes come from."""
        return Pilots(self.context, self.splits, self.synthesizer, self.bench, self.config.pilot_per_class)

    def distances(self, calibration: LabelledCells, selection: LabelledCells) -> JudgeState:
        """Start a state: thresholds from hold-out and training distances, the referee's temperature."""
        modality, spec = modality_of(self.splits.spec), self.splits.spec
        holdout = concatenate(calibration, selection)
        train, reference = self.synthesizer.train, self.bench.reference
        distance, _ = nearest_over_views(view_blocks(holdout.cells, spec), reference.prepared_view)
        outlying = np.zeros(0, np.float32)
        if len(holdout):
            outlying = outlyingness(self.bench.encoder.encode(holdout.cells), reference.features)
        copy_floor, repeat = COPY_FLOOR_TOLERANCES * modality.tolerance, _REPEAT_TOLERANCES * modality.tolerance
        neighbour = spacing(train.cells, reference.prepared_view, spec, seed=self.context.seed_for("spacing"))
        num_classes = len(self.splits.classes)
        return JudgeState(
            critic_weights=np.zeros(0),
            critic_bias=0.0,
            critic_reals=np.zeros(num_classes, np.int64),
            uses_d_logit=False,
            d_offset=np.zeros(num_classes),
            d_scale=1.0,
            calibrator=self.config.calibrator.kind,
            calibration=np.zeros(0),
            class_calibration=np.zeros((num_classes, 0)),
            class_share=np.zeros(num_classes),
            log_mean_ratio=np.zeros(num_classes),
            acceptance_constant=np.full(num_classes, np.inf),
            acceptance_peak=np.zeros(num_classes),
            acceptance_rule="optimal",
            min_p_real=0.0,
            filters_by_probability=False,
            holdout_logits=np.zeros(0),
            temperature=self._temperature(calibration),
            holdout_distances=np.sort(distance).astype(np.float64),
            holdout_outlyingness=np.sort(outlying).astype(np.float64),
            copy_threshold=max(quantile(distance, self.config.copy_quantile), copy_floor),
            distinct_threshold=max(quantile(neighbour, self.config.copy_quantile), repeat),
            repeat_threshold=repeat,
            class_have=np.array(self.splits.class_counts["train"], np.int64),
        )

    @property
    def judged_labels(self) -> NDArray[np.int64]:
        """The classes that the critic judges: generated ones; where samples are made from real ones, only large ones."""
        family = self.synthesizer.generator
        if family.origin == "classic":
            return np.zeros(0, np.int64)
        generated = np.setdiff1d(np.arange(len(self.splits.classes)), list(self.synthesizer.varied_labels))
        have = np.array(self.splits.class_counts["train"])
        return generated[have[generated] >= SMALL_CLASS] if family.uses_parents else generated

    def of_judged(self, reals: LabelledCells) -> LabelledCells:
        """Return the reals of the classes that the critic judges."""
        return reals.take(np.flatnonzero(np.isin(reals.labels, self.judged_labels)))

    def reals(self, calibration: LabelledCells) -> tuple[str, LabelledCells]:
        """Choose which reals fit the critic.

        Args:
            calibration: of the classes that the critic judges.
        """
        if len(calibration) >= self.config.min_calibration:
            return "calibration", calibration
        both = concatenate(self.of_judged(self.synthesizer.train), calibration)
        return ("crossfit", both) if len(both) >= self.config.min_reals else ("none", both)

    def critic(
        self, state: JudgeState, reals: LabelledCells, calibration: LabelledCells, *, use_d_logit: bool
    ) -> JudgeState:
        """Fit the critic on reals against as many fresh fakes per class; D's logit only on reals that D never saw."""
        num_classes = len(self.splits.classes)
        fakes = self.pilots.as_many_as(reals, "fit").batch
        real_batch = self.pilots.reals(reals)
        labels = np.concatenate([real_batch.labels, fakes.labels])
        is_real = np.arange(len(labels)) < len(reals)
        if use_d_logit and fakes.d_logit is not None and real_batch.d_logit is not None:
            means = [_mean(fakes.d_logit[fakes.labels == k]) for k in range(num_classes)]
            scale = max(float((fakes.d_logit - np.array(means)[fakes.labels]).std()), 1e-6)
            state = replace(state, uses_d_logit=True, d_offset=np.array(means), d_scale=scale)
        inputs = np.concatenate([critic_inputs(real_batch, state), critic_inputs(fakes, state)])
        weights = class_balanced_weights(labels, is_real)
        fitted = fit_critic(inputs, is_real, weights, labels, seed=self.context.seed_for("folds"))
        overall, per_class, shares = fit_per_class(
            self.config.calibrator, fitted.out_of_fold, is_real, weights, labels,
            num_classes=num_classes, shrinkage=self.config.class_shrinkage,
        )  # fmt: skip
        state = replace(
            state,
            critic_weights=fitted.weights,
            critic_bias=fitted.bias,
            critic_reals=reals.class_counts(num_classes),
            calibration=overall,
            class_calibration=per_class,
            class_share=shares,
        )
        unseen = slice(len(reals) - len(calibration), len(reals))  # calibration reals come last
        holdout = calibrate_scores(fitted.out_of_fold[unseen], labels[unseen], state)
        return replace(state, holdout_logits=np.sort(holdout))

    def health(self, state: JudgeState, selection: LabelledCells) -> Health:
        """Measure the critic on reals and fakes that neither it nor its calibrator has seen."""
        if not len(selection):
            return Health.without_critic()
        fakes, real_batch = self.pilots.as_many_as(selection, "check").batch, self.pilots.reals(selection)
        labels = np.concatenate([real_batch.labels, fakes.labels])
        logit = np.concatenate([calibrated_logit(real_batch, state), calibrated_logit(fakes, state)])
        is_real = np.arange(len(labels)) < len(selection)
        return measure(logit, labels, is_real, self.config.limits(), seed=self.context.seed_for("health"))

    def normalize(self, state: JudgeState) -> tuple[JudgeState, Pilot]:
        """Draw the pilot pool; make ratios average 1 over its fakes of each class that the critic judges."""
        pilot = self.pilots.fresh("pilot")
        if not len(state.critic_weights):
            return state, pilot
        logit = np.clip(calibrated_logit(pilot.batch, state), -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        mean = state.log_mean_ratio.copy()
        for label in self.judged_labels:
            mean[label] = np.log(np.exp(logit[pilot.batch.labels == label]).mean())
        return replace(state, log_mean_ratio=mean), pilot

    def budget(
        self,
        state: JudgeState,
        pilot: Pilot,
        policy: FilterPolicy,
        gate: RejectionSampling,
        calibration: LabelledCells,
    ) -> tuple[JudgeState, Trade]:
        """Solve the acceptance constants on the pilot's survivors; measure the trade and relax the budget where needed."""
        passed = self.pilots.passes(state, pilot, policy.before_rejection()) & state.judges(pilot.batch)

        def accept(share: float) -> NDArray[np.float64]:
            return accept_probability(pilot.batch, self._solve(state, pilot.batch, passed, gate, share))[passed]

        labels = pilot.batch.labels[passed]
        own_budget = [self.splits.classes.index(name) for name in gate.class_keep_share]
        trade = choose_budget(
            self.bench.encoder.encode(calibration.cells),
            TradePilot(
                pilot.batch.features[passed],
                pilot.batch.coins[passed],
                np.where(np.isin(labels, own_budget), -1, labels),
            ),
            accept,
            configured=gate.keep_share,
            relaxes=gate.relaxes,
            seed=self.context.seed_for("trade"),
        )
        return self._solve(state, pilot.batch, passed, gate, trade.keep_share), trade

    def _solve(
        self,
        state: JudgeState,
        batch: ScoringBatch,
        passed: NDArray[np.bool_],
        gate: RejectionSampling,
        keep_share: float,
    ) -> JudgeState:
        """Solve the rule's constant per class over its survivors; over the whole class where those are too few."""
        ratio = log_ratio(batch, state)
        constants, peaks = state.acceptance_constant.copy(), state.acceptance_peak.copy()
        allowed = p_of(calibrated_logit(batch, state)) >= gate.min_p_real
        for label in self.judged_labels:
            name = self.splits.classes[label]
            in_class = batch.labels == label
            rows = in_class & passed if (in_class & passed).sum() >= _MIN_SURVIVORS else in_class
            share = gate.class_keep_share.get(name, keep_share)
            values, peak = ratio[rows], float(ratio[rows].max())
            constants[label] = (
                solve_acceptance(np.exp(values) * allowed[rows], share)
                if gate.rule == "optimal"
                else solve_discriminator(values, share, peak, allowed=allowed[rows])
            )
            peaks[label] = peak
        return replace(
            state,
            acceptance_constant=constants,
            acceptance_peak=peaks,
            acceptance_rule=gate.rule,
            min_p_real=gate.min_p_real,
        )

    def acceptance(self, state: JudgeState, pilot: Pilot, gates: Sequence[Gate]) -> dict[str, float]:
        """Return the share of the pilot that passes all gates, per class."""
        passed, labels = self.pilots.passes(state, pilot, gates), pilot.batch.labels
        return {self.splits.classes[k]: float(passed[labels == k].mean()) for k in np.unique(labels)}

    def _temperature(self, calibration: LabelledCells) -> float:
        if not self.bench.encoder.has_head or not len(calibration):
            return 1.0
        return fit_temperature(self.bench.encoder.encode_with_logits(calibration.cells)[1], calibration.labels)


def spacing(cells: pa.Array, view: Reference, spec: SampleSpec, *, seed: int) -> FloatArray:
    """Return how near training samples come to one another: of each, or of 4,000 drawn, the distance to its nearest other.

    All against all is quadratic, an hour for 41,000 pictures; a quantile needs no more than a draw.

    Args:
        cells: all training samples.
        view: their first view.
    """
    rows = np.arange(len(cells), dtype=np.int64)
    if len(cells) < 2:
        return np.zeros(0, np.float32)
    if len(cells) > _MAX_SPACING_ROWS:
        rows = np.sort(numpy_generator(seed, "rows").choice(rows, _MAX_SPACING_ROWS, replace=False))
    return nearest_over_views(view_blocks(cells.take(pa.array(rows)), spec), view, exclude=rows)[0]


def quantile(distances: NDArray[np.floating], q: float) -> float:
    """Return a quantile, 0 of nothing."""
    return float(np.quantile(distances, q)) if len(distances) else 0.0


def _mean(values: NDArray[np.floating]) -> float:
    return float(values.mean()) if len(values) else 0.0
