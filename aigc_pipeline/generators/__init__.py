"""Generator families. The union is the registry: a new family is one file and one name in `AnyGenerator`.

Its last member stands for families of other packages (`installed.py`).
"""

from collections.abc import Mapping
from typing import Annotated, get_args

from pydantic import Discriminator, Tag, TypeAdapter

from aigc_pipeline.generators.base import Family, Generator, Synthesis
from aigc_pipeline.generators.classic import Classic
from aigc_pipeline.generators.dcgan import DCGAN
from aigc_pipeline.generators.flow_matching import FlowMatching
from aigc_pipeline.generators.installed import Installed, tag_of
from aigc_pipeline.generators.mlp_gan import MLPGAN
from aigc_pipeline.generators.r3gan import R3GAN
from aigc_pipeline.generators.vae import VAE
from aigc_pipeline.generators.warp import Warp
from aigc_pipeline.generators.weights_file import WeightsFile
from aigc_pipeline.generators.wgan_gp import WGANGP

AnyGenerator = Annotated[
    Annotated[FlowMatching, Tag("flow_matching")]
    | Annotated[R3GAN, Tag("r3gan")]
    | Annotated[DCGAN, Tag("dcgan")]
    | Annotated[MLPGAN, Tag("mlp_gan")]
    | Annotated[WGANGP, Tag("wgan_gp")]
    | Annotated[VAE, Tag("vae")]
    | Annotated[Warp, Tag("warp")]
    | Annotated[WeightsFile, Tag("weights_file")]
    | Annotated[Classic, Tag("classic")]
    | Annotated[Installed, Tag("installed")],
    Discriminator(tag_of),
]
_MEMBERS: tuple[type[Generator], ...] = (FlowMatching, R3GAN, DCGAN, MLPGAN, WGANGP, VAE, Warp, WeightsFile, Classic)
"""mypy proves that each meets the Protocol."""
_ADAPTER: TypeAdapter[AnyGenerator] = TypeAdapter(AnyGenerator)


def built_in() -> list[type[Family]]:
    """Return the families of this package, in the order of the union."""
    members = [get_args(tagged)[0] for tagged in get_args(get_args(AnyGenerator)[0])]
    return [each for each in members if isinstance(each, type) and issubclass(each, Family)]


def parse_generator(settings: Mapping[str, object] | bytes) -> Generator:
    """Return the family that settings (or their JSON) describe.

    Raises:
        pydantic.ValidationError: if they describe none.
    """
    if isinstance(settings, bytes):
        return _ADAPTER.validate_json(settings)
    return _ADAPTER.validate_python(settings)


def dump_generator(generator: Generator) -> dict[str, object]:
    """Return settings that `parse_generator` reads back; another package's family names package and version."""
    settings: dict[str, object] = _ADAPTER.dump_python(generator, mode="json")
    return settings


__all__ = [
    "DCGAN",
    "MLPGAN",
    "R3GAN",
    "VAE",
    "WGANGP",
    "AnyGenerator",
    "Classic",
    "Family",
    "FlowMatching",
    "Generator",
    "Synthesis",
    "Warp",
    "WeightsFile",
    "built_in",
    "dump_generator",
    "parse_generator",
]
