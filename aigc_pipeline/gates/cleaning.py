"""Gates on what duplicates say about each other. They read `cluster_*` columns that the clean stage works out."""

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from aigc_pipeline.core.strict import Member
from aigc_pipeline.gates.base import Mask


class LabelConflict(Member):
    """Refuse all members of a group of identical contents that carry more than one class: nobody knows which is right."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["label_conflict"] = "label_conflict"

    def judge(self, table: pa.Table) -> Mask:
        """Read `sha256` and `class_name`."""
        groups = table.group_by("sha256").aggregate([("class_name", "count_distinct")])
        conflicted = {row["sha256"] for row in groups.to_pylist() if row["class_name_count_distinct"] > 1}
        return np.array([value not in conflicted for value in table["sha256"].to_pylist()], bool)


class Leakage(Member):
    """Of identical contents in two given splits, keep the copies in the stricter one: test before selection before the rest."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["leakage"] = "leakage"

    def judge(self, table: pa.Table) -> Mask:
        """Read `sha256` and `given_role`."""
        ranks = np.array([_STRICTNESS[role] for role in table["given_role"].to_pylist()])
        contents = table["sha256"].to_pylist()
        strictest: dict[str, int] = {}
        for content, rank in zip(contents, ranks, strict=True):
            strictest[content] = max(int(rank), strictest.get(content, 0))
        return np.array([rank == strictest[content] for content, rank in zip(contents, ranks, strict=True)], bool)


class Duplicate(Member):
    """Keep the first of identical contents."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["duplicate"] = "duplicate"

    def judge(self, table: pa.Table) -> Mask:
        """Read `sha256`; rows are in source order."""
        seen: set[str] = set()
        mask = np.zeros(len(table), bool)
        for row, content in enumerate(table["sha256"].to_pylist()):
            mask[row] = content not in seen
            seen.add(content)
        return mask


_STRICTNESS: dict[str | None, int] = {None: 0, "train": 0, "calibration": 1, "selection": 2, "test": 3}
