"""Fit the encoder (also the label referee) and the judge encoder on the training role, and encode every real sample."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.samples import HELD_BACK, ROLES, Role
from aigc_pipeline.core.strict import Settings, digest_of
from aigc_pipeline.data.loader import LabelledCells, concatenate, load_cells
from aigc_pipeline.data.shards import cells_from_numpy, read_table, write_table
from aigc_pipeline.features import AnyEncoder, Classifier, FittedEncoder, RandomNetwork
from aigc_pipeline.features.arrivals import UNLIKE, is_notable, unlike
from aigc_pipeline.features.history import copy_samples, earlier_fits, last_serving, write_samples, write_settings
from aigc_pipeline.features.stored import LabelledFeatures, features_file, read_features
from aigc_pipeline.loading import open_encoder
from aigc_pipeline.records import Arrivals, DatasetSplits, Embeddings
from aigc_pipeline.training.devices import device_of
from aigc_pipeline.training.loop import Hooks
from aigc_pipeline.training.probe import seconds_a_step

STAGE_VERSION = 3
_PROBE_ROWS = 512
_MAX_NAMED = 5


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
    settings = _what_shapes(context, config, encoder_settings, splits)
    names = _names(train, splits)
    earlier = list(earlier_fits(context, Embeddings, settings))
    arrivals = _arrivals(context, earlier[0], splits) if earlier else None
    if (serving := last_serving(context, earlier, train.ids, names, config.refit_after)) is not None:
        context.reporter.note(
            f"the training role has hardly changed ({serving.trained_on} to {len(train)}, under embed.refit_after = "
            f"{config.refit_after}): the last encoder still serves."
        )
        encoder, judge = (open_encoder(context, splits, serving, name) for name in ("encoder", "judge"))
        copy_samples(context.files_of(serving), context.out)
    else:
        encoder = _fit(context, encoder_settings, "encoder", train, splits, device)
        judge = _fit(context, config.judge, "judge", train, splits, device)
        write_samples(context.out, train.ids, names)
    for name, fitted, member in (("encoder", encoder, encoder_settings), ("judge", judge, config.judge)):
        fitted.save(context.out / f"{name}.safetensors")
        (context.out / f"{name}.json").write_text(member.model_dump_json(indent=1), encoding="utf-8")
    write_settings(context.out, settings)
    accuracy = _write_features(context, splits, encoder, judge)
    return context.record(
        Embeddings,
        fingerprint=digest_of([encoder.sha256, judge.sha256, splits.fingerprint]),
        encoder=encoder.kind,
        encoder_sha256=encoder.sha256,
        judge_encoder=judge.kind,
        judge_encoder_sha256=judge.sha256,
        num_features=encoder.network.mean.numel(),
        referee_accuracy=accuracy,
        trained_on=serving.trained_on if serving else len(train),
        refitted=serving is None,
        arrivals=arrivals,
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


def is_superseded(context: Context, found: Embeddings, config: EmbedConfig, splits: DatasetSplits) -> bool:
    """Tell whether `found` has an earlier encoder serve where a later one would now (ADR 6)."""
    if found.refitted or context.previous(Embeddings) == found:
        return False
    train = load_cells(context.files_of(splits) / "train.arrow")
    settings = _what_shapes(context, config, _encoder_for(config, len(train)), splits)
    fits = earlier_fits(context, Embeddings, settings)
    serving = last_serving(context, fits, train.ids, _names(train, splits), config.refit_after)
    return serving is not None and serving.encoder_sha256 != found.encoder_sha256


def _what_shapes(context: Context, config: EmbedConfig, encoder: AnyEncoder, splits: DatasetSplits) -> str:
    return f"{encoder.model_dump_json()} {config.judge.model_dump_json()} {splits.spec} {splits.classes} {context.seed}"


def _names(train: LabelledCells, splits: DatasetSplits) -> list[str]:
    return [splits.classes[label] for label in train.labels]


def _arrivals(context: Context, last: Embeddings, splits: DatasetSplits) -> Arrivals | None:
    """Compare the samples that the last run did not have with those it had, by its encoder."""
    folder = context.files_of(last)
    files = [file for role in ROLES if (file := features_file(folder, role)).exists()]
    before = {each for file in files for each in read_table(file)["sample_id"].to_pylist()}

    def arrived_in(role: Role) -> LabelledCells:
        part = load_cells(context.files_of(splits) / f"{role}.arrow")
        return part.take(np.flatnonzero([each not in before for each in part.ids]))

    arrived = concatenate(*(arrived_in(role) for role in ROLES))
    if not len(arrived):
        return None
    encoder = open_encoder(context, splits, last, "encoder")
    features = LabelledFeatures(encoder.encode(arrived.cells), arrived.labels)
    unseen = read_features(folder, *HELD_BACK)
    odd = arrived.take(np.flatnonzero(unlike(features, read_features(folder, "train"), unseen)))
    warning = None
    if is_notable(len(odd), len(arrived), len(unseen)):
        warning = _warning(odd, len(arrived), splits.classes)
        context.reporter.note(f"{warning}.")
    return Arrivals(num_samples=len(arrived), num_unlike=len(odd), unlike=tuple(odd.ids), warning=warning)


def _warning(odd: LabelledCells, num_arrived: int, classes: Sequence[str]) -> str:
    counts = Counter(classes[label] for label in odd.labels)
    where = ", ".join(f"{name} {n}" for name, n in counts.most_common(_MAX_NAMED))
    return (
        f"{len(odd):,} of {num_arrived:,} samples that came since the last run are unlike the earlier ones of their class "
        f"({where}), where about {UNLIKE * num_arrived:.0f} would be by chance. Another camera, another export, wrong labels? "
        f"For example {', '.join(each[:8] for each in odd.ids[:_MAX_NAMED])}"
    )


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


def _write_features(
    context: Context, splits: DatasetSplits, encoder: FittedEncoder, judge: FittedEncoder
) -> float | None:
    """Encode all roles; return the referee's accuracy on selection."""
    accuracy = None
    for role in ROLES:
        part = load_cells(context.files_of(splits) / f"{role}.arrow")
        if not len(part):
            continue
        columns = {
            "sample_id": pa.array(part.ids, pa.string()),
            "label": pa.array(part.labels),
            "feature": cells_from_numpy(encoder.encode(part.cells)),
            "judge_feature": cells_from_numpy(judge.encode(part.cells)),
        }
        if role == "selection" and encoder.has_head:
            accuracy = float(np.mean(encoder.encode_with_logits(part.cells)[1].argmax(1) == part.labels))
        write_table(features_file(context.out, role), pa.table(columns))
    return accuracy
