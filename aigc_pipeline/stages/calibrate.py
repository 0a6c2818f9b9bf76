"""Fit the judge on real data that the generator never saw, prove it on other unseen data, freeze it on a pilot pool.

The critic is fitted on calibration reals against fresh fakes (on train and calibration reals where the latter are too
few). Its calibration is measured on selection reals against other fresh fakes. The pilot pool fixes, per class, the
ratio's normalization, the acceptance constant of the budget, and the acceptance of all gates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.data.loader import LabelledCells, concatenate, load_cells
from aigc_pipeline.features.neighbours import nearest_over_views
from aigc_pipeline.features.views import view_blocks
from aigc_pipeline.gates import FilterPolicy, Gate, RejectionSampling, apply_gates
from aigc_pipeline.generators.synthesis import Order, Synthesizer
from aigc_pipeline.loading import open_bench, open_synthesizer
from aigc_pipeline.metrics.trade import Pilot, Trade, choose_budget
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.records import Checkpoint, DatasetSplits, Embeddings, Judge, SynthesisPlan
from aigc_pipeline.scorers import Bench, JudgeState, ScoringBatch, add_set_columns, score_batch
from aigc_pipeline.scorers.acceptance import solve_acceptance, solve_discriminator
from aigc_pipeline.scorers.calibration import fit_temperature
from aigc_pipeline.scorers.calibrators import AnyCalibrator, Platt, fit_per_class
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
from aigc_pipeline.scorers.health import Health, Limits, measure
from aigc_pipeline.scorers.in_distribution import outlyingness

STAGE_VERSION = 4
STATE = "judge.npz"
_FAKES_PER_REAL = 2
_MIN_FAKES = 30
_MIN_SURVIVORS = 20
_CLASSIC_PILOT_PART = 4
_MIN_CLASS_SHARE = 0.8
_COPY_FLOOR_TOLERANCES = 8.0
_DISTINCT_FLOOR_TOLERANCES = 2.0


class CalibrateConfig(Settings):
    """How the judge is fitted and when it is trusted."""

    min_calibration: int = Field(default=60, ge=10)
    """Fewer calibration samples than this, and the critic is cross-fitted on train and calibration together. It then
    does without D's logit, which means nothing on samples that D was trained on, and separates worse."""
    min_reals: int = Field(default=50, ge=10)
    """Fewer reals than this in all, and there is no critic; candidates are gated by label and distance alone."""
    pilot_per_class: int = Field(default=200, ge=20)
    """Fresh fakes per class that freeze the acceptance constants."""
    copy_quantile: float = Field(default=0.01, gt=0, lt=0.5)
    """Quantile of hold-out distances under which a candidate counts as a copy."""
    calibrator: AnyCalibrator = Platt()
    """How raw critic scores become probabilities."""
    class_shrinkage: float | None = Field(default=None, gt=0)
    """Calibrate each class by itself, shrunk towards all classes together: at so many reals its own counts half. None:
    all classes together."""
    min_auc: float = Field(default=0.53, ge=0.5, lt=1)
    """Below it the critic cannot tell generated from real, and filtering by probability is skipped as pointless."""
    max_auc: float = Field(default=0.95, gt=0.5, le=1)
    """Above it real and generated samples hardly overlap: the generator is not ready, and no ratio can be trusted."""
    max_z: float = Field(default=3.0, gt=0)
    """Largest |Z| on unseen data that still counts as calibrated."""
    max_log_mean_ratio: float = Field(default=0.7, gt=0)
    """Largest |log E_q[r]|; 0 for a calibrated ratio with full coverage."""
    min_effective_share: float = Field(default=0.1, gt=0, lt=1)
    """Smallest effective sample size of the ratio, as a share of the fakes."""
    max_excess_ece: float = Field(default=0.05, gt=0)
    """Largest calibration error beyond chance, in probability."""

    def limits(self) -> Limits:
        """Return what still counts as healthy."""
        return Limits(
            self.min_auc,
            self.max_auc,
            self.max_z,
            self.max_excess_ece,
            self.max_log_mean_ratio,
            self.min_effective_share,
        )


