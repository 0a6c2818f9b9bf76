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
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.data.loader import LabelledCells, concatenate, load_cells
from aigc_pipeline.features.neighbours import nearest_over_views
from aigc_pipeline.features.views import view_blocks
from aigc_pipeline.gates import FilterPolicy, Gate, RejectionSampling, apply_gates
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.loading import open_bench, open_synthesizer
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.records import Checkpoint, DatasetSplits, Embeddings, Judge, SynthesisPlan
from aigc_pipeline.scorers import Bench, JudgeState, ScoringBatch, add_set_columns, score_batch
from aigc_pipeline.scorers.acceptance import solve_acceptance
from aigc_pipeline.scorers.calibration import (
    area_under_curve,
    brier,
    effective_share,
    expected_calibration_error,
    fit_temperature,
    reliability_curve,
    z_statistic,
)
from aigc_pipeline.scorers.critic import (
    LOG_RATIO_LIMIT,
    calibrated_logit,
    class_balanced_weights,
    critic_inputs,
    fit_critic,
    log_ratio,
)

STAGE_VERSION = 1
STATE = "judge.npz"
_FAKES_PER_REAL = 2
_MIN_FAKES = 30
_MIN_SURVIVORS = 20
_COPY_FLOOR_TOLERANCES = 8.0
_DISTINCT_FLOOR_TOLERANCES = 2.0


class CalibrateConfig(Settings):
    """How the judge is fitted and when it is trusted."""

    min_calibration: int = Field(default=200, ge=10)
    """Fewer calibration samples than this, and the critic is cross-fitted on train and calibration together."""
    min_reals: int = Field(default=50, ge=10)
    """Fewer reals than this in all, and there is no critic; candidates are gated by label and distance alone."""
    pilot_per_class: int = Field(default=200, ge=20)
    """Fresh fakes per class that freeze the acceptance constants."""
    copy_quantile: float = Field(default=0.01, gt=0, lt=0.5)
    """Quantile of hold-out distances under which a candidate counts as a copy."""
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


def calibrate(
    context: Context,
    config: CalibrateConfig,
    policy: FilterPolicy,
    planned: SynthesisPlan,
    splits: DatasetSplits,
    embeddings: Embeddings,
    checkpoint: Checkpoint,
) -> Judge:
    """Fit, check and freeze the judge; writes `judge.npz`."""
    roles = {role: load_cells(context.files_of(splits) / f"{role}.arrow") for role in ("calibration", "selection")}
    synthesizer = open_synthesizer(context, planned, splits, checkpoint)
    bench = open_bench(context, splits, embeddings, synthesizer)
    fitting = _Fitting(context, config, splits, synthesizer, bench)
    state = fitting.distances(roles["calibration"], roles["selection"])
    mode, reals = fitting.reals(roles["calibration"])
    health = _Health.without_critic()
    if mode != "none":
        state = fitting.critic(state, reals, roles["calibration"], use_d_logit=mode == "calibration")
        health = fitting.health(state, roles["selection"])
    state, acceptance = fitting.freeze(state, policy, health)
    sha256 = state.save(context.out / STATE)
    _tell(context, mode, health, len(roles["calibration"]))
    return context.record(
        Judge,
        critic_mode=mode,
        healthy=not health.complaints,
        complaints=health.complaints,
        **health.numbers,
        reliability=health.reliability,
        temperature=state.temperature,
        copy_threshold=state.copy_threshold,
        acceptance={splits.classes[label]: share for label, share in acceptance.items()},
        state_sha256=sha256,
    )


@dataclass(frozen=True)
class _Health:
    """How the critic did on unseen data."""

    numbers: Mapping[str, float | None]
    reliability: tuple[tuple[float, float, int], ...]
    complaints: tuple[str, ...]
    """Reasons why it must not filter and nothing may rest on it."""
    is_informative: bool

    @classmethod
    def without_critic(cls) -> "_Health":
        names = ("ece", "brier", "auc", "z", "mean_ratio", "effective_share")
        return cls(dict.fromkeys(names), (), (), is_informative=False)


