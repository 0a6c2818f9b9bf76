"""The memorisation screen over a whole set: too many near copies, or accepted samples nearer than unseen reals are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigc_pipeline.metrics.memorisation import Copying, share
from aigc_pipeline.records import Estimate

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """What the screen tolerates; see `EvaluateConfig` for each."""

    max_copy_share: float
    min_copying_z: float
    max_nearer_share: float


@dataclass(frozen=True)
class Screening:
    """What the screen found."""

    failed: bool
    z: float | None
    estimates: dict[str, Estimate]
    sentence: str | None
    """Why it failed and what to do; None when passed."""


def screen(before: Flags, after: Flags, unseen: Flags, copying: Copying | None, limits: Limits) -> Screening:
    """Decide.

    Args:
        before: is a near copy, per generated candidate.
        after: the same for those that were accepted.
        unseen: the same for reals that the generator never saw: the share to expect by chance.
        copying: the data-copying test of accepted samples; None where there are too few.
    """
    named = {"before": before, "after": after, "real": unseen}
    estimates = {f"near_copy_rate/{name}": share(flags) for name, flags in named.items() if len(flags)}
    if copying is not None:
        estimates["nearer_than_unseen_reals/after"] = Estimate(value=copying.nearer_share, n=copying.num_synthetic)
    too_many = bool(len(before)) and (share(before).ci_low or 0.0) > limits.max_copy_share
    too_near = (
        copying is not None and copying.z < limits.min_copying_z and copying.nearer_share > limits.max_nearer_share
    )
    nearer = "n/a" if copying is None else f"{copying.nearer_share:.2f}"
    sentence = (
        f"the memorisation screen failed: {before.mean():.1%} of generated candidates are near copies of training "
        f"samples (tolerated {limits.max_copy_share:.0%}), and accepted ones are nearer than unseen reals with "
        f"probability {nearer} (tolerated {limits.max_nearer_share}). No generated sample is published. Use more data, "
        "or train shorter."
        if too_many or too_near
        else None
    )
    return Screening(sentence is not None, None if copying is None else copying.z, estimates, sentence)
