"""Generator families. The union is the registry: a new family is one file and one name in `AnyGenerator`."""

from typing import Annotated

from pydantic import Field

from aigc_pipeline.generators.base import Generator, Synthesis
from aigc_pipeline.generators.classic import Classic
from aigc_pipeline.generators.dcgan import DCGAN
from aigc_pipeline.generators.r3gan import R3GAN

AnyGenerator = Annotated[R3GAN | DCGAN | Classic, Field(discriminator="kind")]
_MEMBERS: tuple[type[Generator], ...] = (R3GAN, DCGAN, Classic)  # mypy proves that each meets the Protocol

__all__ = ["DCGAN", "R3GAN", "AnyGenerator", "Classic", "Generator", "Synthesis"]
