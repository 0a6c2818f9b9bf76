"""What a generator is told about a sample: its class, attributes beside it or instead of it, or nothing.

A family sees one number per sample, a row of its tables. Here is what the numbers mean. A combination with fewer than 20
training samples is told without its attributes: a row of its own would learn little.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.data.loader import Attributes
from aigc_pipeline.records import Checkpoint, Condition

CLASS = "class"
CLASS_ALONE = (CLASS,)
MIN_SAMPLES = 20
_NOT_TOLD = -1
_Key = tuple[int, tuple[str, ...]]


@dataclass(frozen=True)
class Conditions:
    """The conditions of one training, in the order of the networks' tables."""

    told: tuple[str, ...]
    """`class` and names of attributes; empty where nothing is told."""
    rows: tuple[Condition, ...]

    @classmethod
    def fit(
        cls, told: Sequence[str], labels: NDArray[np.int64], attributes: Sequence[Attributes], num_classes: int
    ) -> "Conditions":
        """Return the conditions that occur among training samples.

        Raises:
            ConfigError: if no training sample has one of the attributes.
        """
        known = sorted({name for each in attributes for name in each})
        if unknown := [name for name in told if name not in {CLASS, *known}]:
            has = f"They have {', '.join(known)}." if known else "They have none: is there a metadata.csv?"
            msg = f"train.condition_on names {unknown}, which no training sample has. {has}"
            raise ConfigError(msg)
        exact = _keys(told, labels, attributes)
        sizes = Counter(exact)
        keys = [key if sizes[key] >= MIN_SAMPLES and any(key[1]) else (key[0], ()) for key in exact]
        names = [name for name in told if name != CLASS]
        rows = []
        for key in sorted(set(keys)):
            mine = labels[[each == key for each in keys]]
            counts = np.bincount(mine, minlength=num_classes)
            values = {name: value for name, value in zip(names, key[1], strict=False) if value}
            rows.append(Condition(class_counts=tuple(counts.tolist()), attributes=values))
        return cls(tuple(told), tuple(rows))

    def __len__(self) -> int:
        """Return their number."""
        return len(self.rows)

    def of(self, labels: NDArray[np.int64], attributes: Sequence[Attributes]) -> NDArray[np.int64]:
        """Return the row that each sample falls under: its own combination, else its class without attributes.

        Where a class has neither, its most frequent combination.
        """
        names = [name for name in self.told if name != CLASS]
        table: dict[_Key, int] = {}
        for row, each in enumerate(self.rows):
            told = tuple(each.attributes.get(name, "") for name in names) if each.attributes else ()
            table[self._class_of(row), told] = row
        found = []
        for label, key in zip(labels.tolist(), _keys(self.told, labels, attributes), strict=True):
            row = table.get(key, table.get((key[0], ()), _NOT_TOLD))
            found.append(self.largest(label) if row == _NOT_TOLD else row)
        return np.array(found, np.int64)

    def of_class(self, label: int, attributes: Attributes | None = None) -> NDArray[np.int64]:
        """Return the rows of a class's training samples, in order, each as often as it occurs.

        Args:
            attributes: count only rows that were told these values.
        """
        wanted = (attributes or {}).items()
        counts = [row.class_counts[label] if wanted <= row.attributes.items() else 0 for row in self.rows]
        return np.repeat(np.arange(len(self.rows)), counts)

    def largest(self, label: int) -> int:
        """Return the row of a class that has most training samples."""
        return int(np.argmax([row.class_counts[label] for row in self.rows]))

    @property
    def classes(self) -> NDArray[np.int64] | None:
        """The class of every row; None where the class is not told."""
        return np.array([self._class_of(row) for row in range(len(self.rows))]) if CLASS in self.told else None

    def describe(self) -> str:
        """Return the attribute combinations in words."""
        found = sorted({_text(row.attributes) for row in self.rows if row.attributes})
        return "; ".join(found) if found else "no attributes"

    def names(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """Return a name for every row: the class, then the attributes."""
        known = self.classes
        heads = [class_names[k] for k in known] if known is not None else [""] * len(self.rows)
        return tuple(f"{head} {_text(row.attributes)}".strip() for head, row in zip(heads, self.rows, strict=True))

    def _class_of(self, row: int) -> int:
        return int(np.argmax(self.rows[row].class_counts)) if CLASS in self.told else _NOT_TOLD


def conditions_of(checkpoint: Checkpoint) -> Conditions | None:
    """Return what a checkpoint's networks are told; None where it is the class alone."""
    return Conditions(checkpoint.condition_on, checkpoint.conditions) if checkpoint.conditions else None


def as_json(condition: Condition) -> str:
    """Return the attributes as a manifest holds them."""
    return json.dumps(condition.attributes, ensure_ascii=False, sort_keys=True)


def _keys(told: Sequence[str], labels: NDArray[np.int64], attributes: Sequence[Attributes]) -> list[_Key]:
    names = [name for name in told if name != CLASS]
    return [
        (label if CLASS in told else _NOT_TOLD, tuple(each.get(name, "") for name in names))
        for label, each in zip(labels.tolist(), attributes, strict=True)
    ]


def _text(attributes: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(attributes.items()))
