"""Train the generator family's phases; resume after any kind of death; reuse the last checkpoint while little has grown."""

import torch
from pydantic import Field

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.strict import digest_of
from aigc_pipeline.data.loader import LabelledCells, load_cells
from aigc_pipeline.features.classifier import training_data
from aigc_pipeline.features.history import has_hardly_grown, write_ids
from aigc_pipeline.generators.recipe import Recipe
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.generators.weights import place, save_networks
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.records import Checkpoint, DatasetSplits, SynthesisPlan
from aigc_pipeline.training.checkpoint import Checkpointer
from aigc_pipeline.training.devices import device_of
from aigc_pipeline.training.loop import Hooks, LoopSettings, Networks
from aigc_pipeline.training.loop import train as run_loop

STAGE_VERSION = 3
WEIGHTS = "generator.safetensors"
_SETTINGS = "settings.txt"
_GRID_COLUMNS = 8


class TrainConfig(Recipe):
    """What is trained, for how long, and how often it is kept and shown."""

    retrain_after: float = Field(default=0.05, ge=0)
    """Growth of the training role up to which the last checkpoint still serves."""
    checkpoint_share: float = Field(default=0.05, gt=0, le=1)
    """A full state is stored every such share of training."""
    snapshot_share: float = Field(default=0.1, gt=0, le=1)
    """A grid of samples with fixed seeds is shown every such share of training."""

    def recipe(self) -> Recipe:
        """Return what the plan must know."""
        return Recipe.model_validate(self.model_dump(include=set(Recipe.model_fields)))


def train(context: Context, config: TrainConfig, planned: SynthesisPlan, splits: DatasetSplits) -> Checkpoint:
    """Train, and write `generator.safetensors`.

    Raises:
        TrainingDivergedError: at the first loss that is not finite, naming the last good checkpoint.
    """
    cells = load_cells(context.files_of(splits) / "train.arrow")
    settings = f"{STAGE_VERSION} {config.recipe().model_dump_json()} {splits.spec.model_dump_json()} {splits.classes} {context.seed}"
    if (previous := _reusable(context, config, settings, cells.ids)) is not None:
        return previous
    device = device_of(context.runtime)
    networks = config.generator.networks(splits.spec, len(splits.classes), context.seed_for("init"))
    place(networks, device)
    samples_seen = 0
    phases = config.generator.phases(splits.spec, len(cells))
    if phases:
        trained = run_loop(
            networks,
            phases,
            training_data(cells, splits.spec, device),
            LoopSettings(
                total_samples=planned.total_samples,
                batch_size=config.generator.batch_size,
                seed=context.seed_for("loop"),
                ema_half_life_samples=config.generator.ema_half_life_samples,
                checkpoint_every_samples=int(config.checkpoint_share * planned.total_samples),
                precision=torch.bfloat16 if device.type == "cuda" else torch.float32,
            ),
            checkpointer=Checkpointer(context.out / "states"),
            hooks=_hooks(context, config, planned, splits, cells, device),
        )
        networks, samples_seen = trained.networks, trained.samples_seen
    sha256 = save_networks(networks, context.out / WEIGHTS)
    (context.out / "generator.json").write_text(config.generator.model_dump_json(indent=1))
    write_ids(context.out, cells.ids)
    (context.out / _SETTINGS).write_text(settings)
    return context.record(
        Checkpoint,
        fingerprint=digest_of([sha256, config.generator.digest(), splits.spec.model_dump(mode="json"), splits.classes]),
        family=config.generator.kind,
        spec=splits.spec,
        classes=splits.classes,
        samples_seen=samples_seen,
        num_threads=torch.get_num_threads(),
        weights_sha256=sha256,
        trained_on=len(cells),
        retrained=True,
    )


def _reusable(context: Context, config: TrainConfig, settings: str, ids: list[str]) -> Checkpoint | None:
    """Return the last checkpoint where it still serves: same recipe, spec, classes and seed, hardly any growth."""
    previous = context.previous(Checkpoint)
    if previous is None or (context.files_of(previous) / _SETTINGS).read_text() != settings:
        return None
    folder = context.files_of(previous)
    if not has_hardly_grown(folder, ids, config.retrain_after):
        return None
    context.reporter.note(
        f"the training role has hardly grown ({previous.trained_on} to {len(ids)}, under train.retrain_after = "
        f"{config.retrain_after}): the last checkpoint still serves."
    )
    return previous.model_copy(update={"retrained": False})


def _hooks(
    context: Context,
    config: TrainConfig,
    planned: SynthesisPlan,
    splits: DatasetSplits,
    cells: LabelledCells,
    device: torch.device,
) -> Hooks:
    reporter = context.reporter

    def snapshot(networks: Networks, samples_seen: int) -> None:
        labels = range(len(splits.classes))
        synthesizer = Synthesizer(config.generator, networks, splits.spec, cells, frozenset(), device)
        orders = synthesizer.orders(dict.fromkeys(labels, _GRID_COLUMNS), "grid", root=context.seed)
        made, _ = synthesizer.make(orders)
        grid = modality_of(splits.spec).grid(made, splits.spec, _GRID_COLUMNS)
        if grid is not None:
            reporter.image(f"samples after {samples_seen:,}", grid)

    return Hooks(
        progress=lambda done, total: reporter.progress("train", done, total),
        metric=lambda name, value, step: reporter.metric(f"train/{name}", value, step),
        snapshot=snapshot,
        snapshot_every_samples=max(int(config.snapshot_share * planned.total_samples), 1),
        note=reporter.note,
    )
