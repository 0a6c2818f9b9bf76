"""A generator as a file that runs without this package: latents and labels to samples, checked after writing."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from aigc_pipeline.core.errors import CheckpointError, ConfigError
from aigc_pipeline.generators.base import LatentFamily, latents
from aigc_pipeline.inference.opening import OpenGenerator, decode

Format = Literal["torch_export", "onnx"]
MAX_DIFFERENCE = 1e-4
_CHECKED = 64


class Decoder(nn.Module):
    """`(z [n, latents] float32, labels [n] int64) -> x [n, *shape]` in the networks' range ([-1, 1] for pictures)."""

    def __init__(self, family: LatentFamily, networks: dict[str, nn.Module]) -> None:
        super().__init__()
        self.family = family
        self.network = networks[family.decoder]

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return samples."""
        return self.family.decode({self.family.decoder: self.network}, z, labels)


def export(opened: OpenGenerator, form: Format, file: Path) -> float:
    """Write the generator and return the largest difference to it on 64 fixed latents.

    Raises:
        ConfigError: for a family that is no function of one latent, or where the extra `export` is missing.
        CheckpointError: if what was written differs by more than 1e-4; nothing is kept then.
    """
    family = opened.latent_family("exported")
    decoder = Decoder(family, opened.networks).eval()
    z = latents(range(_CHECKED), family.num_latents(opened.spec), torch.device("cpu"))
    labels = torch.arange(_CHECKED) % opened.num_conditions
    expected = decode(opened, opened.networks, z, labels)
    content = _WRITERS[form](decoder, z, labels)
    found = _RUNNERS[form](content, z, labels)
    difference = float(np.abs(found - expected.numpy()).max())
    if not difference <= MAX_DIFFERENCE:
        msg = f"the {form} export differs from the checkpoint by {difference:.2g} (limit {MAX_DIFFERENCE:g}); {file} was not written."
        raise CheckpointError(msg)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return difference


def _write_export(decoder: Decoder, z: Tensor, labels: Tensor) -> bytes:
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(decoder, (z, labels), dynamic_shapes={"z": {0: batch}, "labels": {0: batch}})
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _write_onnx(decoder: Decoder, z: Tensor, labels: Tensor) -> bytes:
    _needs("onnxscript")
    batch = torch.export.Dim("batch", min=1, max=4096)
    shapes = {"z": {0: batch}, "labels": {0: batch}}
    with warnings.catch_warnings():  # torch's own, about itself
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        warnings.filterwarnings("ignore", ".*The axis name.*", UserWarning)
        program = torch.onnx.export(decoder, (z, labels), dynamo=True, dynamic_shapes=shapes, verbose=False)
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


def _run_export(content: bytes, z: Tensor, labels: Tensor) -> np.ndarray:
    found: Tensor = torch.export.load(io.BytesIO(content)).module()(z, labels)
    return found.detach().numpy()


def _run_onnx(content: bytes, z: Tensor, labels: Tensor) -> np.ndarray:
    _needs("onnxruntime")
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    found: np.ndarray = session.run(None, dict(zip(names, (z.numpy(), labels.numpy()), strict=True)))[0]
    return found


def _needs(package: str) -> None:
    try:
        __import__(package)
    except ImportError as err:
        msg = f"ONNX export needs {package}: pip install 'aigc-pipeline[export]'"
        raise ConfigError(msg) from err


_WRITERS: dict[Format, Callable[[Decoder, Tensor, Tensor], bytes]] = {
    "torch_export": _write_export,
    "onnx": _write_onnx,
}
_RUNNERS: dict[Format, Callable[[bytes, Tensor, Tensor], np.ndarray]] = {
    "torch_export": _run_export,
    "onnx": _run_onnx,
}
