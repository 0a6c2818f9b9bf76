"""Fit the encoder (also the label referee) and the judge encoder on the training role, and encode every real sample."""

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.samples import ROLES
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.data.loader import LabelledCells, load_cells
from aigc_pipeline.data.shards import cells_from_numpy, write_table
from aigc_pipeline.features import AnyEncoder, Classifier, FittedEncoder, RandomNetwork, load_fitted
from aigc_pipeline.features.history import copy_samples, has_hardly_changed, write_samples
from aigc_pipeline.records import DatasetSplits, Embeddings
from aigc_pipeline.training.devices import device_of
from aigc_pipeline.training.loop import Hooks
from aigc_pipeline.training.probe import seconds_a_step

STAGE_VERSION = 2
_SETTINGS = "settings.txt"
_PROBE_ROWS = 512


class EmbedConfig(Settings):
    """The two feature spaces."""

    encoder: AnyEncoder = Classifier()
    """Read by critic and gates; its class head is the label referee."""
    judge: AnyEncoder = RandomNetwork()
    """Read by published metrics alone."""
    min_train: int = Field(default=100, ge=1)
    """Below this many training samples a random network stands in for the trained encoder, without a referee."""
    refit_after: float = Field(default=0.05, ge=0)
    """Change of the training role (samples that came, went or got another label) up to which the last encoder still serves."""


def embed(context: Context, config: EmbedConfig, splits: DatasetSplits) -> Embeddings:
    """Fit or reuse the encoders and write `features-<role>.arrow` (sample_id, label, feature, judge_feature).

    Early stopping reads the selection role; nothing else but train is seen.
    """
    device = device_of(context.runtime)
    train = load_cells(context.files_of(splits) / "train.arrow")
    encoder_settings = _encoder_for(config, len(train))
    if encoder_settings is not config.encoder:
        context.reporter.note(
            f"only {len(train)} training samples (under {config.min_train}): a random network replaces the trained "
            "encoder, and there is no label referee."
        )
    settings = f"{encoder_settings.model_dump_json()} {config.judge.model_dump_json()} {splits.spec} {splits.classes} {context.seed}"
    names = [splits.classes[label] for label in train.labels]
    previous = _reusable(context, config, settings, train.ids, names)
    if previous is not None:
        encoder, judge = _load_both(context, previous, encoder_settings, config, splits, len(train), device)
        copy_samples(context.files_of(previous), context.out)
    else:
        encoder = _fit(context, encoder_settings, "encoder", train, splits, device)
        judge = _fit(context, config.judge, "judge", train, splits, device)
        write_samples(context.out, train.ids, names)
    for name, fitted, member in (("encoder", encoder, encoder_settings), ("judge", judge, config.judge)):
        fitted.save(context.out / f"{name}.safetensors")
        (context.out / f"{name}.json").write_text(member.model_dump_json(indent=1), encoding="utf-8")
    (context.out / _SETTINGS).write_text(settings, encoding="utf-8")
    accuracy = _write_features(context, splits, encoder, judge)
    return context.record(
        Embeddings,
        encoder=encoder.kind,
        encoder_sha256=encoder.sha256,
        judge_encoder=judge.kind,
        judge_encoder_sha256=judge.sha256,
        num_features=encoder.network.mean.numel(),
        referee_accuracy=accuracy,
        trained_on=previous.trained_on if previous else len(train),
        refitted=previous is None,
    )


def minutes_at_most(context: Context, config: EmbedConfig, splits: DatasetSplits) -> float:
    """Train each encoder that learns for a second or two, and return how long all of it takes without stopping early."""
    device, train = device_of(context.runtime), load_cells(context.files_of(splits) / "train.arrow")
    shown = train.take(np.arange(min(len(train), _PROBE_ROWS)))

    def seconds(member: Classifier) -> float:
        def fit(steps: int) -> None:
            member.model_copy(update={"total_samples": steps * member.batch_size}).fit(
                shown, shown.take(np.arange(0)), spec=splits.spec, num_classes=len(splits.classes),
                seed=context.seed, device=device, hooks=Hooks(),
            )  # fmt: skip

        return seconds_a_step(fit, device) / member.batch_size * member.samples_to_see(len(train))

    members = (_encoder_for(config, len(train)), config.judge)
    return sum(seconds(each) for each in members if isinstance(each, Classifier)) / 60


def _encoder_for(config: EmbedConfig, num_train: int) -> AnyEncoder:
    """Return the encoder, or what stands in for one that so few samples cannot train."""
    return (
        RandomNetwork() if isinstance(config.encoder, Classifier) and num_train < config.min_train else config.encoder
    )


def _reusable(
    context: Context, config: EmbedConfig, settings: str, ids: list[str], names: list[str]
) -> Embeddings | None:
    previous = context.previous(Embeddings)
    if previous is None or (context.files_of(previous) / _SETTINGS).read_text(encoding="utf-8") != settings:
        return None
    folder = context.files_of(previous)
    return previous if has_hardly_changed(folder, ids, names, config.refit_after) else None


def _fit(
    context: Context,
    settings: AnyEncoder,
    name: str,
    train: LabelledCells,
    splits: DatasetSplits,
    device: torch.device,
) -> FittedEncoder:
    hooks = Hooks(
        progress=lambda done, total: context.reporter.progress(f"embed: {name}", done, total),
        metric=lambda key, value, step: context.reporter.metric(f"embed/{key}", value, step),
    )
    return settings.fit(
        train,
        load_cells(context.files_of(splits) / "selection.arrow"),
        spec=splits.spec,
        num_classes=len(splits.classes),
        seed=context.seed_for(name),
        device=device,
        hooks=hooks,
    )


def _load_both(
    context: Context,
    previous: Embeddings,
    encoder_settings: AnyEncoder,
    config: EmbedConfig,
    splits: DatasetSplits,
    num_train: int,
    device: torch.device,
) -> tuple[FittedEncoder, FittedEncoder]:
    folder = context.files_of(previous)
    context.reporter.note(
        f"the training role has hardly changed ({previous.trained_on} to {num_train}): the last encoder still serves."
    )
    both = (
        (encoder_settings, folder / "encoder.safetensors", previous.encoder_sha256),
        (config.judge, folder / "judge.safetensors", previous.judge_encoder_sha256),
    )
    first, second = (
        load_fitted(
            settings,
            file,
            sha256=sha256,
            spec=splits.spec,
            num_classes=len(splits.classes),
            num_train=previous.trained_on,
            device=device,
        )
        for settings, file, sha256 in both
    )
    return first, second


def _write_features(
    context: Context, splits: DatasetSplits, encoder: FittedEncoder, judge: FittedEncoder
) -> float | None:
    """Encode all roles; return the referee's accuracy on selection."""
    accuracy = None
    for role in ROLES:
        part = load_cells(context.files_of(splits) / f"{role}.arrow")
        if not len(part):
            continue
        features, logits = (
            encoder.encode_with_logits(part.cells) if encoder.has_head else (encoder.encode(part.cells), None)
        )
        columns = {
            "sample_id": pa.array(part.ids, pa.string()),
            "label": pa.array(part.labels),
            "feature": cells_from_numpy(features),
            "judge_feature": cells_from_numpy(judge.encode(part.cells)),
        }
        if logits is not None:
            columns["logits"] = cells_from_numpy(logits)
            if role == "selection":
                accuracy = float(np.mean(logits.argmax(1) == part.labels))
        write_table(context.out / f"features-{role}.arrow", pa.table(columns))
    return accuracy
