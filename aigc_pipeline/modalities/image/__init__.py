"""Pictures: grey or RGB, with or without alpha, one size per dataset. Pixels are looked at here and nowhere else."""

from aigc_pipeline.modalities.image.modality import ImageModality
from aigc_pipeline.modalities.image.spec import ImageSpec

__all__ = ["ImageModality", "ImageSpec"]
