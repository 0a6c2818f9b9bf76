"""How rows are drawn into batches. Each sampler is a pure function of the generator it is handed and of samples seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Sampler(Protocol):
    """Which rows form a batch: a pure function of the generator it is handed and of samples seen."""

    def __call__(self, samples_seen: int, batch_size: int, generator: torch.Generator) -> Int[Tensor, " n"]:
        """Return row indices."""
        ...


@dataclass(frozen=True)
class ClassPower:
    """Draw with replacement; class k gets a share proportional to n_k ** power (1: as it is, 0: balanced)."""

    labels: Int[Tensor, " n"]
    power: float

    def __post_init__(self) -> None:
        """Work out the row probabilities once, on the CPU: a GPU's cumulative sum of fractions does not repeat exactly."""
        labels = self.labels.cpu()
        counts = torch.bincount(labels).double()
        weights = counts[labels] ** (self.power - 1.0)
        object.__setattr__(self, "_cumulative", torch.cumsum(weights / weights.sum(), 0).to(self.labels.device))

    def __call__(self, samples_seen: int, batch_size: int, generator: torch.Generator) -> Int[Tensor, " n"]:
        """Return row indices."""
        del samples_seen  # the generator already depends on it
        return draw_rows(self._cumulative, batch_size, generator)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class SameClassPairs:
    """Draw pairs: rows 2i and 2i + 1 are two samples of one class; different ones where the class has two.

    Pairs lie side by side, so that any even part of a batch holds whole pairs. Class k gets a share proportional to
    n_k ** power.
    """

    labels: Int[Tensor, " n"]
    power: float

    def __post_init__(self) -> None:
        """Sort the rows by class once."""
        order = torch.argsort(self.labels, stable=True)
        counts = torch.bincount(self.labels)
        object.__setattr__(self, "_first", ClassPower(self.labels, self.power))
        object.__setattr__(self, "_order", order)
        object.__setattr__(self, "_place", torch.argsort(order))
        object.__setattr__(self, "_start", counts.cumsum(0) - counts)
        object.__setattr__(self, "_counts", counts)

    def __call__(self, samples_seen: int, batch_size: int, generator: torch.Generator) -> Int[Tensor, " n"]:
        """Return row indices; an odd batch ends with half a pair."""
        num_pairs = -(-batch_size // 2)
        first = self._first(samples_seen, num_pairs, generator)  # type: ignore[attr-defined]
        label = self.labels[first]
        count, start = self._counts[label], self._start[label]  # type: ignore[attr-defined]
        uniform = torch.rand(num_pairs, generator=generator, device=generator.device, dtype=torch.float64)
        others = (count - 1).clamp(min=1)
        step = 1 + (uniform * others).long().clamp(max=others - 1)
        place = self._place[first] - start  # type: ignore[attr-defined]
        second = self._order[start + (place + step) % count]  # type: ignore[attr-defined]
        return torch.stack([first, second], 1).flatten()[:batch_size]


@dataclass(frozen=True)
class Mixed:
    """Fill a fixed share of each batch from each of several blocks of rows: real and synthetic at a set dose."""

    blocks: Sequence[ClassPower]
    """How each block draws its rows; the blocks lie behind each other."""
    shares: Sequence[float]
    """Share of the batch per block, in [0, 1]; they sum to 1."""

    def __call__(self, samples_seen: int, batch_size: int, generator: torch.Generator) -> Int[Tensor, " n"]:
        """Return row indices, block by block."""
        start, parts = 0, []
        for block, number in zip(self.blocks, self.numbers(batch_size), strict=True):
            parts.append(start + block(samples_seen, number, generator))
            start += len(block.labels)
        return torch.cat(parts)

    def numbers(self, batch_size: int) -> list[int]:
        """Return the rows per block: at least one where the share is above 0; the last takes what rounding leaves.

        Args:
            batch_size: at least the number of shares above 0.
        """
        least = [int(share > 0) for share in self.shares]
        numbers: list[int] = []
        for place, share in enumerate(self.shares[:-1]):
            most = batch_size - sum(numbers) - sum(least[place + 1 :])
            numbers.append(min(max(round(batch_size * share), least[place]), most))
        return [*numbers, batch_size - sum(numbers)]


def draw_rows(cumulative: Float[Tensor, " n"], batch_size: int, generator: torch.Generator) -> Int[Tensor, " m"]:
    """Draw row indices by inverse cumulative probability."""
    uniform = torch.rand(batch_size, generator=generator, device=generator.device, dtype=torch.float64)
    return torch.searchsorted(cumulative.to(generator.device), uniform).clamp_(max=len(cumulative) - 1)
