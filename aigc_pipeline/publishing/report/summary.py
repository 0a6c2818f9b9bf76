"""Findings as sentences: what it cost, what was chosen, what the filter trades, what the samples are worth."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.compute as pc

from aigc_pipeline.data.mixing import chosen_rows
from aigc_pipeline.publishing.report.content import ReportContent
from aigc_pipeline.publishing.report.wording import COMMAND, STARVED, arm_words, fixed, mix_words, percent, points
from aigc_pipeline.records import Estimate, FilteredSet, GroupOutcome, Judge, TradePoint, Verdict, Worth

_MAX_NAMED = 6
COPIES, SYNTHETIC = "_and_copies", "_and_synthetic"


@dataclass(frozen=True, slots=True)
class Caution:
    """Something a reader must know before using the data."""

    is_grave: bool
    text: str


def training_minutes(content: ReportContent) -> float:
    """Return the planned minutes of training behind the samples that were tested: varied real ones need none."""
    choice = content.evaluation.choice
    return 0.0 if choice is not None and choice.mix == "classic" else content.plan.minutes


def cost_words(verdict: Verdict | None, minutes: float) -> tuple[str, str]:
    """Return the cost of a point of uplift as number and unit, or a dash and why there is none."""
    if verdict is None:
        return "\N{EN DASH}", f"cost per point: nothing was tested ({fixed(minutes)} minutes of training planned)"
    uplift = 100 * verdict.uplift.value
    if uplift <= 0:
        return (
            "\N{EN DASH}",
            f"no cost per point: nothing was gained by the {fixed(minutes)} minutes of training planned",
        )
    doubt = "" if verdict.outcome == "helps" else ", but the gain itself is not certain"
    return f"{minutes / uplift:.2g}", f"minutes of training per point gained, as planned{doubt}"


def choice_words(content: ReportContent) -> str | None:
    """Return the chosen mix, dose, weight and classes in one sentence; None where nothing was chosen."""
    choice, classes = content.evaluation.choice, content.classes
    if choice is None:
        return None
    labels = [label for label, name in enumerate(classes) if name in choice.classes]
    number = len(chosen_rows(content.candidates, choice.mix, labels))
    by = (
        "Chosen on selection samples"
        if choice.on_selection
        else "Too few selection samples to choose by, so the defaults"
    )
    left_out = [name for name in classes if name not in choice.classes]
    if not left_out:
        which = "for every class"
    elif len(left_out) <= len(choice.classes):
        which = f"for every class but {named(left_out)}, which loses recall by them or has none"
    else:
        which = f"for {named(list(choice.classes))} alone; the other classes lose recall by them or have none"
    return (
        f"{by}: {arm_words(choice.baseline)}, with {number:,} {mix_words(choice.mix)} samples as {percent(choice.dose, 0)} of a batch "
        f"at loss weight {choice.loss_weight:g}, {which}."
    )


def mixture_words(verdict: Verdict) -> str:
    """Return how synthetic rows were mixed in for the verdict."""
    if verdict.baseline == COMMAND:
        share = f"{percent(verdict.dose, 0)} of a batch at loss weight {verdict.loss_weight:g}"
        return f"synthetic rows weighted for the share of the loss of {share}"
    return f"{percent(verdict.dose, 0)} synthetic rows in a batch at loss weight {verdict.loss_weight:g}"


def control_words(arms: dict[str, Estimate], verdict: Verdict | None) -> str | None:
    """Return how synthetic samples compare with as many plain copies of real ones; None where that was not trained."""
    if verdict is None:
        return None
    base, copies, ours = (arms.get(verdict.baseline + suffix) for suffix in ("", COPIES, SYNTHETIC))
    if base is None or copies is None or ours is None:
        return None
    return (
        f"The control: as many plain copies of real samples in their place bring {points(copies.value - base.value)} "
        f"points, the synthetic samples {points(ours.value - base.value)}."
    )


def unfiltered_words(content: ReportContent) -> str | None:
    """Return why no candidate could be refused for its probability; None where some could."""
    judge = content.judge
    if content.filtered.filtered_by_probability:
        return None
    if judge.complaints:
        return judge.complaints[0]
    if judge.critic_mode == "none":
        return "there is no critic: nothing was generated, or too few real samples to fit one"
    if judge.auc is None:
        return "no selection sample was left to prove the critic on"
    if not judge.filters_by_probability:
        return f"the critic cannot tell real from synthetic samples (AUC {judge.auc:.3f})"
    return "none of the gates reads it"


def unseen_words(content: ReportContent) -> str:
    """Return what the critic was proven on. It says how much the proof is worth: three samples prove little."""
    n = content.num_proof
    return (
        "unseen samples"
        if n is None
        else f"{n:,} unseen real {'sample' if n == 1 else 'samples'} and fresh synthetic ones"
    )


def judged_words(content: ReportContent) -> str | None:
    """Return how many classes the critic judges; None where these are all that have generated candidates."""
    table = content.candidates
    generated = table.filter(pc.equal(table["origin"], "generated"))
    judged = generated.filter(pc.is_valid(generated["p_real"]))
    classes, judged_classes = (len(pc.unique(each["class_name"])) for each in (generated, judged))
    if judged_classes == classes:
        return None
    return f"it judges {judged_classes} of {classes} classes: the others have too few real samples for it"


def groups_words(content: ReportContent) -> str:
    """Return the answer to whether a group is left out, as far as it was measured."""
    groups = content.evaluation.groups
    if warned := sum(group.warning is not None for group in groups):
        return f"{warned} of {len(groups)} groups {'has' if warned == 1 else 'have'} a warning."
    if not content.filtered.num_in:
        return "Not measured: there is no candidate."
    passes = f"the filter starves none of {len(groups)} groups"
    if content.evaluation.verdict is None:
        return f"No: {passes}. Recall was not compared, because nothing was accepted."
    return f"No: {passes}, and none loses recall beyond chance."


def training_words(content: ReportContent) -> str:
    """Return how long the generator was trained."""
    if not content.samples_seen:
        return "which was not trained"
    chosen = 0 < content.best_samples_seen < content.samples_seen
    weights = f" (selection chose the weights of {content.best_samples_seen:,})" if chosen else ""
    return f"shown {content.samples_seen:,} real samples of the train role{weights}"


def trade_words(judge: Judge) -> str | None:
    """Return what the frozen budget does to precision and recall, and whether it was relaxed; None if not measured."""
    share = judge.keep_share
    if share is None:
        return None
    words = f"Of the candidates that pass the other checks, the filter keeps {percent(share, 0)}."
    frozen, everything = _at(judge, share), _at(judge, 1.0)
    if frozen and everything and share < 1:
        words += (
            f" That moves precision from {percent(everything.precision, 0)} to {percent(frozen.precision, 0)}, recall from "
            f"{percent(everything.recall, 0)} to {percent(frozen.recall, 0)} and coverage from "
            f"{percent(everything.coverage, 0)} to {percent(frozen.coverage, 0)}; the class that keeps least keeps "
            f"{percent(frozen.min_class_share, 0)} of what classes keep on average."
        )
    if judge.relaxed_from is not None:
        words += (
            f" It was set to keep {percent(judge.relaxed_from, 0)}, which only trimmed diversity on trial samples, and was "
            "relaxed for that."
        )
    return words


def worth_of(content: ReportContent) -> tuple[Worth | None, tuple[Worth, ...]]:
    """Return the worth of the whole set, and of the classes."""
    worth = content.evaluation.worth
    return next((each for each in worth if each.class_name is None), None), tuple(
        each for each in worth if each.class_name
    )


def warnings_of(content: ReportContent) -> tuple[Caution, ...]:
    """Return what is wrong, the grave things first."""
    found = [*_of_arrivals(content), *_of_judgement(content), *_of_filter(content), *_of_groups(content)]
    return tuple(sorted(found, key=lambda warning: not warning.is_grave))


def _of_arrivals(content: ReportContent) -> Iterator[Caution]:
    if content.arrivals is not None and content.arrivals.warning is not None:
        yield Caution(False, f"{content.arrivals.warning}.")


def _of_judgement(content: ReportContent) -> Iterator[Caution]:
    judge = content.judge
    if content.evaluation.memorised:
        yield Caution(
            True, "The screen for copies failed: too many synthetic samples lie too close to training samples."
        )
    for complaint in judge.complaints:
        yield Caution(True, f"Filtering by probability is blocked: {complaint}.")
    if judge.critic_mode == "none":
        yield Caution(
            False,
            "There is no critic (nothing was generated, or too few real samples): candidates passed on label and distance alone.",
        )
    elif judge.critic_mode == "crossfit":
        words = "the critic is cross-fitted on training and calibration samples together."
        yield Caution(False, f"Few calibration samples: {words}")


def _of_filter(content: ReportContent) -> Iterator[Caution]:
    judge, filtered = content.judge, content.filtered
    if not any(content.plan.want().values()):
        yield Caution(False, "The plan wants no synthetic sample.")
    elif not filtered.num_in:
        yield Caution(True, "No candidate was synthesized.")
    elif not filtered.num_kept:
        yield Caution(True, f"None of {filtered.num_in:,} candidates was accepted.")
    reason = unfiltered_words(content)
    if filtered.num_in and reason is not None and judge.healthy and judge.critic_mode != "none":
        yield Caution(False, f"Not filtered by probability: {reason}.")
    if filtered.shortfall:
        missing = named([f"{name} ({n:,})" for name, n in filtered.shortfall.items()])
        yield Caution(False, f"Fewer accepted than the plan's method was to make, and never padded: {missing}.")


def _of_groups(content: ReportContent) -> Iterator[Caution]:
    groups = [group for group in content.evaluation.groups if group.warning]
    for group in groups[:_MAX_NAMED]:
        who = f"Class {group.group}" if group.is_class else f"Group {group.attribute} {group.group}"
        joint = " is" if is_starved(group.warning) else ":"
        yield Caution(_is_grave(group, content.filtered), f"{who}{joint} {group.warning}.")
    if len(groups) > _MAX_NAMED:
        rest = groups[_MAX_NAMED:]
        grave = any(_is_grave(group, content.filtered) for group in rest)
        yield Caution(grave, f"{len(rest)} more groups have a warning: see the table of groups.")


def _is_grave(group: GroupOutcome, filtered: FilteredSet) -> bool:
    """Tell whether a group is starved and goes short for it: a class that still got all it was to get does not."""
    return is_starved(group.warning) and (not group.is_class or group.group in filtered.shortfall)


def is_starved(warning: str | None) -> bool:
    """Say whether the filter refuses too many of a group: graver than what one test set says about its recall."""
    return warning is not None and warning.startswith(STARVED)


def _at(judge: Judge, share: float) -> TradePoint | None:
    return next((point for point in judge.trade if point.keep_share == share), None)


def named(names: list[str]) -> str:
    """Return the first names and how many more there are."""
    shown = ", ".join(names[:_MAX_NAMED])
    return shown + (f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else "")
