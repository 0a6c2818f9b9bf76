"""Who maps a function over shards. Serial is the default; a process pool or a cluster is another object of this shape."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """Maps `run_shard` over shards and yields results in shard order. A shard run twice gives the same bytes."""

    def map(self, run_shard: Callable[[T], R], shards: Sequence[T]) -> Iterator[R]:
        """Yield `run_shard(shard)` for every shard, in order."""
        ...


class SerialExecutor:
    """Runs shards one after the other in this process."""

    def map(self, run_shard: Callable[[T], R], shards: Sequence[T]) -> Iterator[R]:
        """Yield `run_shard(shard)` for every shard, in order."""
        return (run_shard(shard) for shard in shards)
