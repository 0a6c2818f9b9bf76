"""Fit the judge on real data that the generator never saw, prove it on other unseen data, freeze it on a pilot pool.

The critic is fitted on calibration reals against fresh fakes (on train and calibration reals where the latter are too
few). Its calibration is measured on selection reals against other fresh fakes. The pilot pool fixes, per class, the
ratio's normalization, the acceptance constant of the budget, and the acceptance of all gates; the latter on a pool of its own
where candidates are made from real samples, held-back ones included.
"""

from dataclasses import replace

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.samples import HELD_BACK
from aigc_pipeline.data.loader import load_cells
from aigc_pipeline.gates import FilterPolicy
from aigc_pipeline.judging.fitting import Fitting
from aigc_pipeline.judging.settings import JudgeSettings
from aigc_pipeline.loading import open_bench, open_synthesizer
from aigc_pipeline.metrics.trade import Trade
from aigc_pipeline.records import Checkpoint, DatasetSplits, Embeddings, Judge, SynthesisPlan
from aigc_pipeline.scorers.health import Health

STAGE_VERSION = 8
STATE = "judge.npz"
_MIN_CLASS_SHARE = 0.8


class CalibrateConfig(JudgeSettings):
    """How the judge is fitted and when it is trusted."""


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
    rejection = policy.rejection
    roles = {role: load_cells(context.files_of(splits) / f"{role}.arrow") for role in HELD_BACK}
    synthesizer = open_synthesizer(context, planned, splits, checkpoint)
    bench = open_bench(context, splits, embeddings, synthesizer)
    fitting = Fitting(context, config, splits, synthesizer, bench)
    state = fitting.distances(roles["calibration"], roles["selection"])
    calibration, selection = (fitting.of_judged(roles[role]) for role in HELD_BACK)
    mode, reals = fitting.reals(calibration)
    health = Health.without_critic()
    if mode != "none":
        state = fitting.critic(state, reals, calibration, use_d_logit=mode == "calibration")
        health = fitting.health(state, selection)
    trusted = mode != "none" and health.is_informative and not health.complaints
    state, pilot = fitting.normalize(replace(state, filters_by_probability=trusted))
    trade = None
    if rejection is not None and trusted:
        state, trade = fitting.budget(state, pilot, policy, rejection, calibration)
    acceptance = fitting.acceptance(state, pilot, policy.gates)
    if with_parents := fitting.pilots.with_parents():
        acceptance |= fitting.acceptance(state, with_parents, policy.gates)
    beside = fitting.pilots.beside(planned) if planned.with_classic else None
    classic = fitting.acceptance(state, beside, policy.gates) if beside else {}
    sha256 = state.save(context.out / STATE)
    if len(fitting.judged_labels):
        _tell(context, mode, health, len(calibration), trade)
    else:
        context.reporter.note(
            "no class is generated that a critic can judge: candidates are gated by label and distance alone."
        )
    return context.record(
        Judge,
        critic_mode=mode,
        healthy=not health.complaints,
        complaints=health.complaints,
        filters_by_probability=trusted,
        num_proof=None if mode == "none" else len(selection),
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


def _tell(context: Context, mode: str, health: Health, num_calibration: int, trade: Trade | None) -> None:
    reporter = context.reporter
    if mode == "none":
        reporter.note("too few real samples for a critic: candidates are gated by label and distance alone.")
        return
    if health.numbers["auc"] is None:
        reporter.note("no selection samples to prove the critic on: filtering by probability is skipped.")
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