@dataclass(frozen=True)
class _Fitting:
    """The steps, and what they share."""

    context: Context
    config: CalibrateConfig
    splits: DatasetSplits
    synthesizer: Synthesizer
    bench: Bench

    def distances(self, calibration: LabelledCells, selection: LabelledCells) -> JudgeState:
        """Start a state: copy and distinct thresholds from hold-out and training distances, the referee's temperature."""
        modality, spec = modality_of(self.splits.spec), self.splits.spec
        holdout = concatenate(calibration, selection) if len(selection) else calibration
        train, reference = self.synthesizer.train, self.bench.reference
        distance, _ = nearest_over_views(view_blocks(holdout.cells, spec), reference.view)
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
            platt_slope=1.0,
            platt_intercept=0.0,
            log_mean_ratio=np.zeros(num_classes),
            acceptance_constant=np.full(num_classes, np.inf),
            filters_by_probability=False,
            holdout_logits=np.zeros(0),
            temperature=self._temperature(calibration),
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
        counts = reals.class_counts(len(self.splits.classes))
        fakes, _ = self._fakes({k: max(_FAKES_PER_REAL * int(n), _MIN_FAKES) for k, n in enumerate(counts) if n}, "fit")
        real_batch = self._batch(reals)
        labels = np.concatenate([real_batch.labels, fakes.labels])
        is_real = np.arange(len(labels)) < len(reals)
        if use_d_logit and fakes.d_logit is not None and real_batch.d_logit is not None:
            offset = np.array(
                [
                    fakes.d_logit[fakes.labels == k].mean() if (fakes.labels == k).any() else 0.0
                    for k in range(len(counts))
                ]
            )
            scale = max(float((fakes.d_logit - offset[fakes.labels]).std()), 1e-6)
            state = replace(state, uses_d_logit=True, d_offset=offset, d_scale=scale)
        inputs = np.concatenate([critic_inputs(real_batch, state), critic_inputs(fakes, state)])
        weights = class_balanced_weights(labels, is_real)
        fitted = fit_critic(inputs, is_real, weights, seed=self.context.seed_for("folds"))
        holdout = fitted.out_of_fold[: len(reals)][len(reals) - len(calibration) :]
        return replace(
            state,
            critic_weights=fitted.weights,
            critic_bias=fitted.bias,
            platt_slope=fitted.slope,
            platt_intercept=fitted.intercept,
            holdout_logits=np.sort(holdout),
        )

    def health(self, state: JudgeState, selection: LabelledCells) -> _Health:
        """Measure the critic on reals and fakes that it has not seen."""
        if not len(selection):
            return _Health.without_critic()
        counts = selection.class_counts(len(self.splits.classes))
        fakes, _ = self._fakes(
            {k: max(_FAKES_PER_REAL * int(n), _MIN_FAKES) for k, n in enumerate(counts) if n}, "check"
        )
        real_batch = self._batch(selection)
        labels = np.concatenate([real_batch.labels, fakes.labels])
        is_real = np.arange(len(labels)) < len(selection)
        logit = np.concatenate([calibrated_logit(real_batch, state), calibrated_logit(fakes, state)])
        p, weights = 1 / (1 + np.exp(-np.clip(logit, -50, 50))), class_balanced_weights(labels, is_real)
        ratio = np.exp(np.clip(logit[~is_real], -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
        numbers = {
            "ece": expected_calibration_error(p, is_real, weights),
            "brier": brier(p, is_real, weights),
            "auc": area_under_curve(logit, is_real, weights),
            "z": z_statistic(p, is_real, weights),
            "mean_ratio": float(np.average(ratio, weights=weights[~is_real])),
            "effective_share": effective_share(ratio),
        }
        return _Health(
            numbers,
            reliability_curve(p, is_real, weights),
            _complaints(numbers, self.config),
            is_informative=numbers["auc"] >= self.config.min_auc,
        )

    def freeze(self, state: JudgeState, policy: FilterPolicy, health: _Health) -> tuple[JudgeState, dict[int, float]]:
        """Solve normalization and acceptance per class on the pilot pool; return the acceptance of all gates."""
        labels = range(len(self.splits.classes))
        pilot, cells = self._fakes(dict.fromkeys(labels, self.config.pilot_per_class), "pilot")
        budget = next((gate.keep_share for gate in policy.gates if isinstance(gate, RejectionSampling)), None)
        before = policy.before_rejection()
        if len(state.critic_weights):
            logit = np.clip(calibrated_logit(pilot, state), -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
            mean = np.array([np.log(np.exp(logit[pilot.labels == k]).mean()) for k in labels])
            state = replace(state, log_mean_ratio=mean)
        trusted = bool(len(state.critic_weights)) and health.is_informative and not health.complaints
        state = replace(state, filters_by_probability=trusted)
        if budget is not None and trusted:
            passed = np.array([reason is None for reason in self._judge(pilot, cells, state, before)])
            ratio = np.exp(log_ratio(pilot, state))
            constant = np.array([_constant(ratio, pilot.labels == k, passed, budget) for k in labels])
            state = replace(state, acceptance_constant=constant)
        passed = np.array([reason is None for reason in self._judge(pilot, cells, state, policy.gates)])
        return state, {k: float(passed[pilot.labels == k].mean()) for k in labels}

    def _judge(
        self, batch: ScoringBatch, cells: pa.Array, state: JudgeState, gates: Sequence[Gate]
    ) -> list[str | None]:
        table = pa.table({"label": pa.array(batch.labels), **score_batch(batch, state, self.bench.reference)})
        return apply_gates(gates, add_set_columns(table, cells, self.splits.spec, state))

    def _fakes(self, counts: Mapping[int, int], purpose: str) -> tuple[ScoringBatch, pa.Array]:
        """Return fresh fakes; their seeds share nothing with those of published candidates."""
        orders = self.synthesizer.orders(counts, purpose, root=self.context.seed_for("fakes"))
        cells, _ = self.synthesizer.make(orders)
        batch = self.bench.prepare(
            cells,
            labels=np.array([order.label for order in orders], np.int64),
            parents=np.array([order.parent for order in orders], np.int64),
            ids=[f"{purpose}-{i}" for i in range(len(orders))],
            run_seed=self.context.seed,
        )
        return batch, cells

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


def _constant(
    ratio: NDArray[np.float64], in_class: NDArray[np.bool_], passed: NDArray[np.bool_], budget: float
) -> float:
    """Solve c over the class's survivors of the gates before; over the whole class where those are too few."""
    rows = in_class & passed
    return solve_acceptance(ratio[rows if rows.sum() >= _MIN_SURVIVORS else in_class], budget)


def _quantile(distances: NDArray[np.floating], q: float) -> float:
    return float(np.quantile(distances, q)) if len(distances) else 0.0


def _complaints(numbers: Mapping[str, float], config: CalibrateConfig) -> tuple[str, ...]:
    complaints = []
    if numbers["auc"] > config.max_auc:
        complaints.append(
            f"the critic separates real from generated almost perfectly (AUC {numbers['auc']:.3f} > {config.max_auc}): "
            "the generator is not ready. Train longer (train.max_minutes) or give it more data"
        )
    if abs(numbers["z"]) > config.max_z:
        complaints.append(
            f"p_real is not calibrated on unseen data (|Z| {abs(numbers['z']):.1f} > {config.max_z}): "
            "the splits may differ in kind; check the source, or give more calibration samples"
        )
    if abs(np.log(numbers["mean_ratio"])) > config.max_log_mean_ratio:
        complaints.append(
            f"the mean density ratio of generated samples is {numbers['mean_ratio']:.2f} instead of about 1: "
            "the generator misses part of the data or the critic overfits. Train longer"
        )
    if numbers["effective_share"] < config.min_effective_share:
        complaints.append(
            f"the ratio rests on {numbers['effective_share']:.1%} of the generated samples (under "
            f"{config.min_effective_share:.0%}): rejection would keep a handful of modes. Train longer"
        )
    return tuple(complaints)


def _tell(context: Context, mode: str, health: _Health, num_calibration: int) -> None:
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
