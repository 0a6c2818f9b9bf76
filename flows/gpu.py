"""One training per GPU: an advisory file lock always, and a Prefect concurrency limit where the server has one.

The limit shows in the UI that a GPU is taken and spans workers; the lock also holds for runs without a server and when a
lease is lost. A process that dies releases the lock at once and the lease after 300 s.
"""

import fcntl
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import torch
from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound, PrefectException

from aigc_pipeline.core.context import RuntimeConfig
from aigc_pipeline.training.devices import device_of

logger = logging.getLogger(__name__)


@contextmanager
def one_training_per_gpu(runtime: RuntimeConfig) -> Iterator[None]:
    """Wait until this machine's GPUs that a run would use are free, then hold them. On the CPU there is nothing to hold.

    Raises:
        ConfigError: if the named device is not there.
    """
    with ExitStack() as held:
        for gpu in gpus_of(runtime):
            held.enter_context(_limited(limit_name(gpu)))
            held.enter_context(locked(Path(tempfile.gettempdir()) / f"aigc-gpu-{gpu}.lock"))
        yield


def limit_name(gpu: str) -> str:
    """Return the concurrency limit of a GPU of this machine: `prefect gcl create gpu:<host>:<index> --limit 1`."""
    return f"gpu:{socket.gethostname()}:{gpu}"


def gpus_of(runtime: RuntimeConfig) -> list[str]:
    """Return the machine-wide indices (or UUIDs) of the GPUs that a run would use, none on the CPU.

    They are sorted: runs that take them in the same order never wait for each other in a circle.

    Raises:
        ConfigError: if the named device is not there.
    """
    device = device_of(runtime)
    if device.type != "cuda":
        return []
    first = 0 if runtime.processes > 1 else device.index or 0  # several processes take the first GPUs, one each
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    return sorted(name.strip() for name in visible.split(",")[first : first + runtime.processes])


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold an exclusive lock on `file`, waiting for it as long as it takes."""
    descriptor = _opened(file)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("another training holds %s: waiting for it to end", file)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _opened(file: Path) -> int:
    """Open a lock file; make it, for every user, where it is not there.

    A file that is there is opened without O_CREAT: Linux may refuse that on another user's file in /tmp.
    """
    with suppress(FileNotFoundError):
        return os.open(file, os.O_RDONLY)
    descriptor = os.open(file, os.O_RDONLY | os.O_CREAT, 0o666)
    os.fchmod(descriptor, 0o666)  # whatever the umask
    return descriptor


@contextmanager
def _limited(name: str) -> Iterator[None]:
    """Hold the server's limit of this name, if it has one. A server that is away stops no training: the lock holds."""
    slot = ExitStack()
    with _trouble_is_said(name):
        limit = _find_limit(name)
        if limit is not None:
            if limit.active_slots >= limit.limit:
                logger.warning("another training holds the limit %s: waiting for it to end", limit.name)
            slot.enter_context(concurrency(limit.name, strict=True, raise_on_lease_renewal_failure=False))
    try:
        yield
    finally:
        with _trouble_is_said(name):
            slot.close()


@contextmanager
def _trouble_is_said(name: str) -> Iterator[None]:
    try:
        yield
    except (ConcurrencySlotAcquisitionError, PrefectException, httpx.HTTPError) as err:
        logger.warning("the Prefect API did not answer about the limit %s; the lock of the GPU holds: %r", name, err)


def _find_limit(name: str) -> GlobalConcurrencyLimitResponse | None:
    with get_client(sync_client=True) as client:
        try:
            return client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            return None
