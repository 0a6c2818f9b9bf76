"""Trained networks on disk: one safetensors file for all networks of a family."""

from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from aigc_pipeline.core.errors import CheckpointError
from aigc_pipeline.core.samples import SampleSpec, content_sha256
from aigc_pipeline.core.store import write_atomically
from aigc_pipeline.generators.base import Generator
from aigc_pipeline.training.loop import Networks

_CONVOLUTION_AXES = 4


def place(networks: Networks, device: torch.device) -> None:
    """Move networks to the device, convolutions in channels-last layout: faster on GPUs and CPUs alike."""
    for module in networks.values():
        module.to(device)
        for parameter in module.parameters():
            if parameter.ndim == _CONVOLUTION_AXES:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def compile_networks(networks: Networks) -> None:
    """Compile the passes of every network in place; names of weights stay as they are."""
    for module in networks.values():
        module.compile()
        if hasattr(module, "logit_and_gradient"):
            module.logit_and_gradient = torch.compile(module.logit_and_gradient)  # type: ignore[arg-type, assignment]


def save_networks(networks: Networks, file: Path) -> str:
    """Write the weights and return their sha256.

    Raises:
        CheckpointError: if a parameter is not finite.
    """
    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, module in networks.items()
        for key, value in module.state_dict().items()
    }
    bad = [name for name, value in tensors.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if bad:
        msg = f"the trained weights {bad[:3]} are not finite; nothing was stored. Lower the learning rate and train again."
        raise CheckpointError(msg)
    content = save_tensors(tensors)
    write_atomically(file, content)
    return content_sha256(content)


def load_networks(
    generator: Generator, file: Path, *, spec: SampleSpec, num_classes: int, sha256: str, device: torch.device
) -> dict[str, nn.Module]:
    """Build the family's networks and fill in the weights, ready for inference.

    Raises:
        CheckpointError: if the file is gone, or its hash is not `sha256`.
    """
    try:
        content = file.read_bytes()
    except OSError as err:
        msg = f"cannot read the weights {file}: {err.strerror}. Restore the file, or remove its folder and train anew."
        raise CheckpointError(msg) from err
    if content_sha256(content) != sha256:
        msg = (
            f"{file} has sha256 {content_sha256(content)}, not {sha256} as recorded. Remove its folder and train anew."
        )
        raise CheckpointError(msg)
    tensors = load_tensors(content)
    networks = generator.networks(spec, num_classes, seed=0)
    for name, module in networks.items():
        prefix = f"{name}."
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        module.to(device).eval().requires_grad_(False)
    return networks
