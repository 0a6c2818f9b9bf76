"""How many samples each class should get, by which method, and what that will cost: shown before anything is trained."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.samples import ROLES, SampleSpec
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.data.loader import load_cells
from aigc_pipeline.fitting.budget import Speed, measure_speed
from aigc_pipeline.fitting.told import Told
from aigc_pipeline.generators import Classic
from aigc_pipeline.generators.recipe import Recipe, wanted_samples
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.generators.weights import place
from aigc_pipeline.records import ClassPlan, DatasetSplits, SynthesisPlan
from aigc_pipeline.training.devices import device_of, precision_of

STAGE_VERSION = 7
_OVERSAMPLING = 4  # candidates per wanted sample to expect; only for the estimates of time and disk space
_BYTES_OVERHEAD = 400
_NOTED = 5  # of two hundred classes, seventy notes bury all that follows


class Equalize(Settings):
    """Bring every class up to the largest, and give each at least a share of what it has."""

    kind: Literal["equalize"] = "equalize"
    at_least: float = Field(default=0.25, ge=0)
    """Smallest number of synthetic samples of a class, as a share of its real ones."""
    at_most: float = Field(default=100.0, gt=0)
    """Largest number, as a multiple of the real ones: the next thousand rows out of five pictures show these five again."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.at_least > self.at_most:
            msg = f"at_least ({self.at_least}) is above at_most ({self.at_most})"
            raise ValueError(msg)
        return self

    def want(self, have: dict[str, int]) -> dict[str, int]:
        """Return the wanted number per class."""
        largest = max(have.values())
        return {
            name: max(min(largest - count, math.floor(self.at_most * count)), math.ceil(self.at_least * count))
            for name, count in have.items()
        }


class Explicit(Settings):
    """Exactly these numbers; classes that are not named get none."""

    kind: Literal["explicit"] = "explicit"
    counts: dict[str, int]
    """Class name to wanted number."""

    def want(self, have: dict[str, int]) -> dict[str, int]:
        """Return the wanted number per class.

        Raises:
            ConfigError: on an unknown class or a negative number.
        """
        if unknown := sorted(set(self.counts) - set(have)):
            msg = f"plan.strategy.counts names the classes {unknown}, which the dataset does not have. It has {sorted(have)}."
            raise ConfigError(msg)
        if negative := {name: count for name, count in self.counts.items() if count < 0}:
            msg = f"plan.strategy.counts must not be negative: {negative}"
            raise ConfigError(msg)
        return {name: self.counts.get(name, 0) for name in have}


class Multiply(Settings):
    """The same multiple of every class."""

    kind: Literal["multiply"] = "multiply"
    factor: float = Field(gt=0, le=100)
    """Synthetic samples per real one."""

    def want(self, have: dict[str, int]) -> dict[str, int]:
        """Return the wanted number per class."""
        return {name: math.ceil(self.factor * count) for name, count in have.items()}


AnyStrategy = Annotated[Equalize | Explicit | Multiply, Field(discriminator="kind")]


class PlanConfig(Settings):
    """How many, and from which class size on a generator is trusted."""

    strategy: AnyStrategy = Equalize()
    min_class_size: int = Field(default=20, ge=1)
    """Training samples under which a class is varied from its real samples instead of generated: a published study saw
    GAN augmentation raise the error gap of classes with fewer than 20 to 50 images (arXiv 2603.16134)."""
    with_classic: bool = True
    """Also make as many varied real samples of generated classes: both kinds share one budget, and selection chooses
    which is published."""


def plan(context: Context, config: PlanConfig, recipe: Recipe, splits: DatasetSplits) -> SynthesisPlan:
    """Work out wanted numbers and the training budget, and show them.

    Raises:
        ConfigError: if the strategy names an unknown class, or `train.condition_on` an unknown attribute.
    """
    told = Told.read(context, splits, recipe.condition_on)
    have = dict(zip(splits.classes, splits.class_counts["train"], strict=True))
    want = config.strategy.want(have)
    classes = [
        _plan_class(name, have[name], want[name], config, recipe, is_known=recipe.knows(told.names_of(label)))
        for label, name in enumerate(splits.classes)
    ]
    num_generated = _OVERSAMPLING * sum(each.want for each in classes if each.method == "generate")
    length = _length(context, recipe, splits, num_generated)
    with_classic = config.with_classic and any(each.method == "generate" for each in classes)
    num_real, num_wanted = sum(splits.num_samples(role) for role in ROLES), sum(want.values())
    num_bytes = bytes_to_expect(splits.spec, num_real, num_wanted, with_classic=with_classic)
    _show(context, classes, length, num_bytes)
    return context.record(
        SynthesisPlan, classes=tuple(classes), **asdict(length), num_bytes=num_bytes, with_classic=with_classic
    )


