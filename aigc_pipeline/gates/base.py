"""What a gate is: columns in, keep mask out. Cleaning and filtering use the same shape; the caller counts and records."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


class Gate(Protocol):
    """A member of a gate union: frozen settings with one pure verb.

    A row gate decides each row by itself. A set gate (quota) decides over the rows it is given, in index order; it is
    given the survivors of the gates before it.
    """

    @property
    def kind(self) -> str:
        """The word that picks this member in a config; also the reject reason on record."""
        ...

    def judge(self, table: pa.Table) -> Mask:
        """Return True for each row that may pass, `[n]`.

        Raises:
            DataError: if a column it reads is missing.
        """
        ...


class FilterGate(Gate, Protocol):
    """A gate over candidates, which can also say in words why it decides as it does."""

    def explain(self, row: Mapping[str, object]) -> str:
        """Return one sentence with the numbers of one candidate and the limit they are held against."""
        ...


def unjudged(row: Mapping[str, object]) -> str | None:
    """Return why the critic's word is not asked for, one sentence; None where it is."""
    probability = show(row["accept_probability"])
    if probability != show(None):
        return None
    return f"its accept_probability is {probability}: no trusted critic judges it, and it passes"


def show(value: object) -> str:
    """Return a number with 3 digits; what is missing is said."""
    if value is None or value != value:  # NaN differs from itself
        return "not known"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
