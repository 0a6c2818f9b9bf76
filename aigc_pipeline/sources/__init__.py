"""Where samples come from. The union is the registry: a new source is one file and one name in `AnySource`."""

from typing import Annotated

from pydantic import Field

from aigc_pipeline.sources.base import Listing, Source
from aigc_pipeline.sources.class_folder import ClassFolder
from aigc_pipeline.sources.digits import Digits
from aigc_pipeline.sources.mixture import Mixture

AnySource = Annotated[ClassFolder | Digits | Mixture, Field(discriminator="kind")]
_MEMBERS: tuple[type[Source], ...] = (ClassFolder, Digits, Mixture)  # mypy proves that each meets the Protocol

__all__ = ["AnySource", "ClassFolder", "Digits", "Listing", "Mixture", "Source"]
