"""How tests run the whole pipeline: small, on the CPU, with a fixed training budget."""

from dataclasses import replace
from pathlib import Path

from aigc_pipeline.config import PipelineConfig, load_config
from aigc_pipeline.core.context import Context
from aigc_pipeline.core.reporting import Reporter
from aigc_pipeline.core.store import Store
from aigc_pipeline.pipeline import run_pipeline
from aigc_pipeline.records import Manifest

FAST = (
    "train.total_samples=20000",
    "embed.encoder.total_samples=12000",
    "evaluate.total_samples=6000",
    "evaluate.num_seeds=2",
    "evaluate.num_cas_seeds=1",
    "calibrate.pilot_per_class=60",
    "runtime.device=cpu",
    "runtime.threads=1",
    "publish.when=always",
    "runtime.tracking=[]",
)


def fast_config(source: str, *overrides: str) -> PipelineConfig:
    return load_config(source=source, overrides=(*FAST, *overrides))


def run(config: PipelineConfig, workspace: Path, reporter: Reporter | None = None) -> Manifest:
    context = Context(Store(workspace), config.seed, config.runtime)
    return run_pipeline(config, context=replace(context, reporter=reporter) if reporter else context)
