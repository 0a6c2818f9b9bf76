"""Weights of another checkpoint into fresh networks. Rows of class tables go by name; a new name keeps its fresh row.

A name is a class, or what `Conditions.names` calls a condition. With the mean row for every new class (tried), classes
begin alike and training needs longer than from scratch.
"""

from collections.abc import Sequence

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor

from aigc_pipeline.core.errors import CheckpointError, ConfigError
from aigc_pipeline.generators.base import Generator
from aigc_pipeline.generators.recipe import CHECKPOINT_WEIGHTS, WarmStart
from aigc_pipeline.training.loop import Networks

CLASS_TABLES = ("embed.weight", "project.weight")
"""Endings of parameter names whose first axis counts classes; rows behind them, such as "no class", have no name."""
_MAX_NAMED = 5


@torch.no_grad()
def start_warm(networks: Networks, settings: WarmStart, generator: Generator, names: tuple[str, ...]) -> str:
    """Copy what fits and return one sentence about it.

    Args:
        names: of the rows of class tables: classes or conditions.

    Raises:
        CheckpointError: if the checkpoint is of another family, or one of its networks has another shape.
        ConfigError: if no parameter begins with one of the names to freeze.
    """
    _refuse_unknown_parameters(networks, settings)
    folder, record = settings.path.expanduser(), settings.record()
    if record["family"] != generator.kind:
        msg = f"the warm start {folder} is a checkpoint of '{record['family']}', not of '{generator.kind}'. Choose that family, or start cold."
        raise CheckpointError(msg)
    stored = load_tensors((folder / CHECKPOINT_WEIGHTS).read_bytes())
    known = settings.classes
    for name, module in networks.items():
        for key, value in module.state_dict().items():
            source = stored.get(f"{name}.{key}")
            if source is not None and key.endswith(CLASS_TABLES):
                source = _by_name(source.to(value.device), value, known, names)
            if source is None or source.shape != value.shape:
                found = "nothing" if source is None else list(source.shape)
                msg = (
                    f"the warm start {folder} has {found} for {name}.{key} of shape {list(value.shape)}. It must have "
                    "the same size, backbone and sample shape as this run."
                )
                raise CheckpointError(msg)
            value.copy_(source)
    return f"warm start from {record['samples_seen']:,} samples of {folder.name[:12]}: {_shared(known, names)}"


def _refuse_unknown_parameters(networks: Networks, settings: WarmStart) -> None:
    known = [f"{name}.{key}" for name, module in networks.items() for key, _ in module.named_parameters()]
    if unknown := [each for each in settings.frozen if not any(key.startswith(each) for key in known)]:
        parts = sorted({".".join(key.split(".")[:2]) for key in known})
        msg = f"train.warm_start.frozen names {unknown}, which no parameter begins with. They begin with {', '.join(parts)}."
        raise ConfigError(msg)


def _by_name(source: Tensor, fresh: Tensor, known: Sequence[str], names: Sequence[str]) -> Tensor:
    """Return a table like `fresh`: rows of known names and nameless rows from `source`; as it is where it does not fit."""
    num_nameless = len(fresh) - len(names)
    if source.shape[1:] != fresh.shape[1:] or len(source) - len(known) != num_nameless:
        return source
    table = fresh.clone()
    for row, name in enumerate(names):
        if name in known:
            table[row] = source[known.index(name)]
    table[len(names) :] = source[len(known) :]
    return table


def _shared(known: Sequence[str], names: Sequence[str]) -> str:
    new = [name for name in names if name not in known]
    said = f"{len(names) - len(new)} of {len(names)} classes known"
    if not new:
        return said
    more = f" and {len(new) - _MAX_NAMED} more" if len(new) > _MAX_NAMED else ""
    return f"{said}, new: {', '.join(new[:_MAX_NAMED])}{more}"
