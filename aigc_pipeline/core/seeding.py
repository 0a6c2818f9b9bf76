"""Named seeds: every random act draws from `seed_for(root, "what", index)`, so order and retries cannot change it."""

import hashlib

import numpy as np

_SEED_BITS = 63  # fits int64, the manifest's column type


def seed_for(root: int, *names: str | int) -> int:
    """Return a seed in [0, 2**63) that depends on `root` and the names alone.

    Two different name paths give independent seeds; the same path always gives the same one.
    """
    path = "\x1f".join(f"{type(name).__name__}:{name}" for name in (root, *names))
    word = hashlib.blake2b(path.encode(), digest_size=8).digest()
    return int.from_bytes(word, "big") >> (64 - _SEED_BITS)


def numpy_generator(root: int, *names: str | int) -> np.random.Generator:
    """Return a numpy generator seeded by `seed_for(root, *names)`."""
    return np.random.default_rng(seed_for(root, *names))


def coin(run_seed: int, sample_id: str) -> float:
    """Return the uniform number in [0, 1) that belongs to this sample in this run.

    A gate that draws compares this coin with its probability: batch, order, and retry cannot change the outcome.
    """
    word = hashlib.blake2b(f"{run_seed}:{sample_id}".encode(), digest_size=8).digest()
    return int.from_bytes(word, "big") / 2.0**64
