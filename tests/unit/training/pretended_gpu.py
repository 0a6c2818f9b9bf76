"""A GPU for machines without one: CPU memory that is marked as the GPU's, and errors where CUDA would raise them.

An operation on marked and unmarked tensors raises, as do `numpy()` of a marked one and a random generator of the other
device. Results, gradients and optimizer states of marked tensors are marked. Precision and speed are the CPU's.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from unittest.mock import patch

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
_DEVICE = torch.Tensor.device.__get__
_COPIES = {"aten::copy_", "aten::_local_scalar_dense"}
_TAKE_CPU_INDICES = {"aten::index", "aten::index_put_", "aten::_index_put_impl_"}


class PretendedGenerator(torch.Generator):
    """A CPU generator that names the device that it was asked for."""

    def __new__(cls, device="cpu"):
        made = super().__new__(cls, "cpu")
        made.named = GPU if torch.device(device).type == "cuda" else CPU
        return made

    def __init__(self, device="cpu"):
        del device

    @property
    def device(self):
        return self.named


class Memory:
    """Which storages are the GPU's. A weak reference keeps the address of a freed one from being given to another."""

    def __init__(self):
        self.marked: dict[int, StorageWeakRef] = {}
        self.depth = 0
        """Inside how many calls on marked tensors we are: what these make from nothing is the GPU's, too."""

    def holds(self, x: Tensor) -> bool:
        return x.untyped_storage()._cdata in self.marked

    def put(self, x: Tensor) -> Tensor:
        reference = StorageWeakRef(x.untyped_storage())
        self.marked[reference.cdata] = reference
        return x

    def take(self, x: Tensor) -> Tensor:
        self.marked.pop(x.untyped_storage()._cdata, None)
        return x


class Operations(TorchDispatchMode):
    """Refuses mixtures and marks results, backward passes included."""

    def __init__(self, memory: Memory):
        super().__init__()
        self.memory = memory

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        del types
        name, kwargs = func._schema.name, kwargs or {}
        tensors = [x for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)]
        ours = [x for x in tensors if self.memory.holds(x)]
        theirs = [x for x in tensors if not self.memory.holds(x)]
        if name in _TAKE_CPU_INDICES and self.memory.holds(args[0]):
            theirs = [x for x in args[2:3] if isinstance(x, Tensor) and not self.memory.holds(x)]
        if ours and name not in _COPIES and any(x.ndim for x in theirs):
            msg = f"{name}: expected all tensors on one device, found {GPU} and cpu"
            raise RuntimeError(msg)
        made = func(*args, **kwargs)
        if name not in _COPIES and (ours or (self.memory.depth and not tensors)):
            for x in tree_iter(made):
                if isinstance(x, Tensor):
                    self.memory.put(x)
        return made


class Calls(TorchFunctionMode):
    """Answers what a tensor's device is, moves tensors, and makes on the CPU what is asked for on the GPU."""

    def __init__(self, memory: Memory):
        super().__init__()
        self.memory = memory

    def __torch_function__(self, func, types, args=(), kwargs=None):
        del types
        name, kwargs = getattr(func, "__name__", ""), dict(kwargs or {})
        if func == _DEVICE:
            return GPU if self.memory.holds(args[0]) else CPU
        if name == "numpy" and self.memory.holds(args[0]):
            msg = "can't convert cuda:0 device type tensor to numpy"
            raise TypeError(msg)
        if name in {"to", "cpu"}:
            return self._moved(*args, **({"device": CPU} if name == "cpu" else kwargs))
        asked = kwargs.get("device")
        on_gpu = asked is not None and torch.device(asked).type == "cuda"
        if asked is not None:
            kwargs["device"] = CPU
        generator = kwargs.get("generator")
        if generator is not None:
            place = self.memory.holds(args[0]) if name.endswith("_") else on_gpu
            assert (generator.device == GPU) == place, f"{name} with a generator of {generator.device}"
        with self._inside(asked is None and any(map(self._is_ours, tree_iter((args, kwargs))))):
            made = func(*args, **kwargs)
        return self.memory.put(made) if on_gpu else made

    def _is_ours(self, x: object) -> bool:
        return isinstance(x, Tensor) and self.memory.holds(x)

    @contextmanager
    def _inside(self, is_ours: bool) -> Iterator[None]:
        self.memory.depth += is_ours
        try:
            yield
        finally:
            self.memory.depth -= is_ours

    def _moved(self, x: Tensor, *targets, device=None, dtype=None, **_more) -> Tensor:
        was = self.memory.holds(x)
        for target in targets:
            if isinstance(target, Tensor):
                device, dtype = GPU if self.memory.holds(target) else CPU, target.dtype
            elif isinstance(target, torch.dtype):
                dtype = target
            elif isinstance(target, str | torch.device):
                device = target
        goes = was if device is None else torch.device(device).type == "cuda"
        made = x.to(dtype or x.dtype)
        if goes == was:
            return self.memory.put(made) if goes else made
        made = made.clone() if made is x else made
        return self.memory.put(made) if goes else self.memory.take(made)


@contextmanager
def pretended_gpu() -> Iterator[Memory]:
    """Let torch find one GPU."""
    memory, scaler = Memory(), torch.amp.GradScaler
    stand_ins = {
        "torch.Generator": PretendedGenerator,
        "torch.amp.GradScaler": lambda _, enabled: scaler("cpu", enabled=enabled),
        "torch.cuda.is_available": lambda: True,
        # optimizers of a CUDA build would ask the driver, up to torch 2.9 in the first way, from 2.13 on in the second
        "torch.cuda.is_current_stream_capturing": lambda: False,
        "torch.accelerator.current_stream": lambda: SimpleNamespace(is_capturing=lambda: False),
        "torch.cuda.device_count": lambda: 1,
        "torch.cuda.device": lambda _: nullcontext(),
        "torch.cuda.mem_get_info": lambda _: (2**34, 2**34),
        "torch.cuda.max_memory_allocated": lambda _: 0,
        "torch.cuda.synchronize": lambda _: None,
    }
    with ExitStack() as stack:
        for name, stand_in in stand_ins.items():
            stack.enter_context(patch(name, stand_in))
        stack.enter_context(Operations(memory))
        stack.enter_context(Calls(memory))
        yield memory
