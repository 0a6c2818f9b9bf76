"""From records to trained weights: one process's share of one training."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from aigc_pipeline.core.context import Context
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.fitting.quality import adaptation_of, validation_of
from aigc_pipeline.fitting.settings import FitSettings
from aigc_pipeline.fitting.told import Told
from aigc_pipeline.fitting.warm_start import start_warm
from aigc_pipeline.fitting.watching import REPORT_SAMPLES, HealthWatch, divergence_remedy
from aigc_pipeline.generators.recipe import CHECKPOINT_WEIGHTS
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.generators.weights import compile_networks, place, save_networks
from aigc_pipeline.loading import open_encoder
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.records import DatasetSplits, Embeddings, SynthesisPlan
from aigc_pipeline.training.checkpoint import Checkpointer
from aigc_pipeline.training.devices import (
    emulation_note,
    fastest_algorithms,
    precision_of,
    resident,
    training_device,
)
from aigc_pipeline.training.loop import Hooks, LoopSettings, Networks, TrainingData
from aigc_pipeline.training.loop import train as run_loop
from aigc_pipeline.training.strength import Adaptation
from aigc_pipeline.training.team import Team

_GRID_COLUMNS = 8
_ADAPT_SHARE = 0.02
_IMAGE_AXES = 3


@dataclass(frozen=True)
class Outcome:
    """What a training came to; its weights lie beside it."""

    weights_sha256: str
    samples_seen: int
    best_samples_seen: int
    seconds: float
    best_score: float | None
    events: tuple[str, ...]

    def write(self, file: Path) -> None:
        """Write JSON."""
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, file: Path) -> "Outcome":
        """Read it back."""
        content = json.loads(file.read_text())
        return cls(**{**content, "events": tuple(content["events"])})


def fit(
    context: Context,
    config: FitSettings,
    planned: SynthesisPlan,
    splits: DatasetSplits,
    embeddings: Embeddings,
    team: Team | None = None,
) -> Outcome:
    """Train and write `generator.safetensors` into the context's directory.

    Raises:
        TrainingDivergedError: where training cannot be saved; names the last good checkpoint.
        CheckpointError: if the warm start does not fit.
        ConfigError: if it freezes what is not there, or all that a phase moves.
    """
    team = team or Team()
    device = training_device(context.runtime, team)
    told = Told.read(context, splits, config.condition_on)
    cells, selection = told.train, told.selection
    networks = config.generator.networks(splits.spec, len(told.names), context.seed_for("init"))
    place(networks, device)
    if config.warm_start is not None and networks:
        context.reporter.note(start_warm(networks, config.warm_start, config.generator, told.names) + ".")
    phases = config.generator.phases(splits.spec, len(cells))
    if not phases:
        return Outcome(save_networks(networks, context.out / CHECKPOINT_WEIGHTS), 0, 0, 0.0, None, ())
    precision = precision_of(context.runtime, device)
    if warning := emulation_note(precision, device):
        context.reporter.note(warning)
    if context.runtime.compile:
        compile_networks(networks)
    synthesizer = Synthesizer(config.generator, networks, splits.spec, cells, frozenset(), device, is_training=True)
    encoder = open_encoder(context, splits, embeddings, "encoder")
    total = planned.total_samples
    hooks = _hooks(context, config, total, synthesizer)
    with fastest_algorithms(context.runtime):
        trained = run_loop(
            networks,
            phases,
            _training_data(cells, splits, config, device),
            LoopSettings(
                total_samples=total,
                batch_size=config.generator.batch_size,
                seed=context.seed_for("loop"),
                ema_half_life_samples=config.generator.ema_half_life_samples,
                checkpoint_every_samples=int(config.checkpoint_share * total),
                report_every_samples=REPORT_SAMPLES,
                precision=precision,
                frozen=config.warm_start.frozen if config.warm_start else (),
                remedy=divergence_remedy(config.generator),
            ),
            checkpointer=Checkpointer(context.out / "states"),
            validation=validation_of(
                synthesizer, encoder, selection, every_samples=int(planned.validate_share * total),
                patience=config.patience, max_copy_share=config.max_copy_share, root=context.seed,
            ),
            adaptation=_adaptation(config, synthesizer, selection, total, context.seed),
            watch=HealthWatch(synthesizer, encoder, context.seed, told.classes, total),
            team=team,
            hooks=hooks if team.is_first else Hooks(),
        )  # fmt: skip
    sha256 = save_networks(trained.networks, context.out / CHECKPOINT_WEIGHTS) if team.is_first else ""
    return Outcome(
        sha256, trained.samples_seen, trained.best_samples_seen, trained.seconds, trained.best_score, trained.events
    )


def _training_data(
    cells: LabelledCells, splits: DatasetSplits, config: FitSettings, device: torch.device
) -> TrainingData:
    x = modality_of(splits.spec).to_tensor(cells.cells, splits.spec)
    if x.ndim == _IMAGE_AXES + 1:
        x = x.contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(cells.labels).to(device)
    return TrainingData(resident(x, device), labels, config.generator.sampler(labels))


def _adaptation(
    config: FitSettings, synthesizer: Synthesizer, selection: LabelledCells, total: int, root: int
) -> Adaptation | None:
    if not config.generator.adapts_augmentation or len(synthesizer.spec.shape) != _IMAGE_AXES:
        return None
    return adaptation_of(
        synthesizer, selection, total_samples=total, every_samples=max(int(_ADAPT_SHARE * total), 1), root=root
    )


def _hooks(context: Context, config: FitSettings, total: int, synthesizer: Synthesizer) -> Hooks:
    reporter = context.reporter
    return Hooks(
        progress=lambda done, of: reporter.progress("train", done, of),
        metric=lambda name, value, samples_seen: reporter.metric(f"train/{name}", value, samples_seen),
        snapshot=_snapshot(context, synthesizer),
        snapshot_every_samples=max(int(config.snapshot_share * total), 1),
        note=reporter.note,
    )


def _snapshot(context: Context, synthesizer: Synthesizer) -> Callable[[Networks, int], None]:
    """Show a grid of the same latents every time, one row a class."""

    def show(networks: Networks, samples_seen: int) -> None:
        now = replace(synthesizer, networks=networks)
        labels = sorted({int(label) for label in now.train.labels})
        made, _ = now.make(now.orders(dict.fromkeys(labels, _GRID_COLUMNS), "grid", root=context.seed))
        grid = modality_of(now.spec).grid(made, now.spec, _GRID_COLUMNS)
        if grid is not None:
            context.reporter.image(f"samples after {samples_seen:,}", grid)

    return show
