"""Several processes training one network, each on its share of every batch (started by torchrun); or just one.

Gradients are added up, so N processes take the same steps as one would, to float rounding.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """This process among its peers."""

    rank: int = 0
    size: int = 1

    @classmethod
    def joined(cls, device: torch.device) -> "Team":
        """Join the peers that torchrun started (its environment variables say who and where)."""
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    @staticmethod
    def local_rank() -> int:
        """Return this process's number on its machine: which GPU it takes."""
        return int(os.environ["LOCAL_RANK"])

    @property
    def is_first(self) -> bool:
        """Tell whether this process writes, shows and decides."""
        return self.rank == 0

    def parts(self, batch_size: int, micro_batch: int) -> Iterator[slice]:
        """Yield the slices of a batch that this process works through, in order."""
        start, stop = (batch_size * rank // self.size for rank in (self.rank, self.rank + 1))
        for begin in range(start, stop, micro_batch):
            yield slice(begin, min(begin + micro_batch, stop))

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes: one message for all of them."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, summed in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.reshape(tensor.shape))

    def agree(self, value: T) -> T:
        """Return the first process's value everywhere."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def leave(self) -> None:
        """End the connection."""
        if self.size > 1:
            dist.destroy_process_group()
