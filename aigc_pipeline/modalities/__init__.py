"""The kinds of sample. Adding one is a folder here and one line in each of the two assignments below."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.modalities.base import Facts, Modality, Reject, Variation
from aigc_pipeline.modalities.image import ImageModality, ImageSpec
from aigc_pipeline.modalities.vector import VectorModality, VectorSpec

AnySpec = Annotated[ImageSpec | VectorSpec, Field(discriminator="kind")]

_IMAGE: Modality[ImageSpec] = ImageModality()
_VECTOR: Modality[VectorSpec] = VectorModality()

MODALITIES: Mapping[str, Modality[Any]] = {member.kind: member for member in (_IMAGE, _VECTOR)}


def modality_of(spec: SampleSpec) -> Modality[Any]:
    """Return the modality that reads and writes samples of `spec`."""
    return MODALITIES[spec.kind]


__all__ = [
    "MODALITIES",
    "AnySpec",
    "Facts",
    "ImageSpec",
    "Modality",
    "Reject",
    "Variation",
    "VectorSpec",
    "modality_of",
]
