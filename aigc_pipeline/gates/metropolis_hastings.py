"""Independence Metropolis-Hastings over the candidates of a class (Turner et al. 2019, Eq. 6): one kept per chain."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from aigc_pipeline.core.strict import Member
from aigc_pipeline.gates.base import Mask, show, unjudged


class MetropolisHastings(Member):
    """A set gate: consecutive survivors of a class form chains, and each chain keeps the state it ends in.

    A proposal is moved to with probability min(1, r_new / r_current), by its own coin. Long chains end in samples from
    the real distribution, at the price of as many candidates for one kept. The last chain may be shorter.
    """

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["metropolis_hastings"] = "metropolis_hastings"
    chain_length: int = Field(default=4, ge=2, le=100)
    """Candidates per kept sample."""

    def judge(self, table: pa.Table) -> Mask:
        """Read `label`, `log_density_ratio`, `accept_probability` and `accept_coin`; without a trusted critic all pass."""
        log_ratio, coin = table["log_density_ratio"].to_numpy(), table["accept_coin"].to_numpy()
        is_judged = ~np.isnan(table["accept_probability"].to_numpy())
        labels, mask = table["label"].to_numpy(), ~is_judged
        for label in np.unique(labels[is_judged]):
            rows = np.flatnonzero(is_judged & (labels == label))
            for start in range(0, len(rows), self.chain_length):
                mask[_last_state(rows[start : start + self.chain_length], log_ratio, coin)] = True
        return np.asarray(mask)

    def explain(self, row: Mapping[str, object]) -> str:
        """Name ratio and coin, or that there is no critic to ask."""
        return unjudged(row) or (
            f"log_density_ratio {show(row['log_density_ratio'])} competes in a chain of {self.chain_length}, by its "
            f"coin {show(row['accept_coin'])}; each chain keeps one"
        )


def _last_state(chain: np.ndarray, log_ratio: np.ndarray, coin: np.ndarray) -> int:
    state = int(chain[0])
    for proposal in chain[1:]:
        if coin[proposal] < np.exp(min(log_ratio[proposal] - log_ratio[state], 0.0)):
            state = int(proposal)
    return state
