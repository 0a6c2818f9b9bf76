"""Labelled cells in memory: what training, scoring and evaluation read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.data.shards import read_table

Attributes = Mapping[str, str]


@dataclass(frozen=True)
class LabelledCells:
    """Samples of one split: `ids[i]`, `labels[i]` (class index) and `cells[i]` belong together."""

    ids: list[str]
    labels: NDArray[np.int64]
    cells: pa.Array

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.ids)

    def take(self, index: NDArray[np.int64]) -> "LabelledCells":
        """Return the samples at `index`, in that order."""
        return LabelledCells([self.ids[i] for i in index], self.labels[index], self.cells.take(pa.array(index)))

    def labelled(self, labels: NDArray[np.int64]) -> "LabelledCells":
        """Return the same samples under other labels."""
        return replace(self, labels=labels)

    def class_counts(self, num_classes: int) -> NDArray[np.int64]:
        """Return how many samples each class has, `[num_classes]`."""
        return np.bincount(self.labels, minlength=num_classes).astype(np.int64)


def load_cells(file: Path) -> LabelledCells:
    """Read the columns `sample_id`, `label` and `cell` of an IPC file."""
    return from_table(read_table(file))


def from_table(table: pa.Table) -> LabelledCells:
    """Take the columns `sample_id`, `label` and `cell` of a table."""
    cells = table["cell"].combine_chunks()
    return LabelledCells(
        table["sample_id"].to_pylist(),
        table["label"].to_numpy().astype(np.int64),
        pa.concat_arrays(cells.chunks) if isinstance(cells, pa.ChunkedArray) else cells,
    )


def attributes_of(stored: pa.Table) -> list[Attributes]:
    """Return each row's attributes, empty where there are none.

    Args:
        stored: a role's table; column `attributes` holds JSON or null.
    """
    return [json.loads(text) if text else {} for text in stored["attributes"].to_pylist()]


def concatenate(*parts: LabelledCells) -> LabelledCells:
    """Put several sets of the same cell type behind each other."""
    return LabelledCells(
        [sample_id for part in parts for sample_id in part.ids],
        np.concatenate([part.labels for part in parts]),
        pa.concat_arrays([part.cells for part in parts]),
    )
