"""What is trained and for how long: the part of the training settings that the plan must know too."""

from pydantic import Field

from aigc_pipeline.core.strict import Settings
from aigc_pipeline.generators import AnyGenerator
from aigc_pipeline.generators.r3gan import R3GAN

MIN_SAMPLES, MAX_SAMPLES = 500_000, 20_000_000
SAMPLES_PER_TRAIN_SAMPLE = 1_000


class Recipe(Settings):
    """A generator family and its budget."""

    generator: AnyGenerator = R3GAN()
    total_samples: int | None = Field(default=None, ge=1)
    """Real samples to show to the discriminator. None: 1,000 per training sample within 0.5 .. 20 million, cut to
    `max_minutes` at the measured speed."""
    max_minutes: float = Field(default=15.0, gt=0)
    """Wall-clock budget of training; only read where `total_samples` is None."""


def wanted_samples(num_train: int) -> int:
    """Return how many samples a family would like to see, without regard to time."""
    return min(max(SAMPLES_PER_TRAIN_SAMPLE * num_train, MIN_SAMPLES), MAX_SAMPLES)
