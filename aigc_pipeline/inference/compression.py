"""Smaller variants of a generator: half precision, 8-bit weights, half of the weights pruned; each measured, not promised.

8-bit: symmetric (Jacob et al. 2018, section 2.1, without zero points), one scale per row of a weight's first axis: its
output channels, of a transposed convolution its input channels. Pruned: the smaller half of each layer's weights by
magnitude is zero (Han et al. 2015), stored as a bit mask and the rest in float16. All are unpacked to float32 networks
when loaded: they save disk and transfer, not arithmetic.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aigc_pipeline.core.errors import CheckpointError, ConfigError
from aigc_pipeline.core.reporting import Scalar
from aigc_pipeline.core.samples import content_sha256
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.features import RandomNetwork
from aigc_pipeline.inference.opening import OpenGenerator
from aigc_pipeline.metrics.frechet import frechet_distance
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.training.loop import Hooks

Variant = Literal["float32", "float16", "int8", "pruned"]
VARIANTS: tuple[Variant, ...] = ("float32", "float16", "int8", "pruned")
_PRUNED_SHARE = 0.5
_LEVELS = 127.0
_PER_CLASS = 32
_MASK, _SCALE, _REST, _SHAPE = "::mask", "::scale", "::rest", "::shape"


def compress(opened: OpenGenerator, out: Path) -> list[dict[str, Scalar]]:
    """Write every variant into `out` and return a row for each: bytes, difference to float32, distance, speed.

    `frechet` is the Frechet distance in `random_network` features between samples of the variant and float32 samples of
    other seeds; float32's own row says how far two such sets are apart anyway.

    Raises:
        ConfigError: for a family that was not trained here, whose weights are not the checkpoint's.
    """
    if not opened.family.is_trained:
        msg = f"the weights of '{opened.family.kind}' are not in this checkpoint, so there is nothing to compress. Compress its own file."
        raise ConfigError(msg)
    out.mkdir(parents=True, exist_ok=True)
    state = {f"{name}.{key}": value.cpu() for name, module in opened.networks.items() for key, value in module.state_dict().items()}  # fmt: skip
    reference, others = _samples(opened, opened.networks, "reference"), _samples(opened, opened.networks, "others")
    rows: list[dict[str, Scalar]] = []
    for variant in VARIANTS:
        file = out / f"{variant}.safetensors"
        save_file(pack(state, variant), file, metadata={"variant": variant})
        networks = load_variant(opened, file)
        started = time.monotonic()
        made = _samples(opened, networks, "reference")
        seconds = time.monotonic() - started
        difference = np.abs(made.values - reference.values)
        rows.append(
            {
                "variant": variant,
                "bytes": file.stat().st_size,
                "max_difference": float(difference.max()),
                "mean_difference": float(difference.mean()),
                "frechet": _distance(opened, made, others),
                "samples_per_second": len(made.values) / seconds,
                "sha256": content_sha256(file.read_bytes()),
            }
        )
    (out / "variants.json").write_text(
        json.dumps({"checkpoint_sha256": opened.checkpoint.weights_sha256, "variants": rows}, indent=1)
    )
    return rows


def load_variant(opened: OpenGenerator, file: Path) -> dict[str, nn.Module]:
    """Return networks with a variant's weights, ready for inference.

    Raises:
        CheckpointError: if the file belongs to other networks.
    """
    networks = opened.family.networks(opened.spec, opened.num_conditions, seed=0)
    state = unpack(load_file(file))
    try:
        for name, module in networks.items():
            prefix = f"{name}."
            module.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
            module.to(opened.device).eval().requires_grad_(False)
    except RuntimeError as err:
        msg = f"{file} does not hold a variant of {opened.folder}: {err}"
        raise CheckpointError(msg) from err
    return networks


def pack(state: Mapping[str, Tensor], variant: Variant) -> dict[str, Tensor]:
    """Return the tensors that a variant stores."""
    packed: dict[str, Tensor] = {}
    for name, value in state.items():
        is_weight = value.is_floating_point() and value.ndim > 1
        if variant == "float32" or not value.is_floating_point():
            packed[name] = value.contiguous()
        elif variant == "float16" or not is_weight:
            packed[name] = value.half().contiguous() if variant == "float16" else value.contiguous()
        elif variant == "int8":
            scale = value.flatten(1).abs().amax(1).clamp(min=1e-12) / _LEVELS
            packed[name] = (value / _over(scale, value)).round().to(torch.int8).contiguous()
            packed[name + _SCALE] = scale
        else:
            packed |= _pruned(name, value)
    return packed


def unpack(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return float32 weights from what a variant stores."""
    state: dict[str, Tensor] = {}
    for name, value in packed.items():
        if name.endswith(_MASK):
            state[name.removesuffix(_MASK)] = _filled(name.removesuffix(_MASK), packed)
        elif name + _SCALE in packed:
            state[name] = value.float() * _over(packed[name + _SCALE], value)
        elif "::" not in name:
            state[name] = value.float() if value.is_floating_point() else value
    return state


def _pruned(name: str, value: Tensor) -> dict[str, Tensor]:
    """Keep the larger half: a bit per weight, and what remains in float16."""
    count = int(value.numel() * (1 - _PRUNED_SHARE))
    keep = torch.zeros(value.numel(), dtype=torch.bool)
    keep[value.flatten().abs().argsort(descending=True)[:count]] = True
    bits = torch.from_numpy(np.packbits(keep.numpy()))
    return {
        name + _MASK: bits,
        name + _REST: value.flatten()[keep].half(),
        name + _SHAPE: torch.tensor(value.shape),
    }


def _filled(name: str, packed: Mapping[str, Tensor]) -> Tensor:
    shape = torch.Size(packed[name + _SHAPE].tolist())
    keep = torch.from_numpy(np.unpackbits(packed[name + _MASK].numpy())[: shape.numel()].astype(bool))
    value = torch.zeros(shape.numel())
    value[keep] = packed[name + _REST].float()
    return value.reshape(shape)


def _over(scale: Tensor, value: Tensor) -> Tensor:
    """Shape a scale per row of the first axis for broadcasting."""
    return scale.reshape(-1, *([1] * (value.ndim - 1)))


@dataclass(frozen=True)
class _Samples:
    cells: LabelledCells
    values: np.ndarray


def _samples(opened: OpenGenerator, networks: dict[str, nn.Module], purpose: str) -> _Samples:
    """Return 32 samples of every class."""
    from dataclasses import replace

    synthesizer = replace(opened.synthesizer(), networks=networks)
    orders = synthesizer.orders(dict.fromkeys(range(len(opened.classes)), _PER_CLASS), purpose, root=0)
    cells, _ = synthesizer.make(orders)
    labels = np.array([order.label for order in orders], np.int64)
    values = modality_of(opened.spec).to_tensor(cells, opened.spec).numpy()
    return _Samples(LabelledCells([str(i) for i in range(len(orders))], labels, cells), values)


def _distance(opened: OpenGenerator, made: _Samples, others: _Samples) -> float:
    encoder = RandomNetwork(num_features=16).fit(
        others.cells, others.cells, spec=opened.spec, num_classes=len(opened.classes), seed=0, device=opened.device,
        hooks=Hooks(),
    )  # fmt: skip
    return frechet_distance(encoder.encode(others.cells.cells), encoder.encode(made.cells.cells))
