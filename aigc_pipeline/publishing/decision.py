"""What may be published: verdict, memorisation screen and critic health in, one decision with its reason out."""

from dataclasses import dataclass
from typing import Literal

from aigc_pipeline.records import EvalReport, FilteredSet, Judge

When = Literal["unless_harmful", "helps", "always", "never"]


@dataclass(frozen=True)
class Decision:
    """What is published, and why."""

    writes_version: bool
    writes_synthetic: bool
    recommends: bool
    reason: str
    sentence: str
    """The verdict."""


def decide(when: When, judge: Judge, report: EvalReport, filtered: FilteredSet) -> Decision:
    """Decide; see `PublishConfig.when` for what each word means."""
    verdict = report.verdict
    untested = "No candidate was accepted" if filtered.shortfall else "The plan wants no synthetic sample"
    sentence = verdict.sentence if verdict else f"{untested}, so there was nothing to test."
    helps = verdict is not None and verdict.outcome == "helps"
    obstacle = obstacle_to_publishing(judge, report, filtered)

    def decision(*, version: bool = True, synthetic: bool, recommends: bool = False, reason: str) -> Decision:
        return Decision(version, synthetic, recommends, reason, sentence)

    if when == "never":
        return decision(version=False, synthetic=False, reason="no version is published: publish.when is 'never'")
    if when == "always":
        reason = "publish.when is 'always'" + (f", although {obstacle}" if obstacle else "")
        accepted = filtered.num_kept > 0
        return decision(synthetic=accepted, recommends=accepted and helps and obstacle is None, reason=reason)
    if obstacle is not None:
        return decision(synthetic=False, reason=f"no synthetic row is published: {obstacle}")
    if helps:
        reason = "the synthetic rows are published and recommended: they help"
        return decision(synthetic=True, recommends=True, reason=reason)
    if when == "helps":
        reason = "no synthetic row is published: publish.when is 'helps', and they were not shown to help"
        return decision(synthetic=False, reason=reason)
    reason = "the synthetic rows are published but not recommended: they were not shown to help"
    return decision(synthetic=True, reason=reason)


def obstacle_to_publishing(judge: Judge, report: EvalReport, filtered: FilteredSet) -> str | None:
    """Return the first reason why synthetic rows must not be published, or None.

    The memorisation screen and the critic speak of generated rows: where selection chose varied real samples alone, which
    name their parents, neither is an obstacle.
    """
    uses_generated = report.choice is None or report.choice.mix != "classic"
    if filtered.num_kept == 0:
        return "no candidate passed all gates" if filtered.shortfall else "the plan wants no synthetic sample"
    if report.memorised and uses_generated:
        return "the memorisation screen failed"
    if judge.complaints and uses_generated:
        return f"the critic failed its health checks ({judge.complaints[0]})"
    if report.verdict is not None and report.verdict.outcome == "harms":
        return "they harm the downstream model"
    return None
