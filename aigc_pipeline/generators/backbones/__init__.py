"""Networks that GAN families share: a generator and a discriminator per backbone, in four sizes."""

from typing import Literal

import torch
from torch import nn

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.generators.backbones.lite import LiteDiscriminator, LiteGenerator
from aigc_pipeline.generators.backbones.mlp import MLPDiscriminator, MLPGenerator
from aigc_pipeline.generators.backbones.parts import Size
from aigc_pipeline.generators.backbones.resnext import ResNeXtDiscriminator, ResNeXtGenerator

__all__ = ["Backbone", "Size", "build_pair"]

Backbone = Literal["auto", "mlp", "lite", "resnext"]
_PAIRS = {
    "mlp": (MLPGenerator, MLPDiscriminator),
    "lite": (LiteGenerator, LiteDiscriminator),
    "resnext": (ResNeXtGenerator, ResNeXtDiscriminator),
}
_MLP_MAX_SIDE_PX = 16


def build_pair(backbone: Backbone, size: Size, spec: SampleSpec, num_classes: int, seed: int) -> dict[str, nn.Module]:
    """Return a fresh `generator` and `discriminator`; `auto` is `mlp` for points and up to 16 px, `lite` above.

    Raises:
        ConfigError: if points are to go through convolutions.
    """
    is_small = len(spec.shape) == 1 or max(spec.shape[1:]) <= _MLP_MAX_SIDE_PX
    name = backbone if backbone != "auto" else "mlp" if is_small else "lite"
    if name != "mlp" and len(spec.shape) == 1:
        msg = f"train.generator.backbone is '{name}', which is for pictures, but the samples are vectors. Use mlp or auto."
        raise ConfigError(msg)
    make_generator, make_discriminator = _PAIRS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {
            "generator": make_generator(spec.shape, num_classes, size),
            "discriminator": make_discriminator(spec.shape, num_classes, size),
        }
