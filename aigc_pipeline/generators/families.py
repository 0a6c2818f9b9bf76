"""The generator families of this package. The union is the registry: a new family is one file and one name here."""

from typing import Annotated, get_args

from pydantic import Tag

from aigc_pipeline.generators.base import Family
from aigc_pipeline.generators.classic import Classic
from aigc_pipeline.generators.dcgan import DCGAN
from aigc_pipeline.generators.flow_matching import FlowMatching
from aigc_pipeline.generators.mlp_gan import MLPGAN
from aigc_pipeline.generators.r3gan import R3GAN
from aigc_pipeline.generators.vae import VAE
from aigc_pipeline.generators.warp import Warp
from aigc_pipeline.generators.weights_file import WeightsFile
from aigc_pipeline.generators.wgan_gp import WGANGP

BuiltIn = (
    Annotated[FlowMatching, Tag("flow_matching")]
    | Annotated[R3GAN, Tag("r3gan")]
    | Annotated[DCGAN, Tag("dcgan")]
    | Annotated[MLPGAN, Tag("mlp_gan")]
    | Annotated[WGANGP, Tag("wgan_gp")]
    | Annotated[VAE, Tag("vae")]
    | Annotated[Warp, Tag("warp")]
    | Annotated[WeightsFile, Tag("weights_file")]
    | Annotated[Classic, Tag("classic")]
)


def built_in() -> list[type[Family]]:
    """Return the families of this package, in the order of the union.

    mypy sees in `parse_generator` that each is a `Generator`.
    """
    return [get_args(tagged)[0] for tagged in get_args(BuiltIn)]


BUILT_IN = frozenset(family.model_fields["kind"].default for family in built_in())
"""Their kinds."""
