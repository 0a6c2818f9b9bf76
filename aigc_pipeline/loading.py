"""Finished records back into working objects: encoders, the synthesizer, the scoring bench. Stages and rebuilding share it."""

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.samples import HELD_BACK
from aigc_pipeline.data.loader import LabelledCells, concatenate, load_cells
from aigc_pipeline.features import AnyEncoder, FittedEncoder, load_fitted
from aigc_pipeline.features.stored import read_features
from aigc_pipeline.features.views import first_view
from aigc_pipeline.generators import read_generator
from aigc_pipeline.generators.conditions import conditions_of
from aigc_pipeline.generators.synthesis import CHUNK_SIZE, Synthesizer
from aigc_pipeline.generators.weights import load_networks
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.records import Checkpoint, DatasetSplits, Embeddings, SynthesisPlan
from aigc_pipeline.scorers import Bench, TrainReference
from aigc_pipeline.training.devices import device_of

FloatArray = NDArray[np.float32]
_SCORING_BATCH = 8 * CHUNK_SIZE


def open_encoder(context: Context, splits: DatasetSplits, embeddings: Embeddings, name: str) -> FittedEncoder:
    """Read back `encoder` or `judge`.

    Raises:
        ConfigError: if its weights lie in a local file that is gone or has changed.
        WorkspaceError: if the weights in the workspace are gone or have changed.
    """
    folder = context.files_of(embeddings)
    file = folder / f"{name}.json"
    try:
        settings = _ENCODERS.validate_json(file.read_bytes())
    except ValidationError as err:
        msg = f"the {name} cannot be opened as {file} says: {err.errors(include_url=False)[0]['msg']}"
        raise ConfigError(msg) from err
    return load_fitted(
        settings,
        folder / f"{name}.safetensors",
        sha256={"encoder": embeddings.encoder_sha256, "judge": embeddings.judge_encoder_sha256}[name],
        spec=splits.spec,
        num_classes=len(splits.classes),
        num_train=embeddings.trained_on,
        device=device_of(context.runtime),
    )


def open_synthesizer(
    context: Context, planned: SynthesisPlan, splits: DatasetSplits, checkpoint: Checkpoint
) -> Synthesizer:
    """Read back the trained family with the real samples beside it that candidates are made from."""
    device = device_of(context.runtime)
    folder = context.files_of(checkpoint)
    generator = read_generator(folder / "generator.json")
    conditions = conditions_of(checkpoint)
    networks = load_networks(
        generator,
        folder / "generator.safetensors",
        spec=checkpoint.spec,
        num_classes=len(conditions or checkpoint.classes),
        sha256=checkpoint.weights_sha256,
        device=device,
    )
    varied = frozenset(label for label, each in enumerate(planned.classes) if each.method == "vary")
    return Synthesizer(
        generator,
        networks,
        splits.spec,
        load_train(context, splits),
        varied,
        device,
        conditions,
        held_back=load_held_back(context, splits),
    )


def open_bench(context: Context, splits: DatasetSplits, embeddings: Embeddings, synthesizer: Synthesizer) -> Bench:
    """Put encoders, discriminator and training split side by side."""
    train = synthesizer.train
    folder = context.files_of(embeddings)
    return Bench(
        open_encoder(context, splits, embeddings, "encoder"),
        open_encoder(context, splits, embeddings, "judge"),
        lambda cells, labels: discriminate(synthesizer, cells, labels),
        TrainReference(
            train.ids,
            first_view(train.cells, splits.spec),
            read_features(folder, "train").features,
            read_features(folder, "train", space="judge_feature").features,
        ),
    )


@torch.no_grad()
def discriminate(synthesizer: Synthesizer, cells: pa.Array, labels: NDArray[np.int64]) -> FloatArray | None:
    """Return the discriminator's logits on stored cells, or None for a family without one.

    None also where it was told more than the class: the logit would depend on attributes that a sample may not have.
    """
    if synthesizer.conditions is not None:
        return None
    modality, parts = modality_of(synthesizer.spec), []
    for start in range(0, len(cells), _SCORING_BATCH):
        x = modality.to_tensor(cells.slice(start, _SCORING_BATCH), synthesizer.spec).to(synthesizer.device)
        y = torch.tensor(labels[start : start + _SCORING_BATCH]).to(synthesizer.device)
        logits = synthesizer.generator.d_logit(synthesizer.networks, x, y)
        if logits is None:
            return None
        parts.append(logits.float().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def load_train(context: Context, splits: DatasetSplits) -> LabelledCells:
    """Read the training role."""
    return load_cells(context.files_of(splits) / "train.arrow")


def load_held_back(context: Context, splits: DatasetSplits) -> LabelledCells:
    """Read the calibration and selection roles."""
    return concatenate(*(load_cells(context.files_of(splits) / f"{role}.arrow") for role in HELD_BACK))


_ENCODERS: TypeAdapter[AnyEncoder] = TypeAdapter(AnyEncoder)
