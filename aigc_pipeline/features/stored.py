"""The features of real samples, as the stage `embed` keeps them: a file a role, in two feature spaces."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.core.samples import Role
from aigc_pipeline.data.shards import cells_to_numpy, read_table

FloatArray = NDArray[np.float32]
Space = Literal["feature", "judge_feature"]
"""The encoder's, which critic and gates read, and the judge encoder's, which published metrics read."""


@dataclass(frozen=True)
class LabelledFeatures:
    """Features `[n, d]` with the class of each row."""

    features: FloatArray
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.labels)

    def of_class(self, label: int) -> FloatArray:
        """Return the features of one class."""
        features: FloatArray = self.features[self.labels == label]
        return features


def features_file(directory: Path, role: Role) -> Path:
    """Return where the features of a role lie; one without samples has no file."""
    return directory / f"features-{role}.arrow"


def read_features(directory: Path, *roles: Role, space: Space = "feature") -> LabelledFeatures:
    """Read the features of the roles, one after the other."""
    tables = [read_table(file) for role in roles if (file := features_file(directory, role)).exists()]
    if not tables:
        return LabelledFeatures(np.zeros((0, 0), np.float32), np.zeros(0, np.int64))
    table = pa.concat_tables(tables)
    cells = table[space].combine_chunks()
    features = np.asarray(cells_to_numpy(cells, (cells.type.list_size,)), np.float32)
    return LabelledFeatures(features, table["label"].to_numpy())
