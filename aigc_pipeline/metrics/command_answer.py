"""What a user's command answers: a class per test sample, or one number. Anything else is refused with what to change."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aigc_pipeline.metrics.command_run import CommandError
from aigc_pipeline.metrics.downstream import balanced_accuracy

FORMS = (
    '{"predictions": {sample_id: class_name, ...}} with every test row, {"balanced_accuracy": 0.93}, '
    'or {"metric": "macro_f1", "value": 0.93}'
)
_SHOWN = 5


@dataclass(frozen=True)
class Answer:
    """One run's answer."""

    metric: str
    """`balanced_accuracy` where it predicts."""
    value: float
    predicted: NDArray[np.int64] | None
    """Class index per test sample, `[items]`; None where the command only gave a number."""


def read_answer(file: Path, ids: Sequence[str], labels: NDArray[np.int64], classes: Sequence[str]) -> Answer:
    """Read and check an answer.

    Args:
        file: JSON in one of `FORMS`.
        ids: sample ids of the test rows, `[items]`.
        labels: their classes, `[items]`.
        classes: class names by index.

    Raises:
        CommandError: if there is none, it is not JSON, has another form, or does not name each test row exactly once
            with a known class.
    """
    content = _load(file)
    if set(content) == {"predictions"} and isinstance(content["predictions"], dict):
        predicted = _predictions(file, content["predictions"], ids, classes)
        return Answer("balanced_accuracy", balanced_accuracy(predicted, labels), predicted)
    if set(content) == {"balanced_accuracy"}:
        value = _number(file, "balanced_accuracy", content["balanced_accuracy"])
        if not 0 <= value <= 1:
            raise _unusable(
                file, f"balanced_accuracy is {value:g}, which is not within 0 and 1; write a share, not percent"
            )
        return Answer("balanced_accuracy", value, None)
    if set(content) == {"metric", "value"} and isinstance(content["metric"], str) and content["metric"]:
        return Answer(content["metric"], _number(file, "value", content["value"]), None)
    raise _unusable(file, f"it holds {sorted(content)[:_SHOWN]}; write {FORMS}")


def _load(file: Path) -> dict[str, object]:
    """Return the JSON object in a file; its keys are unique."""
    if not file.is_file():
        msg = f"the command ended well but wrote no answer to {file}. Let it write JSON to {{output}}: {FORMS}."
        raise CommandError(msg)

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if twice := [name for name, number in Counter(name for name, _ in pairs).items() if number > 1]:
            raise _unusable(file, f"{len(twice)} keys come twice ({twice[:_SHOWN]}); predict each test row once")
        return dict(pairs)

    try:
        content: object = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except ValueError as err:
        msg = f"the command's answer {file} is not valid JSON: {err}. Write {FORMS}."
        raise CommandError(msg) from err
    if not isinstance(content, dict):
        raise _unusable(file, f"it is a {type(content).__name__}; write {FORMS}")
    return content


def _predictions(file: Path, given: dict[str, object], ids: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return predicted class indices in the order of `ids`."""
    wanted = set(ids)
    if missing := [each for each in ids if each not in given]:
        raise _unusable(
            file,
            f"{len(missing)} of {len(ids)} test rows have no prediction ({missing[:_SHOWN]}); "
            'predict every row of the manifest with split == "test"',
        )
    if unknown := [each for each in given if each not in wanted]:
        raise _unusable(
            file,
            f"{len(unknown)} predictions are for ids that are no test rows ({unknown[:_SHOWN]}); use the column "
            'sample_id of rows with split == "test"',
        )
    index: dict[object, int] = {name: number for number, name in enumerate(classes)}
    if strange := [given[each] for each in ids if not isinstance(given[each], str) or given[each] not in index]:
        raise _unusable(
            file,
            f"{len(strange)} predictions are no class name ({strange[:_SHOWN]}); write names as in the column "
            f"class_name, not numbers: {list(classes)[:20]}",
        )
    return np.array([index[given[each]] for each in ids], np.int64)


def _number(file: Path, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _unusable(file, f"{name} is {value!r}, which is not a finite number")
    return float(value)


def _unusable(file: Path, why: str) -> CommandError:
    return CommandError(f"the command's answer {file} cannot be used: {why}.")
