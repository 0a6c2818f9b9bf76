"""How a generator is trained beyond family, budget and start: what is kept, and what chooses the weights."""

from pydantic import Field

from aigc_pipeline.generators.recipe import Recipe


class FitSettings(Recipe):
    """Family, budget, and how the training is run."""

    checkpoint_share: float = Field(default=0.05, gt=0, le=1)
    """A full state is stored every such share of training."""
    snapshot_share: float = Field(default=0.1, gt=0, le=1)
    """A grid of samples with fixed seeds is shown every such share of training."""
    patience: int = Field(default=8, ge=1)
    """Comparisons in a row without progress after which training ends."""
    max_copy_share: float = Field(default=0.05, ge=0, le=1)
    """Share of near copies of training samples beyond which weights are chosen only for want of better ones; 1 ignores
    copies. The memorisation screen afterwards has its own limit, `evaluate.max_copy_share`."""

    def what_shapes_the_weights(self) -> str:
        """Return as JSON everything that a finished training depends on."""
        return self.model_dump_json(include=set(FitSettings.model_fields) - {"checkpoint_share", "snapshot_share"})
