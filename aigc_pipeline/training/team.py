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

from aigc_pipeline.core.errors import ConfigError

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

    def share(self, batch_size: int) -> slice:
        """Return the rows of a batch that are this process's: whole pairs of rows 2i and 2i + 1, at least one.

        Raises:
            ConfigError: if there are fewer pairs than processes.
        """
        if 1 < self.size > batch_size // 2:
            msg = (
                f"runtime.processes is {self.size}, but a batch of {batch_size} gives work to at most {batch_size // 2}: a "
                f"pair of samples each. Raise train.generator.batch_size to {2 * self.size} or take fewer processes."
            )
            raise ConfigError(msg)
        num_pairs = -(-batch_size // 2)
        start, stop = (min(2 * (num_pairs * rank // self.size), batch_size) for rank in (self.rank, self.rank + 1))
        return slice(start, stop)

    def parts(self, batch_size: int, micro_batch: int) -> Iterator[slice]:
        """Yield the slices of a batch that this process works through, in order; an odd micro-batch is rounded up."""
        share = self.share(batch_size)
        step = micro_batch + micro_batch % 2
        for begin in range(share.start, share.stop, step):
            yield slice(begin, min(begin + step, share.stop))

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
