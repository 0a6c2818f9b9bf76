"""Training and selection samples as the generator is told about them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigc_pipeline.core.context import Context
from aigc_pipeline.data.loader import LabelledCells, attributes_of, from_table
from aigc_pipeline.data.shards import read_table
from aigc_pipeline.generators.conditions import CLASS_ALONE, Conditions
from aigc_pipeline.records import DatasetSplits


@dataclass(frozen=True)
class Told:
    """Samples whose labels are what the networks are told."""

    train: LabelledCells
    selection: LabelledCells
    names: tuple[str, ...]
    """One per label."""
    classes: NDArray[np.int64] | None
    """The class that each label means; None where the generator is not told the class."""
    conditions: Conditions | None
    """None where labels are classes."""

    @property
    def train_names(self) -> list[str]:
        """Return what each training sample is called."""
        return [self.names[label] for label in self.train.labels]

    def names_of(self, label: int) -> set[str]:
        """Return the names of what the training samples of a class are told."""
        rows = {label} if self.conditions is None else set(self.conditions.of_class(label).tolist())
        return {self.names[row] for row in rows}

    @classmethod
    def read(cls, context: Context, splits: DatasetSplits, condition_on: tuple[str, ...]) -> "Told":
        """Read both roles.

        Raises:
            ConfigError: if `condition_on` names an attribute that no training sample has.
        """
        tables = [read_table(context.files_of(splits) / f"{role}.arrow") for role in ("train", "selection")]
        train, selection = (from_table(table) for table in tables)
        if condition_on == CLASS_ALONE:
            return cls(train, selection, splits.classes, np.arange(len(splits.classes)), None)
        attributes = [attributes_of(table) for table in tables]
        conditions = Conditions.fit(condition_on, train.labels, attributes[0], len(splits.classes))
        told = [
            each.labelled(conditions.of(each.labels, own))
            for each, own in zip((train, selection), attributes, strict=True)
        ]
        return cls(told[0], told[1], conditions.names(splits.classes), conditions.classes, conditions)
