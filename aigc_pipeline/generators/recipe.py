"""What is trained, for how long and from where: the part of the training settings that the plan must know too."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from aigc_pipeline.core.samples import content_sha256
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.generators import AnyGenerator
from aigc_pipeline.generators.conditions import CLASS_ALONE, Conditions
from aigc_pipeline.generators.flow_matching import FlowMatching
from aigc_pipeline.records import Condition

MIN_SAMPLES, MAX_SAMPLES = 500_000, 20_000_000
SAMPLES_PER_TRAIN_SAMPLE = 1_000


CHECKPOINT_WEIGHTS = "generator.safetensors"
"""The file of a checkpoint that holds all networks of its family."""


class WarmStart(Settings):
    """Start from the weights of another checkpoint of the same family: another dataset, other classes."""

    path: Path
    """The checkpoint's folder (`generator.safetensors`, `record.json`)."""
    frozen: tuple[Annotated[str, Field(pattern=r"^[a-z_]+(\.[A-Za-z0-9_]+)*$")], ...] = ()
    """Beginnings of parameter names that do not move: `denoiser.before`, `discriminator.downs.0`."""
    classes: tuple[str, ...] = ()
    """What its class tables have rows for: classes, or where it was told attributes, conditions; filled in."""
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """Digest of the weights; checked if given, filled in if not, so that other weights are another fingerprint."""

    @model_validator(mode="after")
    def _is_that_checkpoint(self) -> Self:
        file = self.path.expanduser() / CHECKPOINT_WEIGHTS
        try:
            found = content_sha256(file.read_bytes())
        except OSError as err:
            msg = f"cannot read {file}: {err.strerror}. Name the folder of a finished train stage."
            raise ValueError(msg) from err
        if self.sha256 not in {"", found}:
            msg = f"{file} has sha256 {found}, not {self.sha256}: it is another checkpoint. Correct `sha256`."
            raise ValueError(msg)
        object.__setattr__(self, "sha256", found)  # frozen, but not before validation ends
        object.__setattr__(self, "classes", row_names(self.record()))
        return self

    def record(self) -> Mapping[str, Any]:
        """Return what the checkpoint's `record.json` says.

        Raises:
            ValueError: if it cannot be read.
        """
        file = self.path.expanduser() / "record.json"
        try:
            record: Mapping[str, Any] = json.loads(file.read_text())
        except (OSError, ValueError) as err:
            msg = f"cannot read {file}: {err}. Name the folder of a finished train stage."
            raise ValueError(msg) from err
        return record


def row_names(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the rows of a checkpoint's class tables; those of a conditioned one are conditions."""
    classes = tuple(record["classes"])
    if not record.get("conditions"):
        return classes
    rows = tuple(Condition.model_validate(each) for each in record["conditions"])
    return Conditions(tuple(record["condition_on"]), rows).names(classes)


class Recipe(Settings):
    """A generator family and its budget."""

    generator: AnyGenerator = FlowMatching()
    total_samples: int | None = Field(default=None, ge=1)
    """Real samples to show. None: 1,000 per training sample within 0.5 .. 20 million, cut to
    `max_minutes` at the measured speed."""
    max_minutes: float = Field(default=15.0, gt=0)
    """Wall-clock budget of training, looks at its samples included; only read where `total_samples` is None."""
    validate_share: float = Field(default=0.05, ge=0, le=1)
    """Every such share of training, samples are compared with the selection split (kernel distance in the encoder's
    features, near copies charged); the best weights are the result. 0 keeps the last ones. Within `max_minutes`, looks are
    so few that they take half of the time at most."""
    warm_start: WarmStart | None = None
    """Weights to start from; None starts from random ones."""
    condition_on: tuple[str, ...] = CLASS_ALONE
    """What the generator is told: `class`, and attributes of `metadata.csv` by name; `[]` tells it nothing."""

    def knows(self, names: Collection[str]) -> bool:
        """Tell whether the weights to start from have a row for each of these names: what a class's samples are told."""
        return self.warm_start is not None and set(names) <= set(self.warm_start.classes)


def wanted_samples(num_train: int) -> int:
    """Return how many samples a family would like to see, without regard to time."""
    return min(max(SAMPLES_PER_TRAIN_SAMPLE * num_train, MIN_SAMPLES), MAX_SAMPLES)
