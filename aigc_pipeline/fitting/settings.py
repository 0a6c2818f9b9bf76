"""How a generator is trained beyond family and budget: what is kept, what chooses the weights, where they start."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from aigc_pipeline.core.samples import content_sha256
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.generators.recipe import Recipe

CHECKPOINT_WEIGHTS = "generator.safetensors"
"""The file of a checkpoint that holds all networks of its family."""


class WarmStart(Settings):
    """Start from the weights of another checkpoint of the same family: another dataset, other classes."""

    path: Path
    """The checkpoint's folder (`generator.safetensors`, `record.json`)."""
    frozen: tuple[Annotated[str, Field(pattern=r"^[a-z_]+(\.[A-Za-z0-9_]+)*$")], ...] = ()
    """Beginnings of parameter names that do not move: `discriminator.downs.0`."""
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
        return self


class FitSettings(Recipe):
    """Family, budget, and how the training is run."""

    checkpoint_share: float = Field(default=0.05, gt=0, le=1)
    """A full state is stored every such share of training."""
    snapshot_share: float = Field(default=0.1, gt=0, le=1)
    """A grid of samples with fixed seeds is shown every such share of training."""
    validate_share: float = Field(default=0.05, ge=0, le=1)
    """Every such share of training, samples are compared with the selection split (kernel distance in the encoder's
    features); the best weights are the result. 0 keeps the last ones."""
    patience: int = Field(default=8, ge=1)
    """Comparisons in a row without progress after which training ends."""
    warm_start: WarmStart | None = None
    """Weights to start from; None starts from random ones."""

    def what_shapes_the_weights(self) -> str:
        """Return as JSON everything that a finished training depends on."""
        return self.model_dump_json(include=set(FitSettings.model_fields) - {"checkpoint_share", "snapshot_share"})
