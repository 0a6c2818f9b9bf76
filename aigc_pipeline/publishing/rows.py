"""Rows of the main table: real and synthetic samples leave through the same encoder at the same spec."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from aigc_pipeline.core.samples import Role, SampleSpec, content_sha256
from aigc_pipeline.core.tables import METADATA, build_table
from aigc_pipeline.data.loader import LabelledCells, from_table
from aigc_pipeline.features.views import first_view
from aigc_pipeline.modalities import modality_of


def real_rows(stored: pa.Table, role: Role, classes: tuple[str, ...], spec: SampleSpec, built: Path) -> pa.Table:
    """Encode the real samples of one role into the version under construction and return their rows.

    Args:
        stored: columns `sample_id`, `uri`, `sha256`, `label`, `cell`.
        built: the version's directory.
    """
    part = from_table(stored)
    files, hashes = encode_into(built, part, spec)
    rows = _real(stored, role, classes) | {"file_name": pa.array(files, pa.string()), "sha256": hashes}
    return _with_modality_columns(build_table(METADATA, rows), part, spec)


def reference_rows(stored: pa.Table, role: Role, classes: tuple[str, ...]) -> pa.Table:
    """Return rows that name the user's own files and their hashes, without encoding anything."""
    return build_table(METADATA, _real(stored, role, classes) | {"sha256": stored["sha256"]})


def _real(stored: pa.Table, role: Role, classes: tuple[str, ...]) -> dict[str, object]:
    n = len(stored)
    return {
        "sample_id": stored["sample_id"],
        "label": stored["label"],
        "class_name": [classes[label] for label in stored["label"].to_pylist()],
        "origin": ["real"] * n,
        "split": ["test" if role == "test" else "train"] * n,
        "role": [role] * n,
        "recommended": [True] * n,
        "weight": np.ones(n, np.float32),
        "source_uri": stored["uri"],
        "source_sha256": stored["sha256"],
    }


def synthetic_rows(
    accepted: pa.Table, part: LabelledCells, spec: SampleSpec, built: Path, *, recommended: bool, weight: float
) -> pa.Table:
    """Encode accepted candidates and return their rows; `accepted[i]` and `part` row i are the same sample."""
    files, hashes = encode_into(built, part, spec)
    n = len(part)
    shared = {c.name: accepted[c.name] for c in METADATA if c.name in accepted.column_names}
    rows = build_table(
        METADATA,
        shared
        | {
            "file_name": pa.array(files, pa.string()),
            "split": ["train"] * n,
            "role": ["train"] * n,
            "recommended": [recommended] * n,
            "weight": (weight * accepted["importance_weight"].to_numpy()).astype(np.float32),
            "sha256": hashes,
        },
    )
    return _with_modality_columns(rows, part, spec)


def encode_into(built: Path, part: LabelledCells, spec: SampleSpec) -> tuple[list[str | None], list[str]]:
    """Write encoded samples; return file names (None for inline samples) and hashes."""
    modality = modality_of(spec)
    contents = modality.encode(part.cells, spec)
    if contents is None:
        return [None] * len(part), [content_sha256(point.tobytes()) for point in first_view(part.cells, spec)]
    files: list[str | None] = []
    for sample_id, content in zip(part.ids, contents, strict=True):
        name = f"{modality.folder}/{sample_id[:2]}/{sample_id}{modality.suffix}"
        target = built / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        files.append(name)
    return files, [content_sha256(content) for content in contents]


def _with_modality_columns(table: pa.Table, part: LabelledCells, spec: SampleSpec) -> pa.Table:
    extra = modality_of(spec).columns(part.cells, spec)
    for name in extra.column_names:
        table = table.append_column(name, extra[name])
    return table
