"""Training state on disk: safetensors for tensors, JSON for the rest, never pickle. A torn file falls back to the one before.

A state is written under its own number and then named, with its sha256, in `index.json`; the newest two are kept.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from aigc_pipeline.core.errors import CheckpointError
from aigc_pipeline.core.samples import content_sha256
from aigc_pipeline.core.store import write_atomically

logger = logging.getLogger(__name__)

State = dict[str, Any]
"""Nested mappings and lists of tensors and JSON scalars; `_flatten` refuses anything else."""
_KEPT = 2


class Checkpointer:
    """The states of one training, in one folder."""

    def __init__(self, directory: Path) -> None:
        """Open (or create) the folder."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._index_file = directory / "index.json"

    def save(self, state: State, samples_seen: int) -> Path:
        """Write a state; the previous one stays as a fall-back. States of more samples, given up by a rollback, go.

        Raises:
            CheckpointError: if it holds what is no tensor and no JSON.
        """
        tensors: dict[str, Tensor] = {}
        skeleton = _flatten(state, "", tensors)
        content = save_tensors(tensors, metadata={"state": json.dumps(skeleton)})
        file = self.directory / f"state-{samples_seen:012d}.safetensors"
        write_atomically(file, content)
        before = self._entries()
        entries = [entry for entry in before if entry["samples_seen"] < samples_seen][1 - _KEPT :]
        entries.append({"file": file.name, "sha256": content_sha256(content), "samples_seen": samples_seen})
        write_atomically(self._index_file, json.dumps(entries, indent=1).encode())
        for name in {entry["file"] for entry in before} - {entry["file"] for entry in entries}:
            (self.directory / name).unlink(missing_ok=True)
        return file

    def load_latest(self, device: torch.device) -> State | None:
        """Return the newest state whose hash matches, or None on a fresh start.

        Raises:
            CheckpointError: if states exist but none is intact.
        """
        entries = self._entries()
        if (state := self._newest(entries, device)) is not None:
            return state
        if entries:
            msg = f"no intact training state among {[e['file'] for e in entries]} in {self.directory}. Remove that folder to train anew."
            raise CheckpointError(msg)
        return None

    def load_before(self, samples_seen: int, device: torch.device) -> State | None:
        """Return the newest intact state of fewer samples, or None."""
        return self._newest([entry for entry in self._entries() if entry["samples_seen"] < samples_seen], device)

    def _newest(self, entries: Sequence[Mapping[str, Any]], device: torch.device) -> State | None:
        states = (self._read(entry, device) for entry in reversed(entries))
        return next((state for state in states if state is not None), None)

    def _read(self, entry: Mapping[str, Any], device: torch.device) -> State | None:
        file = self.directory / entry["file"]
        content = file.read_bytes() if file.exists() else b""
        if content_sha256(content) != entry["sha256"]:
            logger.warning("training state %s is torn or missing; falling back to the one before", file)
            return None
        header_bytes = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + header_bytes])["__metadata__"]
        tensors = {name: tensor.to(device) for name, tensor in load_tensors(content).items()}
        state = _unflatten(json.loads(metadata["state"]), tensors)
        if not isinstance(state, dict):
            msg = f"{file} does not hold a training state"
            raise CheckpointError(msg)
        return state

    def _entries(self) -> list[dict[str, Any]]:
        if not self._index_file.exists():
            return []
        entries: list[dict[str, Any]] = json.loads(self._index_file.read_text())
        return entries


def _flatten(node: object, path: str, tensors: dict[str, Tensor]) -> object:
    """Move tensors out into `tensors` under their path; what remains is JSON with `{"__tensor__": path}` in their place."""
    if isinstance(node, Tensor):
        tensors[path] = node.detach().contiguous().cpu().clone()
        return {"__tensor__": path}
    if isinstance(node, Mapping):
        return {"__items__": [[key, _flatten(value, f"{path}/{key}", tensors)] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        return [_flatten(value, f"{path}/{index}", tensors) for index, value in enumerate(node)]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    msg = f"a training state cannot hold a {type(node).__name__} at '{path}'"
    raise CheckpointError(msg)


def _unflatten(node: object, tensors: Mapping[str, Tensor]) -> object:
    if isinstance(node, dict):
        if "__tensor__" in node:
            return tensors[node["__tensor__"]]
        return {key: _unflatten(value, tensors) for key, value in node["__items__"]}
    if isinstance(node, list):
        return [_unflatten(value, tensors) for value in node]
    return node
