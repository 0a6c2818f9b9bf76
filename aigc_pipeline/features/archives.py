"""Network archives: TorchScript and torch.export files, opened from their bytes without ever reading a Python pickle.

A network archive is a program all the same. torch.export (2.13) even evaluates the size expressions and guards it holds as
Python; archives whose expressions are more than arithmetic, or whose guards are more than comparisons of input sizes, are
refused. That closes the ways in that we know of, not all: open only what you trust, and pin its sha256.
"""

import ast
import io
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable

import torch
from torch import nn
from torch.torch_version import TorchVersion

from aigc_pipeline.core.errors import ConfigError

OpenedNetwork = Callable[..., object]
READS_EXPORTS = TorchVersion(torch.__version__) >= TorchVersion("2.9")
"""Before, torch.export kept weights as pickles."""
_ARITHMETIC = (ast.Expression, ast.Call, ast.Name, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp, ast.operator,
               ast.unaryop, ast.expr_context)  # fmt: skip
_NAMES = re.compile(
    r"[suz]\d+|Symbol|Integer|Float|Rational|Add|Mul|Pow|Mod|PythonMod|Max|Min|FloorDiv|CeilDiv|CleanDiv"
)
_SIZE = r"(L\['\w+'\]\.size\(\)\[\d+\]|\d+)"
_GUARD = re.compile(rf"{_SIZE} (==|<=|>=|<|>) {_SIZE}")


def open_archive(content: bytes, *, name: str, device: torch.device) -> OpenedNetwork:
    """Return the network in evaluation mode on `device`.

    Args:
        content: a TorchScript archive (`torch.jit.save`) or one of `torch.export.save`; the content tells which.
        name: how errors call it: its path.

    Raises:
        ConfigError: if it is neither, is damaged, or holds a pickle or code.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as err:
        msg = f"{name} is not a network archive. Save it with torch.export.save (.pt2) or torch.jit.save (.pt)."
        raise ConfigError(msg) from err
    is_exported = any(each.partition("/")[2] == "archive_format" for each in names)
    if is_exported or "serialized_exported_program.json" in names:
        _refuse_old_format(names, name)
    try:
        return _exported(content, name, device) if is_exported else _scripted(content, device)
    except (RuntimeError, ValueError, KeyError, AttributeError, AssertionError, TypeError, ImportError) as err:
        reason = next(iter(str(err).splitlines()), type(err).__name__)
        kind = "torch.export" if is_exported else "TorchScript"
        msg = f"{name} can't be opened as a {kind} archive with torch {torch.__version__}: {reason}"
        raise ConfigError(msg) from err


def _refuse_old_format(names: list[str], name: str) -> None:
    if not READS_EXPORTS:
        msg = (
            f"{name} is a torch.export file, which torch {torch.__version__} would read through pickle. "
            "Upgrade torch to 2.9 or newer, here and where it is saved, or save the network with torch.jit.save."
        )
        raise ConfigError(msg)
    if not any(each.endswith("_weights_config.json") for each in names):
        msg = (
            f"{name} was saved by torch.export before torch 2.9, in a format that is read through pickle. "
            "Save it with torch 2.9 or newer, or with torch.jit.save."
        )
        raise ConfigError(msg)


def _scripted(content: bytes, device: torch.device) -> OpenedNetwork:
    with warnings.catch_warnings():  # a DeprecationWarning, since torch 2.14 a FutureWarning
        warnings.filterwarnings("ignore", message=".*torch.jit.load.* is deprecated")
        network: nn.Module = torch.jit.load(io.BytesIO(content), map_location=device)  # type: ignore[no-untyped-call]
    return network.eval()


def _exported(content: bytes, name: str, device: torch.device) -> OpenedNetwork:
    """Open an export. It is in evaluation mode if it was when exported: that can't be changed."""
    from torch.export.passes import move_to_device_pass  # newer than the oldest torch supported

    _refuse_code(content, name)
    with warnings.catch_warnings():  # torch 2.9 about itself; nothing writes to the weights
        warnings.filterwarnings("ignore", ".*buffer is not writable", UserWarning)
        program = torch.export.load(io.BytesIO(content))
    if device.type != "cpu":
        program = move_to_device_pass(program, str(device))
    return program.module()


def _refuse_code(content: bytes, name: str) -> None:
    """Raise ConfigError for what `torch.export` would unpickle or run: tensor subclasses, objects, machine code, Python.

    The example inputs are a pickle of tensors: the restricted unpickler must manage, else torch would try the other.
    """
    from torch.export.pt2_archive import PT2ArchiveReader  # as above

    with PT2ArchiveReader(io.BytesIO(content)) as reader:
        found = [file for file in reader.get_file_names() if _is_unsafe(file, reader.read_bytes)]
    if found:
        msg = f"{name} holds a pickle or code, which is not opened: {', '.join(sorted(found))}"
        raise ConfigError(msg)


def _is_unsafe(file: str, read: Callable[[str], bytes]) -> bool:
    if file.startswith("data/sample_inputs/"):
        return not _is_plain_tensors(read(file))
    if file.startswith("models/"):
        return _holds_code(json.loads(read(file)))
    if not file.startswith(("data/weights/", "data/constants/")):
        return file.startswith("data/aotinductor/")
    if not file.endswith(".json"):
        return file.endswith(".pt")
    entries = json.loads(read(file))["config"].values()
    return any(each["use_pickle"] or each["path_name"].startswith(("opaque_obj", "custom_obj")) for each in entries)


def _holds_code(model: object) -> bool:
    """Tell whether a part of a model description would be evaluated as Python and is more than arithmetic."""
    if isinstance(model, list):
        return any(_holds_code(each) for each in model)
    if not isinstance(model, dict):
        return False
    expression = model.get("expr_str")
    return (
        any(_GUARD.fullmatch(str(guard)) is None for guard in model.get("guards_code") or ())
        or (expression is not None and not _is_arithmetic(expression))
        or any(_holds_code(each) for each in model.values())
    )


def _is_arithmetic(expression: str) -> bool:
    try:
        nodes = list(ast.walk(ast.parse(expression, mode="eval")))
    except SyntaxError:
        return False
    return all(
        isinstance(node, _ARITHMETIC)
        and (not isinstance(node, ast.Call) or isinstance(node.func, ast.Name))
        and (not isinstance(node, ast.Name) or _NAMES.fullmatch(node.id) is not None)
        and (not isinstance(node, ast.Constant) or re.fullmatch(r"[\w.]*", str(node.value)) is not None)
        for node in nodes
    )


def _is_plain_tensors(content: bytes) -> bool:
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        return not content
    return True
