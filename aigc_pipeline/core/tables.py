"""Every published column: name, Arrow type, meaning. Writer, validator and the reference page are generated from here.

`metadata` is what a trainer loads, `candidates` every synthetic sample with all its numbers, `ledger` every input file
and every candidate with its one state and one reason. They join on `sample_id`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from aigc_pipeline.core.errors import DataError

_STRINGS = pa.list_(pa.field("item", pa.string()))


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a published table."""

    name: str
    type: pa.DataType
    meaning: str
    nullable: bool = False


_IDENTITY = (
    Column(
        "sample_id",
        pa.string(),
        "Real: first 32 hex digits of the content's sha256. Synthetic: hash of checkpoint, class, seed and parents.",
    ),
    Column(
        "label",
        pa.int64(),
        "Class index; `class_name` in the order of the file's `huggingface` metadata. A version with other classes numbers anew.",
    ),
    Column("class_name", pa.string(), "Class name."),
    Column("origin", pa.string(), "`real`, `classic` (a varied real sample) or `generated`."),
)
_LINEAGE = (
    Column("generator", pa.string(), "Generator family.", nullable=True),
    Column("checkpoint_sha256", pa.string(), "sha256 of the generator's weights.", nullable=True),
    Column("seed", pa.int64(), "The sample's own seed.", nullable=True),
    Column(
        "chunk_size",
        pa.int32(),
        "Padded batch size of synthesis: part of what a bit-exact rebuild needs.",
        nullable=True,
    ),
    Column("parent_ids", _STRINGS, "Real samples it was made from; empty where it was made from noise.", nullable=True),
    Column(
        "condition", pa.string(), "JSON of the attributes that the generator was told beside the class.", nullable=True
    ),
    Column("transform", pa.string(), "JSON of how a parent was varied.", nullable=True),
)
_SCORES = (
    Column(
        "d_logit",
        pa.float32(),
        "Raw discriminator output; comparable only within one checkpoint and class.",
        nullable=True,
    ),
    Column(
        "p_real",
        pa.float32(),
        "Calibrated probability of being real at prior 1/2, in [0, 1]. Null for varied real samples and in classes that the "
        "critic does not judge.",
        nullable=True,
    ),
    Column(
        "log_density_ratio",
        pa.float32(),
        "log p(x|class)/q(x|class), self-normalized per class, clipped to +-8.",
        nullable=True,
    ),
    Column(
        "real_percentile",
        pa.float32(),
        "Share of unseen real samples that look no more real; at least 1/(n+1).",
        nullable=True,
    ),
    Column(
        "label_probability",
        pa.float32(),
        "The referee's probability for the requested class, in [0, 1].",
        nullable=True,
    ),
    Column(
        "train_distance",
        pa.float32(),
        "Root-mean-square difference to the nearest training sample but its parents, over harmless shifts.",
        nullable=True,
    ),
    Column(
        "train_distance_quantile",
        pa.float32(),
        "Share of unseen real samples that come as near to a training sample; at least 1/(n+1).",
        nullable=True,
    ),
    Column(
        "ood_p",
        pa.float32(),
        "Conformal p-value of being in distribution: share of unseen real samples that lie as far out. Null for varied "
        "real samples and in classes of fewer than 25 training samples.",
        nullable=True,
    ),
    Column(
        "judge_distance",
        pa.float32(),
        "Distance to the nearest training sample in the judge encoder, which no gate reads.",
        nullable=True,
    ),
)

CANDIDATES: tuple[Column, ...] = (
    *_IDENTITY,
    *_LINEAGE,
    *_SCORES,
    Column("accept_probability", pa.float32(), "Probability with which rejection sampling accepts it.", nullable=True),
    Column("accept_coin", pa.float64(), "The sample's own uniform number; accepted when below `accept_probability`."),
    Column("label_predicted", pa.int64(), "The referee's most likely class.", nullable=True),
    Column("nearest_train_id", pa.string(), "The training sample at `train_distance`.", nullable=True),
    Column("copy_threshold", pa.float32(), "`train_distance` at or under this counts as a copy.", nullable=True),
    Column(
        "nearest_earlier_distance",
        pa.float32(),
        "Distance to the nearest earlier candidate of its class; null for the first.",
        nullable=True,
    ),
    Column(
        "distinct_threshold", pa.float32(), "`nearest_earlier_distance` at or under this is a repeat.", nullable=True
    ),
    Column("class_have", pa.int64(), "Training samples of its class.", nullable=True),
    Column(
        "importance_weight",
        pa.float32(),
        "Loss weight by density ratio, 1 on average per class; 1 where `filter.importance` is off.",
    ),
    Column("class_want", pa.int64(), "How many accepted samples the plan wants of this class."),
    Column("accepted", pa.bool_(), "Passed every gate."),
    Column("reject_reason", pa.string(), "The first gate that refused it; null when accepted.", nullable=True),
)

