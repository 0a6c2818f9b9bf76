"""Points of a 2-D Gaussian mixture, one isotropic Gaussian a class on a circle. Density, and so every verdict, is known."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from aigc_pipeline.core.samples import RawSample, Role
from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.core.strict import Member
from aigc_pipeline.sources.base import Listing


class Mixture(Member):
    """Draw `counts[k]` training points of class k and `test_per_class` test points of each class."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"vector"})

    kind: Literal["mixture"] = "mixture"
    counts: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(300, 300, 60), min_length=1)
    """Points per class in the training pool."""
    test_per_class: int = Field(default=0, ge=0)
    """Points per class that the source itself declares as test; 0 leaves the test split to the pipeline."""
    radius: float = Field(default=2.0, gt=0)
    """Distance of every class mean from the origin."""
    spread: float = Field(default=1.0, gt=0)
    """Standard deviation of every class, both axes."""
    seed: int = 0
    """Seed of the draw."""

    @property
    def modality(self) -> str:
        """Points."""
        return "vector"

    def means(self) -> NDArray[np.float64]:
        """Return the class means, `[num_classes, 2]`."""
        angles = 2 * np.pi * np.arange(len(self.counts)) / len(self.counts)
        return self.radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def log_density(self, points: NDArray[np.floating], label: int) -> NDArray[np.float64]:
        """Return the log density of class `label` at `points`, `[n]`: the truth that tests compare with."""
        squared = np.square(points - self.means()[label]).sum(axis=1)
        return np.asarray(-squared / (2 * self.spread**2) - np.log(2 * np.pi * self.spread**2), np.float64)

    def draw(self, label: int, num_points: int, generator: np.random.Generator) -> NDArray[np.float32]:
        """Draw fresh points of one class from the true density, `[n, 2]`."""
        noise = generator.standard_normal((num_points, 2))
        return np.asarray(self.means()[label] + self.spread * noise, np.float32)

    def listing(self) -> Listing:
        """Return the settings' digest: equal settings give equal points."""
        total = sum(self.counts) + self.test_per_class * len(self.counts)
        return Listing(total, self.digest(), f"mixture of {len(self.counts)} Gaussians, {total} points")

    def records(self) -> Iterator[RawSample]:
        """Yield the points class by class, the test points of a class after its training points."""
        for label, count in enumerate(self.counts):
            generator = numpy_generator(self.seed, "mixture", label)
            points = self.draw(label, count + self.test_per_class, generator)
            for index, point in enumerate(points):
                role: Role | None = "test" if index >= count else None
                yield RawSample(f"mixture/{label}/{index:06d}", f"class_{label}", point.tobytes(), role)
