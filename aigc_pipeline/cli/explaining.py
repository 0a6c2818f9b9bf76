"""What `aigc explain` says: every number, gate, neighbour and limit that decided what became of one sample.

The gates are those of the version's own config.yaml and speak for themselves (`FilterGate.explain`), so that a new gate
needs no line here. What a gate after the first refusal would have said is its real answer to the survivors of that
place and this candidate: exact for row gates and for set gates.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from aigc_pipeline.cli.console import ConsoleReporter, cell_text
from aigc_pipeline.cli.outcome import print_lines, sentence_of
from aigc_pipeline.core.errors import PublishError
from aigc_pipeline.core.reporting import Scalar
from aigc_pipeline.gates import ClassQuota, FilterGate
from aigc_pipeline.publishing.explanation import (
    Facts,
    Neighbour,
    Number,
    Publication,
    Row,
    VersionContent,
    candidate_row,
    find_sample,
    input_relations,
    lineage,
    neighbour,
    numbers,
    publication,
)
from aigc_pipeline.publishing.versions import resolve
from aigc_pipeline.stages.filter import FilterConfig

_DISAGREES = "the record says otherwise: its numbers are stored in 32 bits and this one lies on the limit, or the code has changed"


@dataclass(frozen=True)
class GateAnswer:
    """What one gate said, or would have said."""

    gate: str
    verdict: Literal["passed", "refused", "not asked"]
    would: Literal["pass", "refuse"]
    """Its answer when asked again, as if the gates before it had let the candidate pass."""
    sentence: str


@dataclass(frozen=True)
class Explanation:
    """One sample of one version. `gates`, `numbers` and `nearest` are for candidates, `relations` for real inputs."""

    version: str
    outcome: str
    ledger: Facts
    publication: Publication
    lineage: Facts
    gates: tuple[GateAnswer, ...]
    nearest: Neighbour | None
    numbers: tuple[Number, ...]
    relations: Facts
    notes: tuple[str, ...]


def explain_sample(wanted: str, place: Path, *, as_json: bool, reporter: ConsoleReporter) -> None:
    """Print the explanation of a sample, for a person or as JSON.

    Raises:
        DataError: if `wanted` names no sample or several.
        PublishError: if there is no version at `place`, or it is damaged.
    """
    explanation = explain(VersionContent.read(resolve(place)), wanted)
    if as_json:
        print_lines(reporter.console, json.dumps(asdict(explanation), indent=1))
    else:
        _print(explanation, reporter)


def explain(content: VersionContent, wanted: str) -> Explanation:
    """Gather what a version says about the sample that `wanted` names: an id, a prefix of one, or a path.

    Raises:
        DataError: if `wanted` names no sample or several.
        PublishError: if the version's tables or settings do not belong together.
    """
    found = find_sample(content.ledger, wanted)
    facts = {name: value for name, value in found.items() if value is not None}
    shared = {"version": content.name, "ledger": facts, "publication": publication(content, found)}
    if found["kind"] == "input":
        return Explanation(
            **shared,  # type: ignore[arg-type] # mypy joins the values' types
            outcome=_input_outcome(found),
            lineage={}, gates=(), nearest=None, numbers=(), notes=(),
            relations=input_relations(content, found["sample_id"]),
        )  # fmt: skip
    place = candidate_row(content, found["sample_id"])
    row: Row = content.candidates.slice(place, 1).to_pylist()[0]
    answers = gate_answers([*_policy(content).gates, ClassQuota()], content.candidates, place)
    return Explanation(
        **shared,  # type: ignore[arg-type] # mypy joins the values' types
        outcome=_candidate_outcome(found),
        lineage=lineage(row),
        gates=answers,
        nearest=neighbour(content, row),
        numbers=numbers(row),
        relations={},
        notes=tuple(f"{each.gate}: {_DISAGREES}" for each in answers if _is_contradicted(each)),
    )


def gate_answers(gates: Sequence[FilterGate], table: pa.Table, place: int) -> tuple[GateAnswer, ...]:
    """Return the answer of each gate about the candidate in row `place`, in order.

    Args:
        table: all candidates, in index order, with `reject_reason`.

    Raises:
        PublishError: if a reason on record is none of these gates.
    """
    order = {gate.kind: step for step, gate in reversed(list(enumerate(gates)))}
    reasons = table["reject_reason"].to_pylist()
    if unknown := {reason for reason in reasons if reason is not None} - set(order):
        msg = f"candidates.parquet records the reasons {sorted(unknown)}, but config.yaml has the gates {list(order)}."
        raise PublishError(msg)
    refused_at = np.array([len(gates) if reason is None else order[reason] for reason in reasons])
    row: Mapping[str, object] = table.slice(place, 1).to_pylist()[0]
    answers = []
    for step, gate in enumerate(gates):
        given = np.union1d(np.flatnonzero(refused_at >= step), [place])
        passes = bool(gate.judge(table.take(pa.array(given)))[np.searchsorted(given, place)])
        verdict = _verdict(step, int(refused_at[place]))
        answers.append(GateAnswer(gate.kind, verdict, "pass" if passes else "refuse", gate.explain(row)))
    return tuple(answers)


def _verdict(step: int, refused_at: int) -> Literal["passed", "refused", "not asked"]:
    if step == refused_at:
        return "refused"
    return "passed" if step < refused_at else "not asked"


def _is_contradicted(answer: GateAnswer) -> bool:
    return (answer.verdict, answer.would) in {("passed", "refuse"), ("refused", "pass")}


def _policy(content: VersionContent) -> FilterConfig:
    try:
        return FilterConfig.model_validate(content.config["filter"])
    except (KeyError, ValidationError) as err:
        msg = f"config.yaml of {content.name} holds no filter that this version of aigc knows: {err}"
        raise PublishError(msg) from err


def _candidate_outcome(found: Row) -> str:
    made = f"a {found['origin']} candidate of class '{found['class_name']}'"
    return f"{made}: {'accepted' if found['reason'] is None else 'refused by ' + str(found['reason'])}"


def _input_outcome(found: Row) -> str:
    listed = f"a real sample listed under class '{found['class_name']}': {found['state']}"
    if found["state"] == "kept":
        return f"{listed}, role {found['role']}"
    detail = f" ({found['detail']})" if found["detail"] else ""
    return f"{listed} by {found['stage']}, reason {found['reason']}{detail}"


def _print(explanation: Explanation, reporter: ConsoleReporter) -> None:
    console, published = reporter.console, explanation.publication
    print_lines(console, f"{explanation.version}, {explanation.ledger['sample_id']}", bold=True)
    print_lines(console, sentence_of(explanation.outcome), _publication_line(published))
    for title, facts in (("lineage", explanation.lineage), ("on record", explanation.ledger)):
        reporter.result(title, _fact_rows(facts))
    if explanation.nearest is not None:
        print_lines(console, "", _neighbour_line(explanation.nearest))
    reporter.result("gates, in order", [_gate_row(each) for each in explanation.gates])
    reporter.result("numbers", [_number_row(each) for each in explanation.numbers])
    reporter.result("who points at it", _fact_rows(explanation.relations))
    for note in explanation.notes:
        reporter.note(note)


def _publication_line(published: Publication) -> str:
    if not published.published:
        return f"Not published: {published.why}."
    recommended = "recommended" if published.recommended else "not recommended"
    where = f", file {published.file_name}" if published.file_name else ""
    return f"Published, {recommended}, weight {cell_text(published.weight)}{where}: {published.why}."


def _neighbour_line(nearest: Neighbour) -> str:
    source = f" ({nearest.source_uri}, class '{nearest.class_name}')" if nearest.source_uri else ""
    return (
        f"Nearest training sample: {nearest.sample_id}{source} at distance {cell_text(nearest.distance)}; "
        f"{cell_text(nearest.copy_threshold)} or less counts as a copy."
    )


def _fact_rows(facts: Facts) -> list[dict[str, Scalar]]:
    return [{"fact": name, "value": _scalar(value)} for name, value in facts.items()]


def _gate_row(answer: GateAnswer) -> dict[str, Scalar]:
    said = answer.verdict if answer.verdict != "not asked" else f"not asked, would {answer.would}"
    return {"gate": answer.gate, "verdict": said, "what it read": answer.sentence}


def _number_row(number: Number) -> dict[str, Scalar]:
    return {"number": number.name, "value": _scalar(number.value), "meaning": number.meaning}


def _scalar(value: object) -> Scalar:
    if isinstance(value, list):
        return ", ".join(str(each) for each in value) or "-"
    return value if isinstance(value, str | float | bool | None) else str(value)  # a seed needs no thousands separators
