"""The page itself: records to rows, rows to HTML through one template. What is missing is said, never left blank."""

from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from aigc_pipeline.core.store import write_atomically
from aigc_pipeline.publishing.report.content import ReportContent
from aigc_pipeline.publishing.report.curves import draw_doses, draw_learning, draw_trade
from aigc_pipeline.publishing.report.gallery import MAX_CLASSES, PER_GROUP, build_gallery
from aigc_pipeline.publishing.report.plots import draw_arms, draw_p_real, draw_reliability
from aigc_pipeline.publishing.report.summary import (
    choice_words,
    control_words,
    cost_words,
    groups_words,
    judged_words,
    mixture_words,
    trade_words,
    training_minutes,
    training_words,
    unfiltered_words,
    unseen_words,
    warnings_of,
    worth_of,
)
from aigc_pipeline.publishing.report.tables import class_rows, fidelity_rows, group_rows
from aigc_pipeline.publishing.report.wording import COMMAND, FILTERS, GLOSSARY, has_synthetic, outcome_words
from aigc_pipeline.publishing.snippet import REFERENCE_SNIPPET, SNIPPET
from aigc_pipeline.records import Verdict

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(file: Path, content: ReportContent) -> None:
    """Write the page; a reader sees the old file or the new one."""
    write_atomically(file, render_report(content).encode())


def render_report(content: ReportContent) -> str:
    """Return one HTML document that needs nothing but itself."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment.get_template("report.html.j2").render(**_findings(content), **_plots(content))


def _findings(content: ReportContent) -> dict[str, object]:
    """Return everything in words and numbers."""
    evaluation, verdict = content.evaluation, content.evaluation.verdict
    whole, by_class = worth_of(content)
    return {
        "content": content,
        "verdict": verdict,
        "outcome": verdict.outcome if verdict else "untested",
        "outcome_words": outcome_words(verdict.outcome if verdict else None),
        "ruler": _Ruler.of(verdict) if verdict else None,
        "warnings": warnings_of(content),
        "cost": cost_words(verdict, training_minutes(content)),
        "choice": choice_words(content),
        "mixture": mixture_words(verdict) if verdict else None,
        "has_command": COMMAND in evaluation.arms,
        "control": control_words(evaluation.arms, verdict),
        "trade": trade_words(content.judge),
        "worth": whole,
        "class_worth": by_class,
        "gallery": build_gallery(content),
        "per_group": PER_GROUP,
        "max_classes": MAX_CLASSES,
        "has_synthetic": has_synthetic,
        "class_rows": tuple(class_rows(content)),
        "groups": groups_words(content),
        "training": training_words(content),
        "unseen": unseen_words(content),
        "unfiltered": unfiltered_words(content),
        "judged": judged_words(content),
        "group_rows": group_rows(evaluation),
        "fidelity": tuple(fidelity_rows(evaluation)),
        "metrics": evaluation.metrics,
        "glossary": GLOSSARY,
        "snippet": REFERENCE_SNIPPET if content.has_references else SNIPPET,
        "css": Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
    }


def _plots(content: ReportContent) -> dict[str, Markup | None]:
    evaluation, verdict = content.evaluation, content.evaluation.verdict
    whole, _ = worth_of(content)
    with_synthetic = evaluation.arms.get(f"{verdict.baseline}_and_synthetic") if verdict else None
    drawings = {
        "histogram": draw_p_real(content.candidates),
        "reliability": draw_reliability(content.judge.reliability),
        "arms_plot": draw_arms(evaluation.arms, verdict.baseline if verdict else None),
        "dose_plot": draw_doses(evaluation.doses, evaluation.choice),
        "trade_plot": draw_trade(content.judge.trade, content.judge.keep_share),
        "learning_plot": draw_learning(whole, with_synthetic) if whole else None,
    }
    return {name: None if drawing is None else Markup(drawing) for name, drawing in drawings.items()}  # noqa: S704 - ours


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
