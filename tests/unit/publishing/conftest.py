"""A small run, made by hand: what report and card are given. Tests change one thing at a time."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aigc_pipeline.core.tables import CANDIDATES, build_table
from aigc_pipeline.publishing.report import ReportContent
from aigc_pipeline.publishing.report.wording import METRICS
from aigc_pipeline.records import (
    Choice,
    ClassPlan,
    DosePoint,
    Estimate,
    EvalReport,
    FilteredSet,
    GroupOutcome,
    Judge,
    LearningPoint,
    SynthesisPlan,
    TradePoint,
    Verdict,
    Worth,
)

CLASSES = ("cat", "dog")
SENTENCE = "The synthetic samples help: +2.1 points of balanced accuracy over balanced softmax (interval +0.7 to +3.5)."
ContentFactory = Callable[..., ReportContent]
_REFERENCE: dict[str, Any] = {"fingerprint": "f" * 64, "path": "stages/x", "created_by": "test 1"}


@pytest.fixture
def make_content() -> ContentFactory:
    """Return a factory of contents; keywords replace whole fields of the default run."""

    def make(
        *, reasons: Sequence[str | None] = (None,) * 6 + ("label_agreement",) * 3 + ("class_quota",), **changes: Any
    ) -> ReportContent:
        candidates = _candidates(reasons)
        content = ReportContent(
            version="v0003",
            reason="the synthetic rows are published and recommended: they help",
            sentence=SENTENCE,
            plan=_plan(),
            judge=_judge(),
            filtered=_filtered(candidates),
            evaluation=_evaluation(),
            candidates=candidates,
            candidate_html=lambda rows: [f"<code>candidate-{row}</code>" for row in rows],
            train_html=lambda ids: [f"<code>{each}</code>" for each in ids],
            classes=CLASSES,
            source="pets & co",
            samples_seen=12_000,
            family="r3gan",
            created="2026-03-02T14:05:00+00:00",
        )
        return replace(content, **changes)

    return make


@pytest.fixture
def bare_content(make_content: ContentFactory) -> ReportContent:
    """Return a run in which all that can be missing is missing: no candidate, no critic, no verdict, no version."""
    measured = EvalReport(
        **_REFERENCE,
        metrics={},
        arms={},
        per_class=(),
        verdict=None,
        memorised=False,
        memorisation_z=None,
        judge_encoder="random_network",
        test_digest="t",
    )
    return make_content(
        reasons=(),
        version=None,
        sentence="No candidate was accepted, so there was nothing to test.",
        evaluation=measured,
        judge=_judge(
            critic_mode="none",
            reliability=(),
            acceptance={},
            trade=(),
            **dict.fromkeys(("ece", "excess_ece", "brier", "auc", "z", "keep_share", "relaxed_from"), None),
        ),
    )


def _candidates(reasons: Sequence[str | None]) -> pa.Table:
    n = len(reasons)
    labels = np.arange(n) % len(CLASSES)
    return build_table(
        CANDIDATES,
        {
            "sample_id": [f"synthetic-{row}" for row in range(n)],
            "label": labels,
            "class_name": [CLASSES[label] for label in labels],
            "origin": ["generated"] * n,
            "p_real": np.linspace(0.1, 0.9, n, dtype=np.float32),
            "train_distance": np.full(n, 0.25, np.float32),
            "accept_coin": np.full(n, 0.5),
            "importance_weight": np.ones(n, np.float32),
            "nearest_train_id": [f"train-{row % 3}" for row in range(n)],
            "class_want": np.full(n, 4),
            "accepted": [reason is None for reason in reasons],
            "reject_reason": list(reasons),
        },
    )


def _filtered(candidates: pa.Table) -> FilteredSet:
    reasons = candidates["reject_reason"].to_pylist()
    names = candidates["class_name"].to_pylist()
    kept = Counter(name for name, reason in zip(names, reasons, strict=True) if reason is None)
    return FilteredSet(
        **_REFERENCE,
        num_in=len(reasons),
        num_kept=kept.total(),
        rejected=dict(Counter(reason for reason in reasons if reason)),
        kept_by_class=dict(kept),
        shortfall={name: 4 - kept[name] for name in CLASSES if kept[name] < 4},
        filtered_by_probability=True,
    )


def _plan() -> SynthesisPlan:
    return SynthesisPlan(
        **_REFERENCE,
        classes=tuple(
            ClassPlan(class_name=name, have=40, want=4, method="generate", expectation="enough for a GAN")
            for name in CLASSES
        ),
        total_samples=12_000,
        samples_per_second=100.0,
        minutes=2.0,
        num_bytes=1_000,
    )


def _judge(**changes: Any) -> Judge:
    usual: dict[str, Any] = {
        "critic_mode": "calibration",
        "healthy": True,
        "complaints": (),
        "calibrator": "platt",
        "ece": 0.031,
        "excess_ece": 0.0047,
        "brier": 0.22,
        "auc": 0.68,
        "z": -1.2,
        "mean_ratio": 1.0,
        "effective_share": 0.5,
        "reliability": ((0.2, 0.25, 30), (0.8, 0.78, 20)),
        "temperature": 1.0,
        "copy_threshold": 0.06,
        "acceptance": dict.fromkeys(CLASSES, 0.4),
        "trade": (_trade(1.0, 0.61, 0.72), _trade(0.75, 0.7, 0.66), _trade(0.5, 0.82, 0.41)),
        "keep_share": 0.75,
        "relaxed_from": 0.5,
        "state_sha256": "a",
    }
    return Judge(**_REFERENCE, **{**usual, **changes})


def _trade(share: float, precision: float, recall: float) -> TradePoint:
    return TradePoint(
        keep_share=share, precision=precision, recall=recall, density=0.9, coverage=recall + 0.1, min_class_share=0.93
    )


def estimate(value: float, spread: float = 0.01) -> Estimate:
    return Estimate(value=value, ci_low=value - spread, ci_high=value + spread, n=80)


def _doses() -> tuple[DosePoint, ...]:
    return tuple(
        DosePoint(mix=mix, dose=dose, loss_weight=weight, uplift=estimate(uplift))
        for mix, dose, weight, uplift in (
            ("generated", 0.1, 0.5, 0.008), ("generated", 0.25, 0.5, 0.017), ("generated", 0.5, 0.5, -0.004),
            ("both", 0.1, 0.5, 0.005), ("both", 0.25, 0.5, 0.011), ("both", 0.5, 0.5, 0.002),
            ("generated", 0.25, 0.25, 0.012), ("generated", 0.25, 1.0, 0.006),
        )
    )  # fmt: skip


def _worth(name: str | None, sentence: str, real_samples: Estimate | None) -> Worth:
    curve = tuple(
        LearningPoint(num_real=n, accuracy=estimate(value))
        for n, value in ((20, 0.84), (40, 0.87), (60, 0.89), (80, 0.9))
    )
    return Worth(class_name=name, real_samples=real_samples, sentence=sentence, curve=curve)


def _real(value: float, low: float, high: float | None) -> Estimate:
    return Estimate(value=value, ci_low=low, ci_high=high, n=80)


def _groups() -> tuple[GroupOutcome, ...]:
    shared = {"test_samples": 40, "recall_baseline": 0.9, "recall_with_synthetic": 0.92}
    starved = "starved: 20% pass (interval 13% to 29%) where 40% is usual"
    return (
        GroupOutcome(attribute="class", group="cat", candidates=50, accepted=22, warning=None, **shared),
        GroupOutcome(attribute="site", group="south", candidates=50, accepted=10, warning=starved, **shared),
    )


def _evaluation() -> EvalReport:

    verdict = Verdict(
        outcome="helps",
        sentence=SENTENCE,
        baseline="balanced_softmax",
        uplift=Estimate(value=0.021, ci_low=0.007, ci_high=0.035, n=80),
        standard_error=0.007,
        smallest_detectable=0.0203,
        alpha=0.025,
        test_opening=1,
        dose=0.25,
        loss_weight=0.5,
    )
    return EvalReport(
        **_REFERENCE,
        metrics={f"{name}/{which}": estimate(2.0) for name in METRICS for which in ("before", "after", "real")}
        | {
            "near_copy_rate/before": estimate(0.03),
            "nearer_than_unseen_reals/after": estimate(0.52),
            "cas/synthetic": estimate(0.8),
            "cas/real": estimate(0.85),
        },
        arms={
            "smote": estimate(0.88),
            "balanced_softmax": estimate(0.9),
            "balanced_softmax_and_synthetic": estimate(0.921),
            "balanced_softmax_and_copies": estimate(0.902),
        },
        arm_scores={
            "balanced_softmax": {"accuracy": 0.913, "macro_precision": 0.887, "macro_recall": 0.9, "macro_f1": 0.894}
        },
        choice=Choice(
            baseline="balanced_softmax",
            mix="generated",
            dose=0.25,
            loss_weight=0.5,
            classes=("cat",),
            on_selection=True,
        ),
        doses=_doses(),
        worth=(
            _worth(None, "As good as 40 more real samples of the same class mix (12 to 85).", _real(40, 12, 85)),
            _worth("cat", "As good as 21 more real samples of class cat (4 or more).", _real(21, 4, None)),
            _worth("dog", "Nothing measurable of class dog: the uplift cannot be told from zero.", None),
        ),
        groups=_groups(),
        per_class=(
            {
                "class": "cat",
                "real_train": 40,
                "candidates": 5,
                "recall_baseline": 0.875,
                "recall_with_synthetic": None,
            },
        ),
        verdict=verdict,
        memorised=False,
        memorisation_z=-0.4,
        judge_encoder="random_network",
        test_digest="t",
    )
