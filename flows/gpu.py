"""One training per GPU: an advisory file lock always, and a Prefect concurrency limit where the server has one.

The limit makes waiting visible in the UI and spans workers; the lock also holds for runs without a server and when a
lease is lost. A process that dies releases the lock at once and the lease after 300 s.
"""

import fcntl
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

from aigc_pipeline.core.context import RuntimeConfig

logger = logging.getLogger(__name__)


@contextmanager
def one_training_per_gpu(runtime: RuntimeConfig) -> Iterator[None]:
    """Wait until this machine's GPU is free, then hold it. On the CPU there is nothing to wait for."""
    gpu = gpu_of(runtime)
    if gpu is None:
        yield
        return
    limit = limit_name(gpu)
    with ExitStack() as held:
        if _limit_exists(limit):
            held.enter_context(concurrency(limit, strict=True, raise_on_lease_renewal_failure=False))
        held.enter_context(locked(Path(tempfile.gettempdir()) / f"aigc-gpu-{gpu}.lock"))
        yield


def limit_name(gpu: str) -> str:
    """Return the concurrency limit of a GPU of this machine: `prefect gcl create gpu:<host>:<index> --limit 1`."""
    return f"gpu:{socket.gethostname()}:{gpu}"


def gpu_of(runtime: RuntimeConfig) -> str | None:
    """Return the machine-wide index (or UUID) of the GPU that a run would use, or None on the CPU."""
    if runtime.device == "cpu" or not torch.cuda.is_available():
        return None
    index = int(runtime.device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible.split(",")[index].strip() if visible else str(index)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold an exclusive lock on `file`, waiting for it as long as it takes."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("another training holds %s: waiting for it to end", file)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _limit_exists(name: str) -> bool:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            return False
    return True