def calibrate(
    context: Context,
    config: CalibrateConfig,
    policy: FilterPolicy,
    planned: SynthesisPlan,
    splits: DatasetSplits,
    embeddings: Embeddings,
    checkpoint: Checkpoint,
) -> Judge:
    """Fit, check and freeze the judge; writes `judge.npz`.

    Raises:
        ConfigError: if a class budget names an unknown class.
    """
    rejection = next((gate for gate in policy.gates if isinstance(gate, RejectionSampling)), None)
    if rejection and (unknown := sorted(set(rejection.class_keep_share) - set(splits.classes))):
        msg = f"filter.gates: class_keep_share names the classes {unknown}; the dataset has {sorted(splits.classes)}."
        raise ConfigError(msg)
    roles = {role: load_cells(context.files_of(splits) / f"{role}.arrow") for role in ("calibration", "selection")}
    synthesizer = open_synthesizer(context, planned, splits, checkpoint)
    bench = open_bench(context, splits, embeddings, synthesizer)
    fitting = _Fitting(context, config, splits, synthesizer, bench)
    state = fitting.distances(roles["calibration"], roles["selection"])
    mode, reals = fitting.reals(roles["calibration"])
    health = Health.without_critic()
    if mode != "none":
        state = fitting.critic(state, reals, roles["calibration"], use_d_logit=mode == "calibration")
        health = fitting.health(state, roles["selection"])
    trusted = mode != "none" and health.is_informative and not health.complaints
    state, pilot = fitting.normalize(replace(state, filters_by_probability=trusted))
    trade = None
    if rejection is not None and trusted:
        state, trade = fitting.budget(state, pilot, policy, rejection, roles["calibration"])
    acceptance = fitting.acceptance(state, pilot, policy.gates)
    beside = fitting.pilot_beside(planned) if planned.with_classic else None
    classic = fitting.acceptance(state, beside, policy.gates) if beside else {}
    sha256 = state.save(context.out / STATE)
    _tell(context, mode, health, len(roles["calibration"]), trade)
    return context.record(
        Judge,
        critic_mode=mode,
        healthy=not health.complaints,
        complaints=health.complaints,
        calibrator=config.calibrator.kind,
        **health.numbers,
        reliability=health.reliability,
        temperature=state.temperature,
        copy_threshold=state.copy_threshold,
        acceptance=acceptance,
        classic_acceptance=classic,
        trade=trade.points if trade else (),
        keep_share=trade.keep_share if trade else None,
        relaxed_from=trade.relaxed_from if trade else None,
        state_sha256=sha256,
    )


@dataclass(frozen=True)
class _Pilot:
    """Fresh fakes in the order they were made, and their cells."""

    batch: ScoringBatch
    cells: pa.Array


