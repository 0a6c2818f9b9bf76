"""What an encoder is: settings that fit, and a fitted network that turns cells into standardized features."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from aigc_pipeline.core.errors import WorkspaceError
from aigc_pipeline.core.samples import SampleSpec, content_sha256
from aigc_pipeline.core.store import write_atomically
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.training.loop import Hooks

FloatArray = NDArray[np.float32]
_BATCH = 512


class EncoderNetwork(nn.Module):
    """A trunk, an optional class head, and the mean and spread of its features over the training split."""

    mean: Tensor
    spread: Tensor

    def __init__(self, trunk: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(num_features, num_classes) if num_classes else nn.Identity()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("spread", torch.ones(num_features))


@dataclass(frozen=True)
class FittedEncoder:
    """An encoder whose features are standardized over the training split: zero mean, unit variance per dimension."""

    kind: str
    """The feature space's name in every metric."""
    network: EncoderNetwork
    spec: SampleSpec
    has_head: bool
    sha256: str

    @torch.no_grad()
    def encode(self, cells: pa.Array) -> FloatArray:
        """Return features `[n, d]`, of no cell as well."""
        none = np.zeros((0, len(self.network.mean)), np.float32)
        return np.concatenate([none, *(self._features(x).cpu().numpy() for x in self._batches(cells))])

    @torch.no_grad()
    def encode_with_logits(self, cells: pa.Array) -> tuple[FloatArray, FloatArray]:
        """Return features `[n, d]` and class logits `[n, classes]`; only for an encoder with a head."""
        features, logits = [], []
        for x in self._batches(cells):
            raw = self.network.trunk(x)
            features.append(((raw - self.network.mean) / self.network.spread).cpu().numpy())
            logits.append(self.network.head(torch.relu(raw)).cpu().numpy())
        return np.concatenate(features), np.concatenate(logits)

    def linear_probe(self, num_classes: int) -> nn.Module:
        """Return a network of these frozen features and a fresh linear layer."""
        return _Probe(self, num_classes)

    def save(self, file: Path) -> None:
        """Write the weights."""
        write_atomically(file, weights_of(self.network))

    def _features(self, x: Tensor) -> Tensor:
        features: Tensor = (self.network.trunk(x) - self.network.mean) / self.network.spread
        return features

    def _batches(self, cells: pa.Array) -> Iterator[Tensor]:
        modality, device = modality_of(self.spec), self.network.mean.device
        for start in range(0, len(cells), _BATCH):
            yield modality.to_tensor(cells.slice(start, _BATCH), self.spec).to(device)


class _Probe(nn.Module):
    """Frozen, standardized features and a linear layer."""

    def __init__(self, encoder: FittedEncoder, num_classes: int) -> None:
        super().__init__()
        self.features = encoder.network
        self.linear = nn.Linear(len(encoder.network.mean), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = (self.features.trunk(x) - self.features.mean) / self.features.spread
        logits: Tensor = self.linear(features)
        return logits


class Encoder(Protocol):
    """A member of `AnyEncoder`: frozen settings that build a network and fit it on the training split alone."""

    @property
    def kind(self) -> str:
        """The word that picks this member in a config."""
        ...

    @property
    def feature_space(self) -> str:
        """What every metric calls the features: the kind, unless a kind stands for many networks."""
        ...

    def build(self, spec: SampleSpec, num_classes: int, num_train: int, seed: int) -> EncoderNetwork:
        """Return the network, freshly initialized from `seed`."""
        ...

    def fit(
        self,
        train: LabelledCells,
        selection: LabelledCells,
        *,
        spec: SampleSpec,
        num_classes: int,
        seed: int,
        device: torch.device,
        hooks: Hooks,
    ) -> FittedEncoder:
        """Fit on `train`; `selection` only decides when to stop."""
        ...


def finish(
    kind: str, network: EncoderNetwork, train: LabelledCells, spec: SampleSpec, *, has_head: bool
) -> FittedEncoder:
    """Standardize the features over the training split and freeze the network."""
    network.eval().requires_grad_(False)
    features = FittedEncoder(kind, network, spec, has_head, "").encode(train.cells)
    spread = features.std(0)
    device = network.mean.device
    network.mean.copy_(torch.from_numpy(features.mean(0)).to(device))
    network.spread.copy_(torch.from_numpy(np.maximum(spread, 1e-3 * max(spread.max(), 1e-6))).to(device))
    return FittedEncoder(kind, network, spec, has_head, content_sha256(weights_of(network)))


def load_fitted(
    encoder: Encoder,
    file: Path,
    *,
    sha256: str,
    spec: SampleSpec,
    num_classes: int,
    num_train: int,
    device: torch.device,
) -> FittedEncoder:
    """Read a fitted encoder back from the settings that built it and its weights.

    Raises:
        WorkspaceError: if the weights are gone, or their hash is not `sha256`; says which folder to remove.
    """
    remedy = f"Remove its folder {file.parent} and run again: the stage is then computed anew."
    try:
        content = file.read_bytes()
    except OSError as err:
        msg = f"cannot read the encoder's weights {file}: {err.strerror}. {remedy}"
        raise WorkspaceError(msg) from err
    if (found := content_sha256(content)) != sha256:
        msg = f"{file} has sha256 {found}, not {sha256} as recorded. {remedy}"
        raise WorkspaceError(msg)
    network = encoder.build(spec, num_classes, num_train, seed=0)
    network.load_state_dict(load_tensors(content))
    network.to(device).eval().requires_grad_(False)
    return FittedEncoder(encoder.feature_space, network, spec, not isinstance(network.head, nn.Identity), sha256)


def weights_of(network: nn.Module) -> bytes:
    """Return the state dict as safetensors bytes."""
    weights: Mapping[str, Tensor] = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    return io.BytesIO(save_tensors(dict(weights))).getvalue()
