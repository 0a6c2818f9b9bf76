"""Rows of the page's tables, from the records. What is unknown is None, and the template says so."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from aigc_pipeline.publishing.report.content import ReportContent
from aigc_pipeline.publishing.report.summary import is_starved
from aigc_pipeline.publishing.report.wording import HEADLINE_METRICS, METRICS, metric_words
from aigc_pipeline.records import Estimate, EvalReport, GroupOutcome


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class, from the plan to the test."""

    name: str
    real: int | None
    want: int
    method: str
    expectation: str
    candidates: int | None
    generated: int
    varied: int
    """Accepted samples of either kind; each may fill what is wanted alone."""
    short: int
    acceptance: float | None
    agreement: float | None
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class FidelityRow:
    """One metric of the accepted samples, of all candidates, and of real samples among themselves."""

    title: str
    where: str
    reading: str
    is_headline: bool
    before: Estimate | None
    after: Estimate | None
    real: Estimate | None


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group: what passed, and its recall."""

    outcome: GroupOutcome
    is_grave: bool

    @property
    def acceptance(self) -> float | None:
        """Share of its candidates that passed; None without candidates."""
        return self.outcome.accepted / self.outcome.candidates if self.outcome.candidates else None


def class_rows(content: ReportContent) -> Iterator[ClassRow]:
    """Yield the classes in the order of the plan."""
    measured = {row["class"]: row for row in content.evaluation.per_class}
    kept = _accepted(content.candidates)
    for planned in content.plan.classes:
        name = planned.class_name
        row = measured.get(name, {})
        yield ClassRow(
            name,
            real=_whole(row.get("real_train")),
            want=planned.want,
            method=planned.method,
            expectation=planned.expectation,
            candidates=_whole(row.get("candidates")),
            generated=kept[name, "generated"],
            varied=kept[name, "classic"],
            short=content.filtered.shortfall.get(name, 0),
            acceptance=content.judge.acceptance.get(name),
            agreement=_real(row.get("label_agreement")),
            before=_real(row.get("recall_baseline")),
            after=_real(row.get("recall_with_synthetic")),
        )


def fidelity_rows(evaluation: EvalReport) -> Iterator[FidelityRow]:
    """Yield the metrics that were measured, in the order in which they are explained."""
    measured = {key.partition("/")[0] for key in evaluation.metrics}
    for name in METRICS:
        if name in measured:
            title, where, reading = metric_words(name, evaluation.judge_encoder)
            before, after, real = (evaluation.metrics.get(f"{name}/{which}") for which in ("before", "after", "real"))
            yield FidelityRow(title, where, reading, name in HEADLINE_METRICS, before, after, real)


def group_rows(evaluation: EvalReport) -> tuple[GroupRow, ...]:
    """Return the groups, those with a warning first."""
    rows = [GroupRow(group, is_starved(group.warning)) for group in evaluation.groups]
    return tuple(sorted(rows, key=lambda row: (not row.is_grave, row.outcome.warning is None)))


def _accepted(candidates: pa.Table) -> Counter[tuple[str, str]]:
    """Count accepted candidates by class and origin."""
    rows = zip(*(candidates[name].to_pylist() for name in ("class_name", "origin", "accepted")), strict=True)
    return Counter((name, origin) for name, origin, accepted in rows if accepted)


def _real(value: str | float | None) -> float | None:
    return None if value is None else float(value)


def _whole(value: str | float | None) -> int | None:
    return None if value is None else int(value)