@dataclass(frozen=True)
class _Fitting:
    """The steps, and what they share."""

    context: Context
    config: CalibrateConfig
    splits: DatasetSplits
    synthesizer: Synthesizer
    bench: Bench

    def distances(self, calibration: LabelledCells, selection: LabelledCells) -> JudgeState:
        """Start a state: thresholds from hold-out and training distances, the referee's temperature."""
        modality, spec = modality_of(self.splits.spec), self.splits.spec
        holdout = concatenate(calibration, selection) if len(selection) else calibration
        train, reference = self.synthesizer.train, self.bench.reference
        distance, _ = nearest_over_views(view_blocks(holdout.cells, spec), reference.view)
        outlying = np.zeros(0, np.float32)
        if len(holdout):
            outlying = outlyingness(self.bench.encoder.encode(holdout.cells), reference.features)
        copy_floor = _COPY_FLOOR_TOLERANCES * modality.tolerance
        own_row = np.arange(len(train), dtype=np.int64)
        neighbour = np.zeros(0, np.float32)
        if len(train) > 1:
            neighbour, _ = nearest_over_views(view_blocks(train.cells, spec), reference.view, exclude=own_row)
        num_classes = len(self.splits.classes)
        return JudgeState(
            critic_weights=np.zeros(0),
            critic_bias=0.0,
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
            is_varied=np.isin(np.arange(num_classes), list(self.synthesizer.varied_labels))
            | (self.synthesizer.generator.origin == "classic"),
            temperature=self._temperature(calibration),
            holdout_distances=np.sort(distance).astype(np.float64),
            holdout_outlyingness=np.sort(outlying).astype(np.float64),
            copy_threshold=max(_quantile(distance, self.config.copy_quantile), copy_floor),
            distinct_threshold=max(
                _quantile(neighbour, self.config.copy_quantile), _DISTINCT_FLOOR_TOLERANCES * modality.tolerance
            ),
            class_have=np.array(self.splits.class_counts["train"], np.int64),
        )

    def reals(self, calibration: LabelledCells) -> tuple[str, LabelledCells]:
        """Choose which reals fit the critic."""
        if len(calibration) >= self.config.min_calibration:
            return "calibration", calibration
        both = concatenate(self.synthesizer.train, calibration)
        return ("crossfit", both) if len(both) >= self.config.min_reals else ("none", both)

    def critic(
        self, state: JudgeState, reals: LabelledCells, calibration: LabelledCells, *, use_d_logit: bool
    ) -> JudgeState:
        """Fit the critic on reals against as many fresh fakes per class; D's logit only on reals that D never saw."""
        num_classes = len(self.splits.classes)
        fakes = self._fakes(self._fakes_for(reals), "fit").batch
        real_batch = self._batch(reals)
        labels = np.concatenate([real_batch.labels, fakes.labels])
        is_real = np.arange(len(labels)) < len(reals)
        if use_d_logit and fakes.d_logit is not None and real_batch.d_logit is not None:
            means = [_mean(fakes.d_logit[fakes.labels == k]) for k in range(num_classes)]
            scale = max(float((fakes.d_logit - np.array(means)[fakes.labels]).std()), 1e-6)
            state = replace(state, uses_d_logit=True, d_offset=np.array(means), d_scale=scale)
        inputs = np.concatenate([critic_inputs(real_batch, state), critic_inputs(fakes, state)])
        weights = class_balanced_weights(labels, is_real)
        fitted = fit_critic(inputs, is_real, weights, seed=self.context.seed_for("folds"))
        overall, per_class, shares = fit_per_class(
            self.config.calibrator, fitted.out_of_fold, is_real, weights, labels,
            num_classes=num_classes, shrinkage=self.config.class_shrinkage,
        )  # fmt: skip
        state = replace(
            state,
            critic_weights=fitted.weights,
            critic_bias=fitted.bias,
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
        fakes, real_batch = self._fakes(self._fakes_for(selection), "check").batch, self._batch(selection)
        labels = np.concatenate([real_batch.labels, fakes.labels])
        logit = np.concatenate([calibrated_logit(real_batch, state), calibrated_logit(fakes, state)])
        is_real = np.arange(len(labels)) < len(selection)
        return measure(logit, labels, is_real, self.config.limits(), seed=self.context.seed_for("health"))

    def normalize(self, state: JudgeState) -> tuple[JudgeState, _Pilot]:
        """Draw the pilot pool; make ratios average 1 over its fakes of each class."""
        labels = range(len(self.splits.classes))
        pilot = self._fakes(dict.fromkeys(labels, self.config.pilot_per_class), "pilot")
        if not len(state.critic_weights):
            return state, pilot
        logit = np.clip(calibrated_logit(pilot.batch, state), -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        mean = np.array([np.log(np.exp(logit[pilot.batch.labels == k]).mean()) for k in labels])
        return replace(state, log_mean_ratio=mean), pilot

    def budget(
        self,
        state: JudgeState,
        pilot: _Pilot,
        policy: FilterPolicy,
        gate: RejectionSampling,
        calibration: LabelledCells,
    ) -> tuple[JudgeState, Trade]:
        """Solve the acceptance constants on the pilot's survivors; measure the trade and relax the budget where needed."""
        passed = self._passes(state, pilot, policy.before_rejection())

        def accept(share: float) -> NDArray[np.float64]:
            return accept_probability(pilot.batch, self._solve(state, pilot.batch, passed, gate, share))[passed]

        labels = pilot.batch.labels[passed]
        own_budget = [self.splits.classes.index(name) for name in gate.class_keep_share]
        trade = choose_budget(
            self.bench.encoder.encode(calibration.cells),
            Pilot(
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
        ratio, constants, peaks = log_ratio(batch, state), [], []
        allowed = p_of(calibrated_logit(batch, state)) >= gate.min_p_real
        for label, name in enumerate(self.splits.classes):
            in_class = batch.labels == label
            rows = in_class & passed if (in_class & passed).sum() >= _MIN_SURVIVORS else in_class
            share = gate.class_keep_share.get(name, keep_share)
            values, peak = ratio[rows], float(ratio[rows].max())
            constants.append(
                solve_acceptance(np.exp(values) * allowed[rows], share)
                if gate.rule == "optimal"
                else solve_discriminator(values, share, peak, allowed=allowed[rows])
            )
            peaks.append(peak)
        return replace(
            state,
            acceptance_constant=np.array(constants),
            acceptance_peak=np.array(peaks),
            acceptance_rule=gate.rule,
            min_p_real=gate.min_p_real,
        )

    def acceptance(self, state: JudgeState, pilot: _Pilot, gates: Sequence[Gate]) -> dict[str, float]:
        """Return the share of the pilot that passes all gates, per class."""
        passed, labels = self._passes(state, pilot, gates), pilot.batch.labels
        return {self.splits.classes[k]: float(passed[labels == k].mean()) for k in np.unique(labels)}

    def pilot_beside(self, planned: SynthesisPlan) -> _Pilot:
        """Return a smaller pilot of varied real samples of the generated classes."""
        number = max(self.config.pilot_per_class // _CLASSIC_PILOT_PART, _MIN_SURVIVORS)
        generated = [label for label, each in enumerate(planned.classes) if each.method == "generate"]
        root = self.context.seed_for("fakes")
        return self._made(
            self.synthesizer.orders(dict.fromkeys(generated, number), "beside", root=root, varied_only=True), "beside"
        )

    def _passes(self, state: JudgeState, pilot: _Pilot, gates: Sequence[Gate]) -> NDArray[np.bool_]:
        batch = pilot.batch
        table = pa.table({"label": pa.array(batch.labels), **score_batch(batch, state, self.bench.reference)})
        reasons = apply_gates(gates, add_set_columns(table, pilot.cells, self.splits.spec, state))
        return np.array([reason is None for reason in reasons], bool)

    def _fakes_for(self, reals: LabelledCells) -> dict[int, int]:
        counts = reals.class_counts(len(self.splits.classes))
        return {k: max(_FAKES_PER_REAL * int(n), _MIN_FAKES) for k, n in enumerate(counts) if n}

    def _fakes(self, counts: Mapping[int, int], purpose: str) -> _Pilot:
        """Return fresh fakes; their seeds share nothing with those of published candidates."""
        return self._made(self.synthesizer.orders(counts, purpose, root=self.context.seed_for("fakes")), purpose)

    def _made(self, orders: Sequence[Order], purpose: str) -> _Pilot:
        cells, _ = self.synthesizer.make(orders)
        batch = self.bench.prepare(
            cells,
            labels=np.array([order.label for order in orders], np.int64),
            parents=np.array([order.parent for order in orders], np.int64),
            ids=[f"{purpose}-{i}" for i in range(len(orders))],
            run_seed=self.context.seed,
        )
        return _Pilot(batch, cells)

    def _batch(self, reals: LabelledCells) -> ScoringBatch:
        return self.bench.prepare(
            reals.cells,
            labels=reals.labels,
            parents=np.full(len(reals), -1, np.int64),
            ids=reals.ids,
            run_seed=self.context.seed,
        )

    def _temperature(self, calibration: LabelledCells) -> float:
        if not self.bench.encoder.has_head or not len(calibration):
            return 1.0
        return fit_temperature(self.bench.encoder.encode_with_logits(calibration.cells)[1], calibration.labels)


def _quantile(distances: NDArray[np.floating], q: float) -> float:
    return float(np.quantile(distances, q)) if len(distances) else 0.0


def _mean(values: NDArray[np.floating]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _tell(context: Context, mode: str, health: Health, num_calibration: int, trade: Trade | None) -> None:
    reporter = context.reporter
    if mode == "none":
        reporter.note("too few real samples for a critic: candidates are gated by label and distance alone.")
        return
    if mode == "crossfit":
        reporter.note(
            f"only {num_calibration} calibration samples: the critic is cross-fitted on train and calibration together."
        )
    reporter.table(
        "judge", [{name: value if value is None else round(value, 3) for name, value in health.numbers.items()}]
    )
    for complaint in health.complaints:
        reporter.note(f"filtering by probability is blocked: {complaint}.")
    if not health.complaints and not health.is_informative:
        reporter.note("the critic cannot tell generated from real samples: filtering by probability is skipped.")
    if trade is not None and trade.relaxed_from is not None:
        reporter.note(
            f"the rejection budget was raised from {trade.relaxed_from:.2f} to {trade.keep_share:.2f}: on the pilot it cost "
            "diversity (recall, coverage) without buying precision."
        )
    frozen = next((point for point in trade.points if point.keep_share == trade.keep_share), None) if trade else None
    if frozen is not None and frozen.min_class_share < _MIN_CLASS_SHARE:
        reporter.note(
            f"rejection starves a class: it keeps {frozen.min_class_share:.0%} of its share. Lower min_p_real of "
            "rejection_sampling, or give the class a budget of its own (class_keep_share)."
        )
