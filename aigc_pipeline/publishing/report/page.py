"""The page itself: records to rows, rows to HTML through one template. What is missing is said, never left blank."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from aigc_pipeline.core.store import write_atomically
from aigc_pipeline.publishing.report.content import ReportContent
from aigc_pipeline.publishing.report.gallery import MAX_CLASSES, PER_GROUP, build_gallery
from aigc_pipeline.publishing.report.plots import draw_arms, draw_p_real, draw_reliability
from aigc_pipeline.publishing.report.wording import FILTERS, GLOSSARY, METRICS, has_synthetic, outcome_words
from aigc_pipeline.publishing.snippet import SNIPPET
from aigc_pipeline.records import Estimate, EvalReport, Verdict

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(file: Path, content: ReportContent) -> None:
    """Write the page; a reader sees the old file or the new one."""
    write_atomically(file, render_report(content).encode())


def render_report(content: ReportContent) -> str:
    """Return one HTML document that needs nothing but itself."""
    evaluation, verdict = content.evaluation, content.evaluation.verdict
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment.get_template("report.html.j2").render(
        content=content,
        verdict=verdict,
        outcome=verdict.outcome if verdict else "untested",
        outcome_words=outcome_words(verdict.outcome if verdict else None),
        ruler=_Ruler.of(verdict) if verdict else None,
        warnings=tuple(_warnings(content)),
        gallery=build_gallery(content),
        per_group=PER_GROUP,
        max_classes=MAX_CLASSES,
        histogram=_markup(draw_p_real(content.candidates)),
        reliability=_markup(draw_reliability(content.judge.reliability)),
        arms_plot=_markup(draw_arms(evaluation.arms, verdict.baseline if verdict else None)),
        has_synthetic=has_synthetic,
        class_rows=tuple(_class_rows(content)),
        fidelity=tuple(_fidelity_rows(evaluation)),
        metrics=evaluation.metrics,
        glossary=GLOSSARY,
        snippet=SNIPPET,
        css=Markup((_TEMPLATES / "style.css").read_text()),  # noqa: S704 - our own file
    )


@dataclass(frozen=True, slots=True)
class _Ruler:
    """Where the uplift, its interval and zero lie on a line, in percent of its length."""

    zero: float
    low: float
    high: float
    value: float

    @classmethod
    def of(cls, verdict: Verdict) -> "_Ruler":
        uplift = verdict.uplift
        low = uplift.value if uplift.ci_low is None else uplift.ci_low
        high = uplift.value if uplift.ci_high is None else uplift.ci_high
        reach = max(1.25 * max(abs(low), abs(high)), 0.01)

        def place(share: float) -> float:
            return round(50 + 50 * share / reach, 2)

        return cls(place(0), place(low), place(high), place(uplift.value))


@dataclass(frozen=True, slots=True)
class _Warning:
    """Something a reader must know before using the data."""

    is_grave: bool
    text: str


@dataclass(frozen=True, slots=True)
class _ClassRow:
    """One class, from the plan to the test."""

    name: str
    real: int | None
    want: int
    method: str
    expectation: str
    candidates: int | None
    accepted: int
    short: int
    acceptance: float | None
    agreement: float | None
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class _FidelityRow:
    """One metric of the accepted samples, of all candidates, and of real samples among themselves."""

    title: str
    reading: str
    before: Estimate | None
    after: Estimate | None
    real: Estimate | None


def _warnings(content: ReportContent) -> Iterator[_Warning]:
    """Yield what is wrong, the grave things first."""
    evaluation, judge, filtered = content.evaluation, content.judge, content.filtered
    if evaluation.memorised:
        yield _Warning(
            True, "The screen for copies failed: too many synthetic samples lie too close to training samples."
        )
    for complaint in judge.complaints:
        yield _Warning(True, f"Filtering by probability is blocked: {complaint}.")
    if not filtered.num_in:
        yield _Warning(True, "No candidate was synthesized.")
    elif not filtered.num_kept:
        yield _Warning(True, f"None of {filtered.num_in:,} candidates was accepted.")
    if judge.critic_mode == "none":
        yield _Warning(
            False, "There is no critic (too few real samples): candidates passed on label and distance alone."
        )
    elif judge.critic_mode == "crossfit":
        yield _Warning(
            False, "Few calibration samples: the critic is cross-fitted on training and calibration samples together."
        )
    if not filtered.filtered_by_probability and judge.healthy and judge.critic_mode != "none":
        yield _Warning(False, "No gate filtered by probability.")
    if filtered.shortfall:
        missing = ", ".join(f"{name} ({n:,})" for name, n in filtered.shortfall.items())
        yield _Warning(False, f"Fewer accepted than wanted, and never padded: {missing}.")


def _class_rows(content: ReportContent) -> Iterator[_ClassRow]:
    measured = {row["class"]: row for row in content.evaluation.per_class}
    for planned in content.plan.classes:
        name = planned.class_name
        row = measured.get(name, {})
        yield _ClassRow(
            name,
            real=_whole(row.get("real_train")),
            want=planned.want,
            method=planned.method,
            expectation=planned.expectation,
            candidates=_whole(row.get("candidates")),
            accepted=content.filtered.kept_by_class.get(name, 0),
            short=content.filtered.shortfall.get(name, 0),
            acceptance=content.judge.acceptance.get(name),
            agreement=_real(row.get("label_agreement")),
            before=_real(row.get("recall_baseline")),
            after=_real(row.get("recall_with_synthetic")),
        )


def _fidelity_rows(evaluation: EvalReport) -> Iterator[_FidelityRow]:
    measured = dict.fromkeys(key.partition("/")[0] for key in evaluation.metrics)
    for name in measured:
        if name in METRICS:
            title, reading = METRICS[name]
            before, after, real = (evaluation.metrics.get(f"{name}/{which}") for which in ("before", "after", "real"))
            yield _FidelityRow(title, reading, before, after, real)


def _markup(drawing: str | None) -> Markup | None:
    return None if drawing is None else Markup(drawing)  # noqa: S704 - drawn here, not user content


def _real(value: str | float | None) -> float | None:
    return None if value is None else float(value)


def _whole(value: str | float | None) -> int | None:
    return None if value is None else int(value)
