"""Where tensors live: a GPU when there is one, and how many threads the CPU may use."""

import ctypes
import math
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from aigc_pipeline.core.context import RuntimeConfig
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.training.team import Team

T = TypeVar("T")
R = TypeVar("R")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_LARGEST_BLOCK, _LARGEST_KEPT = 1 << 30, (1 << 31) - 1
_MAX_WORKERS, _BYTES_SIDE_BY_SIDE = 4, 2 << 30
_DEVICE_TYPES = ("cpu", "cuda")
_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def device_of(runtime: RuntimeConfig) -> torch.device:
    """Return the device to work on, set the CPU thread count and let the C library keep freed memory.

    Where repeatability is asked for, a GPU works by algorithms that repeat, in this stage as in any other; cuBLAS is told
    before it starts, and a value of yours in the environment stays.

    Raises:
        ConfigError: if the named device is not there or not among those that several processes train on, or fewer GPUs
            than processes.
    """
    torch.set_num_threads(runtime.num_threads)
    keep_freed_memory()
    if runtime.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if runtime.device == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    else:
        device = _named(runtime.device)
    if device.type == "cuda":
        _refuse_missing_gpus(device, runtime)
        # warnings, since some backward passes have no such algorithm
        torch.use_deterministic_algorithms(runtime.deterministic, warn_only=True)
    return device


def _named(name: str) -> torch.device:
    """Return a device of the two types that the pipeline is made for.

    Raises:
        ConfigError: on any other name, also where torch knows it.
    """
    msg = f"runtime.device is '{name}', which is no device to train on. Use auto, cpu, cuda or cuda:<index>."
    try:
        device = torch.device(name)
    except RuntimeError as err:
        raise ConfigError(msg) from err
    if device.type not in _DEVICE_TYPES:
        raise ConfigError(msg)
    return device


def _refuse_missing_gpus(device: torch.device, runtime: RuntimeConfig) -> None:
    visible = torch.cuda.device_count()
    if (device.index or 0) >= visible:
        msg = f"runtime.device is '{runtime.device}', but {visible} GPUs are visible. Use auto or cpu."
        raise ConfigError(msg)
    if runtime.processes > visible:
        msg = f"runtime.processes is {runtime.processes}, one GPU each, but {visible} GPUs are visible. Take fewer processes."
        raise ConfigError(msg)
    if 1 < runtime.processes <= (device.index or 0):
        msg = (
            f"runtime.device is '{runtime.device}', but {runtime.processes} processes train on the first "
            f"{runtime.processes} GPUs. Use cuda, and choose GPUs by CUDA_VISIBLE_DEVICES."
        )
        raise ConfigError(msg)


def training_device(runtime: RuntimeConfig, team: Team) -> torch.device:
    """Return the device of this process.

    Raises:
        ConfigError: if the named device is not there.
    """
    device = device_of(runtime)
    if team.size > 1 and device.type == "cuda":
        device = torch.device("cuda", Team.local_rank())
        torch.cuda.set_device(device)
    return device


def num_side_by_side(device: torch.device, num_bytes: int = 0) -> int:
    """Return how many pieces of work run at once: one a CPU thread, up to four, of `num_bytes` each up to 2 GiB; 1 on a GPU."""
    affordable = _BYTES_SIDE_BY_SIDE // max(num_bytes, 1)
    return max(1, min(torch.get_num_threads(), _MAX_WORKERS, affordable)) if device.type == "cpu" else 1


def map_on_threads(
    act: Callable[[T], R],
    items: Sequence[T],
    device: torch.device,
    *,
    num_bytes: int = 0,
    abandon: Callable[[], None] = lambda: None,
) -> Iterator[R]:
    """Yield `act(item)` in order: items side by side on a CPU, each on its share of the threads.

    Two small networks side by side keep two cores busier than one on both (docs/LOG.md). The caller's autocast holds in
    every thread.

    Args:
        num_bytes: memory that one item takes beyond the rest; limits how many run at once.
        abandon: called when nobody waits for what still runs, so that it can end early.
    """
    num_threads = torch.get_num_threads()
    num_workers = min(num_side_by_side(device, num_bytes), len(items))
    enabled, dtype = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)

    def act_here(item: T) -> R:
        with torch.autocast(device.type, dtype, enabled=enabled):
            return act(item)

    if num_workers <= 1:
        yield from map(act_here, items)
        return
    share = num_threads // num_workers
    try:
        with ThreadPoolExecutor(num_workers, "chunk", torch.set_num_threads, (share,)) as pool:
            try:
                yield from pool.map(act_here, items)
            finally:
                abandon()
    finally:
        torch.set_num_threads(num_threads)  # a worker's share is also what threads to come would start with


@contextmanager
def fastest_algorithms(runtime: RuntimeConfig) -> Iterator[None]:
    """Let cuDNN try its algorithms out while batches have one shape, unless repeatability is asked for.

    Afterwards it is as before: what later stages of the process store must not depend on what was faster at the moment.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = not runtime.deterministic
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def resident(x: Float[Tensor, "n *shape"], device: torch.device) -> Float[Tensor, "n *shape"]:
    """Return samples on the device, or as they are where they would take half of the device's free memory."""
    return x.to(device) if x.nbytes < free_bytes(device) / 2 else x


def free_bytes(device: torch.device) -> float:
    """Return a GPU's free memory; infinite for the CPU, where samples are in any case."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was given; a clock that is read before tells how fast work is handed out."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def runtime_of_peer(runtime: RuntimeConfig) -> RuntimeConfig:
    """Return the settings that one of `runtime.processes` works under: its share of the CPU threads."""
    return runtime.model_copy(update={"threads": max(1, runtime.num_threads // runtime.processes)})


def keep_freed_memory() -> None:
    """Let glibc keep what tensors free, up to 2 GiB, instead of handing it back and fetching zeroed pages every step.

    Blocks over 32 MiB are otherwise mapped anew each time: that took a third of a step of the `resnext` backbone
    (docs/LOG.md). Other C libraries are left alone, and so is one that you have set up by `MALLOC_*`.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
    libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_KEPT)


def precision_of(runtime: RuntimeConfig, device: torch.device) -> torch.dtype:
    """Return the precision of the networks' passes in training; `auto` takes bfloat16 only from a GPU made for it."""
    if runtime.precision != "auto":
        return _PRECISIONS[runtime.precision]
    if device.type != "cuda":
        return torch.float32
    with torch.cuda.device(device):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32


def emulation_note(precision: torch.dtype, device: torch.device) -> str | None:
    """Return a warning where this processor has no instructions for a half precision, or None.

    Without them bfloat16 took 36 times as long as float32, and float16 32 times (docs/LOG.md).
    """
    if device.type != "cpu" or precision == torch.float32 or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    by_precision = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,  # noqa: SLF001 - torch tells it nowhere else
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,  # noqa: SLF001
    }
    if by_precision[precision]():
        return None
    name = str(precision).removeprefix("torch.")
    return (
        f"runtime.precision={name}: this processor has no instructions for it ({device_name(device)}), so training may take "
        "many times as long. Leave the setting out, which means float32."
    )


def device_name(device: torch.device) -> str:
    """Return the name of the card, or of the processor with the instructions that torch uses of it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}"


def _processor(facts: Path = Path("/proc/cpuinfo")) -> str:
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    found = dict(line.replace("\t", "").split(": ", 1) for line in lines if ": " in line)
    if "model name" not in found:  # not Linux, or ARM
        return platform.processor() or platform.machine()
    return f"{found['model name']}, family {found['cpu family']}, model {found['model']}"
