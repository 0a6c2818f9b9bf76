"""Train the generator family's phases; resume after any kind of death; reuse the last checkpoint while little has changed."""

import json

import torch
from pydantic import Field

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.strict import digest_of
from aigc_pipeline.features.history import earlier_fits, last_serving, write_samples, write_settings
from aigc_pipeline.fitting.fit import fit
from aigc_pipeline.fitting.peers import fit_together
from aigc_pipeline.fitting.settings import FitSettings
from aigc_pipeline.fitting.told import Told
from aigc_pipeline.generators import dump_generator
from aigc_pipeline.generators.recipe import Recipe
from aigc_pipeline.records import Checkpoint, DatasetSplits, Embeddings, SynthesisPlan

STAGE_VERSION = 12


class TrainConfig(FitSettings):
    """What is trained, for how long, what chooses the weights, and when the last ones still serve."""

    retrain_after: float = Field(default=0.05, ge=0)
    """Change of the training role (samples that came, went or got another label) up to which the last checkpoint still serves."""

    def recipe(self) -> Recipe:
        """Return what the plan must know."""
        return Recipe.model_validate(self.model_dump(include=set(Recipe.model_fields)))


def train(
    context: Context, config: TrainConfig, planned: SynthesisPlan, splits: DatasetSplits, embeddings: Embeddings
) -> Checkpoint:
    """Train, and write `generator.safetensors`.

    Raises:
        TrainingDivergedError: where training cannot be saved; names the last good checkpoint.
        CheckpointError: if the warm start does not fit.
        ConfigError: if it freezes what is not there, or all that a phase moves.
    """
    told = Told.read(context, splits, config.condition_on)
    if (serving := _serving(context, config, splits, told)) is not None:
        context.reporter.note(
            f"the training role has hardly changed ({serving.trained_on} to {len(told.train)}, under train.retrain_after = "
            f"{config.retrain_after}): the last checkpoint still serves."
        )
        return serving.model_copy(update={"retrained": False})
    conditions = told.conditions
    run = fit_together if context.runtime.processes > 1 else fit
    outcome = run(context, config, planned, splits, embeddings)
    generator = dump_generator(config.generator)
    (context.out / "generator.json").write_text(json.dumps(generator, indent=1))
    write_samples(context.out, told.train.ids, told.train_names)
    write_settings(context.out, _what_shapes(context, config, splits))
    sha256 = outcome.weights_sha256
    return context.record(
        Checkpoint,
        fingerprint=digest_of([sha256, digest_of(generator), splits.spec.model_dump(mode="json"), told.names]),
        family=config.generator.kind,
        spec=splits.spec,
        classes=splits.classes,
        samples_seen=outcome.samples_seen,
        best_samples_seen=outcome.best_samples_seen,
        seconds=outcome.seconds,
        events=outcome.events,
        condition_on=config.condition_on,
        conditions=conditions.rows if conditions else (),
        num_threads=torch.get_num_threads(),
        weights_sha256=sha256,
        trained_on=len(told.train),
        retrained=True,
    )


def is_superseded(
    context: Context,
    found: Checkpoint,
    config: TrainConfig,
    planned: SynthesisPlan,
    splits: DatasetSplits,
    embeddings: Embeddings,
) -> bool:
    """Tell whether `found` has an earlier checkpoint serve where a later one would now (ADR 6)."""
    del planned, embeddings
    if found.retrained or context.previous(Checkpoint) == found:
        return False
    serving = _serving(context, config, splits, Told.read(context, splits, config.condition_on))
    return serving is not None and serving.weights_sha256 != found.weights_sha256


def _serving(context: Context, config: TrainConfig, splits: DatasetSplits, told: Told) -> Checkpoint | None:
    """Return the last checkpoint that still serves: same recipe, spec, classes and seed, hardly any change."""
    fits = earlier_fits(context, Checkpoint, _what_shapes(context, config, splits))
    return last_serving(context, fits, told.train.ids, told.train_names, config.retrain_after)


def _what_shapes(context: Context, config: TrainConfig, splits: DatasetSplits) -> str:
    return f"{STAGE_VERSION} {config.what_shapes_the_weights()} {splits.spec.model_dump_json()} {splits.classes} {context.seed}"
