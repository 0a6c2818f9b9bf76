"""Does an independent referee, trained on real data alone, see the class that was asked for?"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from aigc_pipeline.core.strict import Member
from aigc_pipeline.gates.base import Mask, show


class LabelAgreement(Member):
    """Large classes need the referee's first choice; small ones, where it is weak, only a minimum probability.

    What is made from a real sample of a small class passes: its label is its parent's. A parent that the referee does not
    recognize would lose all of its variations, and the class would look like the others.
    """

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["label_agreement"] = "label_agreement"
    min_class_size: int = Field(default=25, ge=0)
    """Training samples from which a class counts as large."""
    min_probability: float = Field(default=0.1, ge=0, le=1)
    """What a sample of a small class needs, unless it is made from a real one."""

    def judge(self, table: pa.Table) -> Mask:
        """Read `label`, `label_predicted`, `label_probability`, `class_have` and `parent_ids`; without a referee all pass."""
        predicted = table["label_predicted"]
        if predicted.null_count == len(predicted):
            return np.ones(len(table), bool)
        agrees = predicted.to_numpy() == table["label"].to_numpy()
        likely = table["label_probability"].to_numpy() >= self.min_probability
        has_parent = np.array([bool(ids) for ids in table["parent_ids"].to_pylist()], bool)
        return np.asarray(np.where(table["class_have"].to_numpy() >= self.min_class_size, agrees, likely | has_parent))

    def explain(self, row: Mapping[str, object]) -> str:
        """Name the referee's class and its probability for the requested one."""
        large = f"classes of {self.min_class_size} training samples or more need the referee's first choice"
        return (
            f"the referee's first choice is class {show(row['label_predicted'])}, requested was {show(row['label'])} at "
            f"probability {show(row['label_probability'])}; {large}, smaller ones {self.min_probability}, and nothing where the sample is made from a real one"
        )
