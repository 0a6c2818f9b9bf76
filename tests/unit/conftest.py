"""A run up to the gates that generates one class, varies another and wants nothing of the third, in seconds."""

from dataclasses import dataclass

import pytest

from aigc_pipeline.config import PipelineConfig, load_config
from aigc_pipeline.core.context import Context
from aigc_pipeline.core.store import Store
from aigc_pipeline.fitting.budget import Speed
from aigc_pipeline.pipeline import Judged, judge_pipeline
from aigc_pipeline.stages import plan

TINY = (
    "ingest.source.counts=[60,60,12]",
    "plan.strategy={kind: explicit, counts: {class_0: 20, class_2: 10}}",
    "train.generator.kind=mlp_gan",
    "train.total_samples=640",
    "embed.encoder.kind=random_network",
    "calibrate.pilot_per_class=30",
    "synthesize.audit_per_class=30",
    "score.shard_rows=64",
    "runtime={device: cpu, threads: 1, tracking: []}",
)


@dataclass(frozen=True)
class TinyRun:
    config: PipelineConfig
    context: Context
    done: Judged


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    config = load_config(source="mixture", overrides=TINY)
    context = Context(Store(tmp_path_factory.mktemp("tiny")), config.seed, config.runtime)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_measure_speed", lambda *_: Speed(trained=1_000, drawn=1_000))
        return TinyRun(config, context, judge_pipeline(config, context=context))
