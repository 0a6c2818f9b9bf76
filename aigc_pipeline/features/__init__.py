"""Encoders: cells to features. The union is the registry: a new encoder is one file and one name in `AnyEncoder`."""

from typing import Annotated

from pydantic import Field

from aigc_pipeline.features.base import Encoder, FittedEncoder, load_fitted
from aigc_pipeline.features.classifier import Classifier
from aigc_pipeline.features.local_file import LocalFile
from aigc_pipeline.features.random_network import RandomNetwork

AnyEncoder = Annotated[Classifier | RandomNetwork | LocalFile, Field(discriminator="kind")]
_MEMBERS: tuple[type[Encoder], ...] = (Classifier, RandomNetwork, LocalFile)  # mypy proves that each meets the Protocol

__all__ = ["AnyEncoder", "Classifier", "Encoder", "FittedEncoder", "LocalFile", "RandomNetwork", "load_fitted"]
