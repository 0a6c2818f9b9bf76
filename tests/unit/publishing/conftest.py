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
from aigc_pipeline.records import (
    ClassPlan,
    Estimate,
    EvalReport,
    FilteredSet,
    Judge,
    SynthesisPlan,
    Verdict,
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
        test_openings={},
    )
    return make_content(
        reasons=(),
        version=None,
        sentence="No candidate was accepted, so there was nothing to test.",
        evaluation=measured,
        judge=_judge(
            critic_mode="none", reliability=(), acceptance={}, **dict.fromkeys(("ece", "brier", "auc", "z"), None)
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
        "ece": 0.031,
        "brier": 0.22,
        "auc": 0.68,
        "z": -1.2,
        "mean_ratio": 1.0,
        "effective_share": 0.5,
        "reliability": ((0.2, 0.25, 30), (0.8, 0.78, 20)),
        "temperature": 1.0,
        "copy_threshold": 0.06,
        "acceptance": dict.fromkeys(CLASSES, 0.4),
        "state_sha256": "a",
    }
    return Judge(**_REFERENCE, **{**usual, **changes})


def _evaluation() -> EvalReport:
    def estimate(value: float) -> Estimate:
        return Estimate(value=value, ci_low=value - 0.01, ci_high=value + 0.01, n=80)

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
        metrics={f"frechet_distance/{which}": estimate(2.0) for which in ("before", "after", "real")}
        | {
            "near_copy_rate/before": estimate(0.03),
            "nearer_than_unseen_reals/after": estimate(0.52),
            "cas/synthetic": estimate(0.8),
            "cas/real": estimate(0.85),
        },
        arms={"balanced_softmax": estimate(0.9), "balanced_softmax_and_synthetic": estimate(0.921)},
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
        test_openings={"t": 1},
    )
