"""Exactly as many candidates per class as plan and measured acceptance ask for; one seed each, shard by shard."""

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from pydantic import Field

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.samples import synthetic_id
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.data.shards import Shard, plan_shards, shard_file, write_table
from aigc_pipeline.generators.conditions import as_json
from aigc_pipeline.generators.synthesis import CHUNK_SIZE, Order, Synthesizer
from aigc_pipeline.loading import open_synthesizer
from aigc_pipeline.records import CandidateSet, Checkpoint, DatasetSplits, Judge, SynthesisPlan

STAGE_VERSION = 8
_SHARD_ROWS = 8 * CHUNK_SIZE
_SAFETY_DEVIATIONS = 2.0


class SynthesizeConfig(Settings):
    """How many candidates to make for each wanted sample."""

    audit_per_class: int = Field(default=300, ge=0)
    """Accepted samples to aim for in every class, wanted or not, up to its number of real ones: what fidelity and
    train-on-synthetic accuracy are measured on. Those beyond the plan are never published."""
    max_oversampling: float = Field(default=20.0, ge=1)
    """Candidates per accepted sample at most; beyond it a shortfall is reported, never padded."""


def synthesize(
    context: Context,
    config: SynthesizeConfig,
    planned: SynthesisPlan,
    splits: DatasetSplits,
    checkpoint: Checkpoint,
    judge: Judge,
) -> CandidateSet:
    """Write `candidates-*.arrow`: identity, lineage and cell. A finished shard is never made again."""
    synthesizer = open_synthesizer(context, planned, splits, checkpoint)
    counts = {
        label: candidates_for(each.want, each.have, judge.acceptance[each.class_name], config)
        for label, each in enumerate(planned.classes)
    }
    beside = _beside(planned, judge, config)
    orders = synthesizer.orders(counts, "candidate", root=context.seed, from_held_back=True)
    orders += synthesizer.orders(
        beside, "candidate", "beside", root=context.seed, varied_only=True, from_held_back=True
    )
    shards = plan_shards(len(orders), _SHARD_ROWS)

    def run_shard(shard: Shard) -> Shard:
        file = shard_file(context.out, "candidates", shard.index)
        if not file.exists():
            part = orders[shard.start : shard.stop]
            write_table(file, _table(synthesizer, part, splits, checkpoint))
        return shard

    for shard in context.executor.map(run_shard, shards):
        context.reporter.progress("synthesize", shard.stop, len(orders))
    return context.record(
        CandidateSet,
        num_samples=len(orders),
        class_counts={splits.classes[label]: count + beside.get(label, 0) for label, count in counts.items()},
        checkpoint_sha256=checkpoint.weights_sha256,
    )


def _beside(planned: SynthesisPlan, judge: Judge, config: SynthesizeConfig) -> dict[int, int]:
    """Return how many varied real samples to make of each generated class."""
    return {
        label: candidates_for(each.want, 0, judge.classic_acceptance.get(each.class_name, 1.0), config)
        for label, each in enumerate(planned.classes)
        if planned.with_classic and each.method == "generate"
    }


def candidates_for(want: int, have: int, acceptance: float, config: SynthesizeConfig) -> int:
    """Return the number of candidates that yields the wanted number with about 97 % certainty, capped."""
    target = max(want, min(have, config.audit_per_class))
    if target == 0:
        return 0
    cap = math.ceil(config.max_oversampling * target)
    if acceptance <= 0:
        return cap
    spread = _SAFETY_DEVIATIONS * math.sqrt(target * (1 - acceptance))
    return min(math.ceil((target + spread) / acceptance), cap)


def _table(
    synthesizer: Synthesizer, orders: Sequence[Order], splits: DatasetSplits, checkpoint: Checkpoint
) -> pa.Table:
    cells, transforms = synthesizer.make(orders)
    names = [splits.classes[order.label] for order in orders]
    parents = [[synthesizer.parent_ids[order.parent]] if order.parent >= 0 else [] for order in orders]
    return pa.table(
        {
            "sample_id": [
                synthetic_id(checkpoint.fingerprint, name, order.seed, ids)
                for name, order, ids in zip(names, orders, parents, strict=True)
            ],
            "label": pa.array([order.label for order in orders], pa.int64()),
            "class_name": names,
            "origin": [order.origin for order in orders],
            "generator": ["classic" if order.origin == "classic" else checkpoint.family for order in orders],
            "checkpoint_sha256": pa.array([checkpoint.weights_sha256] * len(orders), pa.string()),
            "seed": pa.array([order.seed for order in orders], pa.int64()),
            "chunk_size": pa.array(np.full(len(orders), CHUNK_SIZE, np.int32)),
            "parent_ids": pa.array(parents, pa.list_(pa.field("item", pa.string()))),
            "parent_row": pa.array([order.parent for order in orders], pa.int64()),
            "transform": pa.array(transforms, pa.string()),
            "condition": pa.array([_condition(synthesizer, order) for order in orders], pa.string()),
            "cell": cells,
        }
    )


def _condition(synthesizer: Synthesizer, order: Order) -> str | None:
    """Return the attributes that the networks were told about a generated sample."""
    conditions = synthesizer.conditions
    if conditions is None or order.origin == "classic":
        return None
    return as_json(conditions.rows[order.condition])
