"""Give every candidate its numbers: all scorers over shards, then what depends on the whole set in index order."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.errors import DataError
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.core.tables import CANDIDATES, schema_of
from aigc_pipeline.data.loader import from_table
from aigc_pipeline.data.shards import Shard, plan_shards, read_shards, read_table, shard_file, write_table
from aigc_pipeline.loading import open_bench, open_synthesizer
from aigc_pipeline.records import (
    CandidateSet,
    Checkpoint,
    DatasetSplits,
    Embeddings,
    Judge,
    ScoredSet,
    SynthesisPlan,
)
from aigc_pipeline.scorers import JudgeState, add_set_columns, score_batch

STAGE_VERSION = 7
_NULLABLE = {column.name for column in CANDIDATES if column.nullable}
_ADDED_BY_FILTER = ("class_want", "accepted", "reject_reason", "importance_weight")


class ScoreConfig(Settings):
    """How the work is cut."""

    shard_rows: int = Field(default=2_048, ge=64)
    """Candidates per shard."""


def score(
    context: Context,
    config: ScoreConfig,
    planned: SynthesisPlan,
    splits: DatasetSplits,
    embeddings: Embeddings,
    checkpoint: Checkpoint,
    judge: Judge,
    candidates: CandidateSet,
) -> ScoredSet:
    """Write `scored.arrow`: every candidate with its identity, lineage and numbers, in index order, without cells.

    Raises:
        DataError: if a column that must not be null holds NaN, or `p_real` leaves [0, 1].
    """
    if not candidates.num_samples:  # nothing was wanted; encoders and neighbours need a row to look at
        return _record(context, schema_of(c for c in CANDIDATES if c.name not in _ADDED_BY_FILTER).empty_table())
    synthesizer = open_synthesizer(context, planned, splits, checkpoint)
    bench = open_bench(context, splits, embeddings, synthesizer)
    state = JudgeState.load(context.files_of(judge) / "judge.npz")
    table = read_shards(context.files_of(candidates), "candidates")

    def run_shard(shard: Shard) -> Shard:
        file = shard_file(context.out, "scores", shard.index)
        if not file.exists():
            part = table.slice(shard.start, shard.num_rows)
            batch = bench.prepare(
                from_table(part).cells,
                labels=part["label"].to_numpy(),
                parents=part["parent_row"].to_numpy(),
                is_classic=np.array([origin == "classic" for origin in part["origin"].to_pylist()], bool),
                ids=part["sample_id"].to_pylist(),
                run_seed=context.seed,
            )
            write_table(file, pa.table(score_batch(batch, state, bench.reference)))
        return shard

    for shard in context.executor.map(run_shard, plan_shards(len(table), config.shard_rows)):
        context.reporter.progress("score", shard.stop, len(table))
    scores = pa.concat_tables([read_table(file) for file in sorted(context.out.glob("scores-*.arrow"))])
    merged = table.drop_columns(["cell", "parent_row"])
    for name in scores.column_names:
        merged = merged.append_column(name, scores[name])
    return _record(context, add_set_columns(merged, from_table(table).cells, splits.spec, state))


def _record(context: Context, scored: pa.Table) -> ScoredSet:
    ranges = _ranges(scored)
    write_table(context.out / "scored.arrow", scored.combine_chunks())
    return context.record(ScoredSet, num_samples=len(scored), columns=tuple(scored.column_names), ranges=ranges)


def _ranges(table: pa.Table) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest value of each float column, refusing what the schema refuses."""
    ranges = {}
    for name in table.column_names:
        if not pa.types.is_floating(table.schema.field(name).type):
            continue
        values = table[name].drop_null().to_numpy()
        if table[name].null_count and name not in _NULLABLE:
            msg = f"scorer column '{name}' has {table[name].null_count} nulls of {len(table)} rows and allows none"
            raise DataError(msg)
        if len(values) and not np.isfinite(values).all():
            msg = f"scorer column '{name}' holds infinities"
            raise DataError(msg)
        if len(values):
            limits = pc.min_max(table[name]).as_py()
            ranges[name] = (float(limits["min"]), float(limits["max"]))
    low, high = ranges.get("p_real", (0.0, 1.0))
    if low < 0 or high > 1:
        msg = f"p_real spans [{low}, {high}], which are no probabilities"
        raise DataError(msg)
    return ranges
