"""Where tensors live: a GPU when there is one, and how many threads the CPU may use."""

import torch

from aigc_pipeline.core.context import RuntimeConfig
from aigc_pipeline.core.errors import ConfigError


def device_of(runtime: RuntimeConfig) -> torch.device:
    """Return the device to work on and set the CPU thread count.

    Raises:
        ConfigError: if the named device is not there.
    """
    torch.set_num_threads(runtime.num_threads)
    if runtime.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(runtime.device)
    except RuntimeError as err:
        msg = f"runtime.device is '{runtime.device}', which is no device. Use auto, cpu, cuda or cuda:<index>."
        raise ConfigError(msg) from err
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        msg = (
            f"runtime.device is '{runtime.device}', but {torch.cuda.device_count()} GPUs are visible. Use auto or cpu."
        )
        raise ConfigError(msg)
    return device
