"""Samples from a checkpoint alone: files and one table that names them."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.reporting import Reporter
from aigc_pipeline.core.samples import synthetic_id
from aigc_pipeline.data.loader import Attributes
from aigc_pipeline.generators.conditions import as_json
from aigc_pipeline.generators.synthesis import CHUNK_SIZE, Order
from aigc_pipeline.inference.opening import OpenGenerator
from aigc_pipeline.modalities import modality_of

TABLE = "samples.parquet"
_PART = 8 * CHUNK_SIZE


def synthesize(
    opened: OpenGenerator,
    counts: Mapping[str, int],
    out: Path,
    *,
    seed: int,
    precision: torch.dtype,
    reporter: Reporter,
    attributes: Attributes | None = None,
) -> Path:
    """Write `counts[name]` samples of each class into `out` and return the table.

    Sample i of a class is the same whatever the counts are. Pictures become files, points stay in the table.

    Args:
        attributes: what the generator is told beside the class; None leaves the mix of the training samples.

    Raises:
        ConfigError: on an unknown class, a generator that was told none, a count below 1, attributes that the
            generator was never told of a class, or a folder that has such a table already.
    """
    table_file = out / TABLE
    if table_file.exists():
        msg = f"{table_file} exists already. Name another folder, or remove it."
        raise ConfigError(msg)
    if wrong := {name: count for name, count in counts.items() if count < 1}:
        msg = f"a class needs at least 1 sample, not {wrong}. Leave it out, or ask for more."
        raise ConfigError(msg)
    wanted = {opened.label_of(name): count for name, count in counts.items()}
    synthesizer, modality = opened.synthesizer(), modality_of(opened.spec)
    if attributes:
        _refuse_untold(opened, wanted, attributes)
    orders = synthesizer.orders(wanted, "sample", root=seed, attributes=attributes)
    out.mkdir(parents=True, exist_ok=True)
    parts: list[pa.Table] = []
    for start in range(0, len(orders), _PART):
        part = orders[start : start + _PART]
        with torch.autocast(opened.device.type, precision, enabled=precision != torch.float32):
            cells, _ = synthesizer.make(part)
        names = [opened.classes[order.label] for order in part]
        ids = [
            synthetic_id(opened.checkpoint.fingerprint, name, order.seed)
            for name, order in zip(names, part, strict=True)
        ]
        files = _write(modality.encode(cells, opened.spec), ids, out, modality.folder, modality.suffix)
        columns = {
            "sample_id": pa.array(ids),
            "file_name": pa.array(files, pa.string()),
            "label": pa.array([order.label for order in part], pa.int64()),
            "class_name": pa.array(names),
            "condition": pa.array([_condition(opened, order) for order in part], pa.string()),
            "seed": pa.array([order.seed for order in part], pa.int64()),
            "chunk_size": pa.array([CHUNK_SIZE] * len(part), pa.int32()),
            "generator": pa.array([opened.family.kind] * len(part)),
            "checkpoint_sha256": pa.array([opened.checkpoint.weights_sha256] * len(part)),
        }
        own = modality.columns(cells, opened.spec)
        parts.append(pa.table(columns | {name: own[name] for name in own.column_names}))
        reporter.progress("synthesize", start + len(part), len(orders))
    pq.write_table(pa.concat_tables(parts), table_file)
    return table_file


def _refuse_untold(opened: OpenGenerator, wanted: Mapping[int, int], attributes: Attributes) -> None:
    known = opened.conditions
    for label in wanted:
        if known is None or not len(known.of_class(label, attributes)):
            asked = ", ".join(f"{name}={value}" for name, value in attributes.items())
            told = known.describe() if known else "no attributes"
            msg = f"the generator was never told {asked} of class '{opened.classes[label]}'. It was told {told}."
            raise ConfigError(msg)


def _condition(opened: OpenGenerator, order: Order) -> str | None:
    return as_json(opened.conditions.rows[order.condition]) if opened.conditions else None


def _write(contents: list[bytes] | None, ids: list[str], out: Path, folder: str, suffix: str) -> list[str | None]:
    """Write each sample's file under the first two digits of its id; None where samples live in the table."""
    if contents is None:
        return [None] * len(ids)
    names: list[str | None] = []
    for sample_id, content in zip(ids, contents, strict=True):
        name = f"{folder}/{sample_id[:2]}/{sample_id}{suffix}"
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
        names.append(name)
    return names
