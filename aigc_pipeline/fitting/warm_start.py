"""Weights of another checkpoint into fresh networks. Rows of class tables go by class name; new classes keep fresh rows.

With the mean row for every new class (tried), classes begin alike and training needs longer than from scratch.
"""

import json

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor

from aigc_pipeline.core.errors import CheckpointError
from aigc_pipeline.generators.base import Generator
from aigc_pipeline.generators.recipe import CHECKPOINT_WEIGHTS, WarmStart
from aigc_pipeline.training.loop import Networks

CLASS_TABLES = ("embed.weight", "project.weight")
"""Endings of parameter names whose first axis counts classes."""


@torch.no_grad()
def start_warm(networks: Networks, settings: WarmStart, generator: Generator, classes: tuple[str, ...]) -> str:
    """Copy what fits and return one sentence about it.

    Raises:
        CheckpointError: if the checkpoint is of another family, or one of its networks has another shape.
    """
    folder = settings.path.expanduser()
    record = json.loads((folder / "record.json").read_text())
    if record["family"] != generator.kind:
        msg = f"the warm start {folder} is a checkpoint of '{record['family']}', not of '{generator.kind}'. Choose that family, or start cold."
        raise CheckpointError(msg)
    stored = load_tensors((folder / CHECKPOINT_WEIGHTS).read_bytes())
    known: list[str] = list(record["classes"])
    for name, module in networks.items():
        for key, value in module.state_dict().items():
            source = stored.get(f"{name}.{key}")
            if source is not None and key.endswith(CLASS_TABLES):
                source = _by_name(source, value, known, classes)
            if source is None or source.shape != value.shape:
                found = "nothing" if source is None else list(source.shape)
                msg = (
                    f"the warm start {folder} has {found} for {name}.{key} of shape {list(value.shape)}. It must have "
                    "the same size, backbone and sample shape as this run."
                )
                raise CheckpointError(msg)
            value.copy_(source)
    shared = len(set(known) & set(classes))
    return f"warm start from {record['samples_seen']:,} samples of {folder.name[:12]}: {shared} of {len(classes)} classes known"


def _by_name(source: Tensor, fresh: Tensor, known: list[str], classes: tuple[str, ...]) -> Tensor:
    """Return a row per class: the stored one where the name is known and rows are as long, else the fresh one."""
    if source.shape[1:] != fresh.shape[1:]:
        return source
    return torch.stack([source[known.index(name)] if name in known else fresh[i] for i, name in enumerate(classes)])
