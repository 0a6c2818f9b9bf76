"""What a gate is: columns in, keep mask out. Cleaning and filtering use the same shape; the caller counts and records."""

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
