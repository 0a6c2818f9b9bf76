"""Generator families: those of this package (`families.py`) and of other packages (`installed.py`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Discriminator, Tag, TypeAdapter, ValidationError

from aigc_pipeline.core.errors import CheckpointError
from aigc_pipeline.generators.base import Family, Generator, Synthesis
from aigc_pipeline.generators.classic import Classic
from aigc_pipeline.generators.dcgan import DCGAN
from aigc_pipeline.generators.families import BUILT_IN, BuiltIn, built_in
from aigc_pipeline.generators.flow_matching import FlowMatching
from aigc_pipeline.generators.installed import PACKAGE, Installed, tag_of
from aigc_pipeline.generators.mlp_gan import MLPGAN
from aigc_pipeline.generators.r3gan import R3GAN
from aigc_pipeline.generators.vae import VAE
from aigc_pipeline.generators.warp import Warp
from aigc_pipeline.generators.weights_file import WeightsFile
from aigc_pipeline.generators.wgan_gp import WGANGP

AnyGenerator = Annotated[BuiltIn | Annotated[Installed, Tag("installed")], Discriminator(tag_of)]
_ADAPTER: TypeAdapter[AnyGenerator] = TypeAdapter(AnyGenerator)


def parse_generator(settings: Mapping[str, object] | bytes) -> Generator:
    """Return the family that settings (or their JSON) describe.

    Raises:
        pydantic.ValidationError: if they describe none.
    """
    if isinstance(settings, bytes):
        return _ADAPTER.validate_json(settings)
    return _ADAPTER.validate_python(settings)


def read_generator(file: Path) -> Generator:
    """Return the family that a checkpoint's `generator.json` describes.

    Raises:
        CheckpointError: if the package of its family is gone, or its settings are those of another version.
    """
    try:
        return _ADAPTER.validate_json(file.read_bytes())
    except ValidationError as err:
        first = err.errors(include_url=False)[0]
        if first["type"] == "value_error":  # in a family's words, which say what to do
            package = first["input"].get(PACKAGE) if isinstance(first["input"], dict) else None
            said = f"{first['ctx']['error']}{f' It was trained with {package}.' if package else ''}"
        else:
            said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}. Install the version of aigc that it was trained with, or train anew."
        msg = f"the generator of {file} cannot be opened: {said}"
        raise CheckpointError(msg) from err


def dump_generator(generator: Generator) -> dict[str, object]:
    """Return settings that `parse_generator` reads back; another package's family names package and version."""
    settings: dict[str, object] = _ADAPTER.dump_python(generator, mode="json")
    return settings


__all__ = [
    "BUILT_IN",
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
    "read_generator",
]
