"""Points of low dimension. The test suite's friend: whole pipeline in seconds, densities known in closed form."""

from aigc_pipeline.modalities.vector.modality import VectorModality
from aigc_pipeline.modalities.vector.spec import VectorSpec

__all__ = ["VectorModality", "VectorSpec"]
