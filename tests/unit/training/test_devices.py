import contextlib
import os
import platform
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from aigc_pipeline.core.context import RuntimeConfig
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.training import devices
from aigc_pipeline.training.samplers import ClassPower
from aigc_pipeline.training.team import Team

CODE = """
import sys, resource, torch
from aigc_pipeline.training.devices import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(64 * 2**20 // 4)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told")
def test_freed_memory_is_kept_instead_of_fetched_anew():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True).stdout)
        for how in ("plain", "kept")
    }

    assert faults["kept"] < faults["plain"] / 2


def test_an_allocator_that_was_set_up_is_left_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    monkeypatch.setattr(devices.ctypes, "CDLL", None)  # would raise if it were called

    devices.keep_freed_memory()


@pytest.mark.parametrize(("free_bytes", "where"), [(801, "meta"), (800, "cpu")])
def test_samples_that_would_take_half_of_the_free_memory_wait_in_main_memory(free_bytes, where, monkeypatch):
    monkeypatch.setattr(devices, "free_bytes", lambda _: free_bytes)

    assert devices.resident(torch.zeros(100), torch.device("meta")).device.type == where


@pytest.mark.parametrize(("has_bfloat16", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_takes_bfloat16_only_where_the_gpu_does_not_emulate_it(has_bfloat16, expected, monkeypatch):
    monkeypatch.setattr("torch.cuda.device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(
        "torch.cuda.is_bf16_supported", lambda including_emulation=True: has_bfloat16 or including_emulation
    )

    assert devices.precision_of(RuntimeConfig(), torch.device("cuda")) == expected


def test_each_of_four_processes_takes_a_quarter_of_the_threads_whoever_asks_for_the_device(monkeypatch):
    taken: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    runtime = devices.runtime_of_peer(RuntimeConfig(device="cpu", threads=8, processes=4))

    devices.training_device(runtime, Team(1, 4))
    devices.device_of(runtime)  # as every encoder that is opened does

    assert taken == [2, 2]


@pytest.mark.parametrize(("given", "expected"), [(None, ":4096:8"), (":16:8", ":16:8")])
def test_repeatability_tells_cublas_unless_you_have(monkeypatch, given, expected):
    monkeypatch.setattr(
        os, "environ", {"MALLOC_ARENA_MAX": "2"} | ({"CUBLAS_WORKSPACE_CONFIG": given} if given else {})
    )

    devices.device_of(RuntimeConfig(device="cpu", threads=1, deterministic=True))

    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == expected


@pytest.fixture
def one_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)


@pytest.mark.usefixtures("one_gpu")
def test_every_stage_repeats_on_a_gpu_where_that_is_asked_for_and_passes_that_cannot_warn(monkeypatch):
    asked = []
    monkeypatch.setattr(
        torch, "use_deterministic_algorithms", lambda mode, *, warn_only: asked.append((mode, warn_only))
    )

    devices.device_of(RuntimeConfig(threads=1, deterministic=True))

    assert asked == [(True, True)]


def test_a_gpu_that_several_processes_would_leave_alone_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)

    with pytest.raises(ConfigError, match=r"'cuda:3', but 2 processes train on the first 2 GPUs.*CUDA_VISIBLE_DEVICES"):
        devices.device_of(RuntimeConfig(threads=1, device="cuda:3", processes=2))


@pytest.mark.parametrize("deterministic", [False, True])
def test_algorithms_are_tried_out_while_training_alone(deterministic, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)

    with devices.fastest_algorithms(RuntimeConfig(deterministic=deterministic)):
        assert torch.backends.cudnn.benchmark is not deterministic
    assert not torch.backends.cudnn.benchmark


def test_a_sampler_sums_its_probabilities_on_the_cpu(monkeypatch):
    class Elsewhere(torch.Tensor):
        def cpu(self):
            return super().cpu().as_subclass(torch.Tensor)

    summed = []
    cumsum = torch.cumsum
    monkeypatch.setattr(torch, "cumsum", lambda x, dim: summed.append(type(x)) or cumsum(x, dim))

    ClassPower(torch.tensor([0, 0, 1]).as_subclass(Elsewhere), 0.5)

    assert summed == [torch.Tensor]


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"device": "cuda:2"}, "device is 'cuda:2'"), ({"processes": 3}, "processes is 3, one GPU each")],
)
def test_more_gpus_than_there_are_is_an_error_that_counts_them(settings, said, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)

    with pytest.raises(ConfigError, match=f"{said}, but 2 GPUs are visible"):
        devices.device_of(RuntimeConfig(threads=1, **settings))


@pytest.mark.parametrize("name", ["gpu", "mps", "meta", "cuda:x"])
def test_only_cpu_and_cuda_are_devices(name):
    with pytest.raises(ConfigError, match=f"runtime.device is '{name}'.*Use auto, cpu, cuda"):
        devices.device_of(RuntimeConfig(device=name, threads=1))


def test_work_on_threads_comes_back_in_order_under_the_callers_precision_and_leaves_the_thread_count():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    a = torch.ones(8, 8)

    def work(index: int) -> tuple[int, torch.dtype, int, str]:
        time.sleep(0.02 * (3 - index))  # the first is ready last
        return index, (a @ a).dtype, torch.get_num_threads(), threading.current_thread().name

    try:
        with torch.autocast("cpu", torch.bfloat16):
            done = list(devices.map_on_threads(work, range(4), torch.device("cpu")))

        assert [index for index, *_ in done] == [0, 1, 2, 3]
        assert {dtype for _, dtype, *_ in done} == {torch.bfloat16}
        assert {number for *_, number, _ in done} == {1}
        assert len({name for *_, name in done}) == 2
        assert torch.get_num_threads() == 2
        new_threads = list(ThreadPoolExecutor(1).map(lambda _: torch.get_num_threads(), [0]))
        assert new_threads == [2]
    finally:
        torch.set_num_threads(threads)


def test_a_worker_that_starts_late_leaves_the_thread_count_too(monkeypatch):
    threads, set_num_threads = torch.get_num_threads(), torch.set_num_threads

    def set_late(number: int) -> None:
        if threading.current_thread().name.endswith("_1"):
            time.sleep(0.2)  # the other workers have done everything by then
        set_num_threads(number)

    set_num_threads(4)
    monkeypatch.setattr(torch, "set_num_threads", set_late)
    try:
        list(devices.map_on_threads(abs, range(4), torch.device("cpu")))

        assert list(ThreadPoolExecutor(1).map(lambda _: torch.get_num_threads(), [0])) == [4]
    finally:
        set_num_threads(threads)


def test_an_error_on_a_thread_is_raised_and_what_waits_is_not_begun():
    begun = []

    def work(index: int) -> None:
        begun.append(index)
        time.sleep(0.02)
        msg = f"no {index}"
        raise ValueError(msg)

    with pytest.raises(ValueError, match="no 0"):
        list(devices.map_on_threads(work, range(50), torch.device("cpu")))
    assert len(begun) < 20


@pytest.mark.parametrize(
    ("precision", "instruction"),
    [(torch.bfloat16, "_is_mkldnn_bf16_supported"), (torch.float16, "_is_mkldnn_fp16_supported")],
)
def test_half_precision_that_the_processor_emulates_is_warned_of(precision, instruction, monkeypatch):
    cpu = torch.device("cpu")
    for has_it in (True, False):
        monkeypatch.setattr(torch.ops.mkldnn, instruction, lambda has_it=has_it: has_it)
        warning = devices.emulation_note(precision, cpu)
        assert (warning is None) == has_it
    assert f"runtime.precision={str(precision).removeprefix('torch.')}" in warning
    assert devices.device_name(cpu) in warning
    assert devices.emulation_note(torch.float32, cpu) is None
    assert devices.emulation_note(precision, torch.device("cuda")) is None


def test_a_processor_is_told_from_its_successor_of_the_same_name(tmp_path):
    facts = tmp_path / "cpuinfo"
    facts.write_text(
        "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\nflags\t\t: fpu vme\npower management:\n"
    )

    assert devices._processor(facts) == "AMD EPYC, family 26, model 2"


def test_a_processor_that_linux_does_not_name_is_its_architecture(tmp_path):
    facts = tmp_path / "cpuinfo"
    facts.write_text("processor\t: 0\nCPU part\t: 0xd40\n")

    assert devices._processor(facts) in {platform.processor(), platform.machine()}
    assert devices._processor(tmp_path / "nothing") == devices._processor(facts)


def test_a_cpu_is_named_with_the_instructions_that_torch_uses():
    assert devices.device_name(torch.device("cpu")).endswith(torch.backends.cpu.get_cpu_capability())