def bytes_to_expect(spec: SampleSpec, num_real: int, num_wanted: int, *, with_classic: bool) -> int:
    """Return the disk space of candidates and version: all real samples, and candidates of one kind or of both."""
    num_candidates = _OVERSAMPLING * num_wanted * (2 if with_classic else 1)
    return (num_real + num_candidates) * (math.prod(spec.shape) + _BYTES_OVERHEAD)


def _plan_class(
    name: str, have: int, want: int, config: PlanConfig, recipe: Recipe, *, is_known: bool = False
) -> ClassPlan:
    """Return a class's number and method.

    Args:
        is_known: the weights to start from have learned what the class's samples are told.
    """
    if want == 0:
        return ClassPlan(class_name=name, have=have, want=0, method="nothing", expectation="nothing wanted")
    if isinstance(recipe.generator, Classic):
        return ClassPlan(class_name=name, have=have, want=want, method="vary", expectation="varied real samples")
    if recipe.generator.uses_parents:
        expectation = "varied real samples, as the family learned it on all classes"
        return ClassPlan(class_name=name, have=have, want=want, method="generate", expectation=expectation)
    if not recipe.generator.is_trained:
        expectation = "a finished generator of yours, which knows more than these samples"
        return ClassPlan(class_name=name, have=have, want=want, method="generate", expectation=expectation)
    if have < config.min_class_size and is_known:
        expectation = f"only {have} training samples, but the warm start knows this class"
        return ClassPlan(class_name=name, have=have, want=want, method="generate", expectation=expectation)
    if have < config.min_class_size:
        expectation = (
            f"only {have} training samples (under {config.min_class_size}): a generator would likely harm this class, "
            "so its real samples are varied instead"
        )
        return ClassPlan(class_name=name, have=have, want=want, method="vary", expectation=expectation)
    return ClassPlan(class_name=name, have=have, want=want, method="generate", expectation="enough to learn from")


@dataclass(frozen=True)
class _Length:
    """What the record says of the training."""

    total_samples: int
    validate_share: float
    samples_per_second: float
    minutes: float
    minutes_to_draw: float


def _length(context: Context, recipe: Recipe, splits: DatasetSplits, num_generated: int) -> _Length:
    """Measure the speed and return how long to train and to draw; all 0 for a family without training."""
    num_train = splits.num_samples("train")
    if not recipe.generator.phases(splits.spec, num_train):
        return _Length(0, 0.0, 0.0, 0.0, 0.0)
    speed, share, total = _measure_speed(context, recipe, splits), recipe.validate_share, recipe.total_samples
    if total is None:
        batch, allowed = recipe.generator.batch_size, 60 * recipe.max_minutes
        share = speed.validate_share(share, allowed)
        affordable = max(speed.affordable(share, allowed), batch)
        total = math.ceil(min(wanted_samples(num_train), affordable) / batch) * batch
    return _Length(total, share, speed.trained, speed.seconds(share, total) / 60, num_generated / speed.drawn / 60)


def _measure_speed(context: Context, recipe: Recipe, splits: DatasetSplits) -> Speed:
    device = device_of(context.runtime)
    train = load_cells(context.files_of(splits) / "train.arrow")
    networks = recipe.generator.networks(splits.spec, len(splits.classes), context.seed_for("probe"))
    place(networks, device)
    return measure_speed(
        Synthesizer(recipe.generator, networks, splits.spec, train, frozenset(), device),
        seed=context.seed,
        precision=precision_of(context.runtime, device),
        num_gpus=context.runtime.processes if device.type == "cuda" else 1,
    )


def _show(context: Context, classes: Sequence[ClassPlan], length: _Length, num_bytes: int) -> None:
    reporter = context.reporter
    reporter.table(
        "plan",
        [
            {
                "class": each.class_name,
                "have": each.have,
                "want": each.want,
                "method": each.method,
                "why": each.expectation,
            }
            for each in classes
        ],
    )
    too_small = [each for each in classes if each.method == "vary" and each.expectation.startswith("only")]
    for each in too_small[:_NOTED]:
        reporter.note(f"class '{each.class_name}': {each.expectation}.")
    if len(too_small) > _NOTED:
        reporter.note(f"{len(too_small) - _NOTED:,} further classes are as small and are varied, too: see the plan.")
    reporter.table(
        "budget",
        [
            {
                "training samples": length.total_samples,
                "minutes": round(length.minutes, 1),
                "megabytes on disk": round(num_bytes / 1e6, 1),
            }
        ],
    )