METADATA: tuple[Column, ...] = (
    Column(
        "file_name",
        pa.string(),
        "Path of the encoded sample inside the version; null where the sample lives inline.",
        nullable=True,
    ),
    *_IDENTITY,
    Column("split", pa.string(), "`train` or `test`. Synthetic rows are always `train`."),
    Column(
        "role",
        pa.string(),
        "What the pipeline used a real sample for: `train`, `calibration`, `selection` or `test`; `train` for synthetic rows, "
        "also for those made from `calibration` and `selection` samples (`parent_ids`).",
    ),
    Column("recommended", pa.bool_(), "Train on this row? True for real rows; for synthetic rows set by the verdict."),
    Column(
        "weight",
        pa.float32(),
        "Loss weight where all rows are shown equally often; gives synthetic rows the share of the loss that was measured.",
    ),
    Column("sha256", pa.string(), "sha256 of the published file (or of the inline values)."),
    Column("source_uri", pa.string(), "The user's own file, relative to the source.", nullable=True),
    Column("source_sha256", pa.string(), "sha256 of the user's own file.", nullable=True),
    *_LINEAGE,
    *_SCORES,
)

LEDGER: tuple[Column, ...] = (
    Column("sample_id", pa.string(), "Unique per row; joins the other tables."),
    Column("kind", pa.string(), "`input` (a listed file) or `candidate` (a synthetic sample)."),
    Column("origin", pa.string(), "`real`, `classic` or `generated`."),
    Column("class_name", pa.string(), "Class it was listed or requested under."),
    Column(
        "state", pa.string(), "`kept`, `quarantined` or `rejected` for inputs; `accepted` or `rejected` for candidates."
    ),
    Column("stage", pa.string(), "The stage that decided.", nullable=True),
    Column("reason", pa.string(), "Stable reason code; null for kept and accepted rows.", nullable=True),
    Column(
        "detail",
        pa.string(),
        "In words: what is wrong with it, or why an accepted sample is not published.",
        nullable=True,
    ),
    Column("role", pa.string(), "Role of a kept input.", nullable=True),
    Column("source_uri", pa.string(), "The user's own file, relative to the source.", nullable=True),
    Column("sha256", pa.string(), "Content hash of an input; null where it could not be read.", nullable=True),
    Column("duplicate_of", pa.string(), "The sample that stands for this one.", nullable=True),
)


def schema_of(columns: Iterable[Column]) -> pa.Schema:
    """Return the Arrow schema of a table."""
    return pa.schema([pa.field(column.name, column.type, nullable=column.nullable) for column in columns])


def build_table(columns: Iterable[Column], values: Mapping[str, object]) -> pa.Table:
    """Build a table that meets its schema; a missing nullable column becomes null.

    Raises:
        DataError: on an unknown column, a missing column, or a null where none is allowed.
    """
    columns = tuple(columns)
    known = {column.name for column in columns}
    if unknown := sorted(set(values) - known):
        msg = f"columns {unknown} are not in the schema; it has {sorted(known)}"
        raise DataError(msg)
    num_rows = max((len(value) for value in values.values()), default=0)  # type: ignore[arg-type] # columns are sized
    arrays = [_array(column, values.get(column.name), num_rows) for column in columns]
    return pa.Table.from_arrays(arrays, schema=schema_of(columns))


def _array(column: Column, value: object, num_rows: int) -> pa.Array:
    if value is None:
        array: pa.Array = pa.nulls(num_rows, column.type)
    elif isinstance(value, pa.ChunkedArray):
        array = value.combine_chunks().cast(column.type)
    else:
        array = pa.array(value, column.type) if not isinstance(value, pa.Array) else value.cast(column.type)
    if array.null_count and not column.nullable:
        msg = f"column '{column.name}' has {array.null_count} nulls of {len(array)} rows and allows none"
        raise DataError(msg)
    return array
