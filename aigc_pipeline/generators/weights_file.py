"""A generator that you bring: a torch.export or TorchScript archive, or a diffusers folder. Nothing is trained or downloaded.

Where training on the dataset alone has nothing to give, knowledge from outside may: its samples pass the same gates and
the same verdict. Weights belong to their owners: read their license before you publish samples made with them.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name all of torch uses
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.samples import SampleSpec, content_sha256
from aigc_pipeline.features.archives import open_archive
from aigc_pipeline.generators.base import Family, Synthesis, latents
from aigc_pipeline.training.loop import Networks, Phase

Maker = Callable[[Sequence[int], Int[Tensor, " n"]], Tensor]
"""Seeds and the file's own labels to samples."""
_IMAGE_AXES = 4
_LUMA = (0.299, 0.587, 0.114)


class WeightsFile(Family):
    """Samples of a frozen generator from a local file."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"image", "vector"})
    paper: ClassVar[str] = "whatever your file holds"
    choose_when: ClassVar[str] = "you have a generator that knows more than your dataset: judged by the same gates."
    is_trained: ClassVar[bool] = False

    kind: Literal["weights_file"] = "weights_file"
    path: Path
    """A TorchScript or torch.export archive (dynamic batch axis) of `(z [n, latent_size] float32, labels [n] int64) -> x`,
    or the folder of a diffusers pipeline. Never a pickle, yet a program: name only what you trust."""
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """Digest of the file or of all files of the folder; checked if given, filled in if not."""
    latent_size: int = Field(default=64, ge=1)
    """Dimensions of the latent that an archive takes."""
    labels: tuple[int, ...] | None = None
    """The file's label of each class of the dataset, in the order of the classes; None where they are the same."""
    value_range: Literal["symmetric", "unit"] = "symmetric"
    """Pictures of an archive come in [-1, 1], or in [0, 1]; a pipeline's range is known."""
    num_steps: int = Field(default=50, ge=1)
    """Denoising steps of a diffusers pipeline."""
    batch_size: int = Field(default=1, ge=1)
    """Nothing is trained."""
    ema_half_life_samples: float = Field(default=0.0, ge=0)
    """Nothing is trained."""

    @model_validator(mode="after")
    def _is_that_file(self) -> Self:
        try:
            found = digest(self.path.expanduser())
        except OSError as err:
            msg = f"cannot read the generator {self.path}: {err.strerror}. Check the path."
            raise ValueError(msg) from err
        if self.sha256 not in {"", found}:
            msg = (
                f"the generator {self.path} has sha256 {found}, not {self.sha256}: it is another one. Correct `sha256`."
            )
            raise ValueError(msg)
        object.__setattr__(self, "sha256", found)  # frozen, but not before validation ends
        return self

    def networks(self, spec: SampleSpec, num_classes: int, seed: int) -> dict[str, nn.Module]:
        """Return `file`: the opened generator, whose state is the file's digest alone.

        Raises:
            ConfigError: if it cannot be opened, or there is not one label per class.
        """
        del spec, seed
        if self.labels is not None and len(self.labels) != num_classes:
            msg = f"train.generator.labels has {len(self.labels)} entries, but the dataset has {num_classes} classes"
            raise ConfigError(msg)
        return {"file": _Opened(self)}

    def phases(self, spec: SampleSpec, num_train: int) -> list[Phase]:
        """Return none."""
        del spec, num_train
        return []

    def sample(
        self,
        networks: Networks,
        seeds: Sequence[int],
        labels: Int[Tensor, " n"],
        *,
        spec: SampleSpec,
        parents: Float[Tensor, "n *shape"] | None = None,
    ) -> Synthesis:
        """Return one sample per seed, brought to the spec's size and channels.

        Raises:
            ConfigError: if the file gives something else than finite samples.
        """
        del parents
        own = labels if self.labels is None else torch.tensor(self.labels, device=labels.device)[labels]
        made = networks["file"].make(seeds, own)  # type: ignore[operator]
        return Synthesis(self._fitted(made, len(seeds), spec))

    def _fitted(self, made: object, num_samples: int, spec: SampleSpec) -> Float[Tensor, "n *shape"]:
        shape = list(made.shape) if isinstance(made, Tensor) else type(made).__name__
        if not isinstance(made, Tensor) or made.ndim != len(spec.shape) + 1 or len(made) != num_samples:
            msg = f"the generator {self.path} returned {shape} for {num_samples} latents, not [{num_samples}, ...] like {list(spec.shape)}"
            raise ConfigError(msg)
        if not torch.isfinite(made).all():
            msg = f"the generator {self.path} returned values that are not finite"
            raise ConfigError(msg)
        if made.ndim != _IMAGE_AXES:
            return made.float()
        x = made.float() * 2 - 1 if self.value_range == "unit" else made.float()
        channels, *size = spec.shape
        if list(x.shape[2:]) != size:
            x = F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False, antialias=True)
        return x if x.shape[1] == channels else self._recolored(x, channels)

    def _recolored(self, x: Float[Tensor, "n c h w"], channels: int) -> Float[Tensor, "n k h w"]:
        """Turn grey into RGB, or RGB into grey."""
        if (x.shape[1], channels) == (1, len(_LUMA)):
            return x.expand(-1, channels, -1, -1)
        if (x.shape[1], channels) == (len(_LUMA), 1):
            return torch.einsum("nchw,c->nhw", x, torch.tensor(_LUMA).to(x))[:, None]
        msg = (
            f"the generator {self.path} makes pictures of {x.shape[1]} channels, the dataset has {channels}. "
            "Only grey and RGB are turned into each other: save the part that makes one of them."
        )
        raise ConfigError(msg)


class _Opened(nn.Module):
    """The opened generator. Its weights stay in the file: the state holds the digest, so that ids and hashes follow it."""

    file_sha256: Tensor

    def __init__(self, settings: WeightsFile) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("file_sha256", torch.frombuffer(bytearray.fromhex(settings.sha256), dtype=torch.uint8))
        self._makers: dict[torch.device, Maker] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return itself: nothing here changes, and an opened network need not be copyable."""
        del memo
        return self

    @torch.no_grad()
    def make(self, seeds: Sequence[int], labels: Int[Tensor, " n"]) -> Tensor:
        """Return what the file makes."""
        if labels.device not in self._makers:
            self._makers[labels.device] = _open(self.settings, labels.device)
        return self._makers[labels.device](seeds, labels)


def digest(path: Path) -> str:
    """Return the sha256 of a file, or of the names and digests of all files of a folder.

    Raises:
        OSError: if it cannot be read.
    """
    if not path.is_dir():
        return content_sha256(path.read_bytes())
    files = sorted(each for each in path.rglob("*") if each.is_file())
    lines = [f"{each.relative_to(path).as_posix()} {content_sha256(each.read_bytes())}" for each in files]
    return content_sha256("\n".join(lines).encode())


def _open(settings: WeightsFile, device: torch.device) -> Maker:
    path = settings.path.expanduser()
    if path.is_dir():
        return _pipeline(settings, path, device)
    try:
        content = path.read_bytes()
    except OSError as err:
        msg = f"cannot read the generator {path}: {err.strerror}. Check the path."
        raise ConfigError(msg) from err
    _refuse_changed(settings, content_sha256(content))
    network: Callable[..., Any] = open_archive(content, name=str(path), device=device)

    def make(seeds: Sequence[int], labels: Int[Tensor, " n"]) -> Tensor:
        try:
            made: Tensor = network(latents(seeds, settings.latent_size, device), labels)
        except (RuntimeError, AssertionError, TypeError, ValueError, IndexError) as err:
            lines = str(err).strip().splitlines() or [type(err).__name__]
            msg = (
                f"the generator {path} cannot take latents [{len(seeds)}, {settings.latent_size}] and labels: {lines[-1]}. "
                "Is train.generator.latent_size what it takes? `aigc export` prints it."
            )
            raise ConfigError(msg) from err
        return made

    return make


def _pipeline(settings: WeightsFile, path: Path, device: torch.device) -> Maker:
    """Open a diffusers pipeline: unconditional, or one that takes `class_labels`."""
    try:
        import diffusers
    except ImportError as err:
        msg = f"{path} is a folder, which is read as a diffusers pipeline: pip install 'aigc-pipeline[diffusers]'"
        raise ConfigError(msg) from err
    _refuse_changed(settings, digest(path))
    library: Any = diffusers
    pipeline = library.DiffusionPipeline.from_pretrained(str(path), local_files_only=True).to(device)
    pipeline.set_progress_bar_config(disable=True)
    takes_labels = "class_labels" in inspect.signature(type(pipeline).__call__).parameters

    def make(seeds: Sequence[int], labels: Int[Tensor, " n"]) -> Tensor:
        pictures = []
        for seed, label in zip(seeds, labels.tolist(), strict=True):  # one by one: a sample must not see its neighbours
            own = {"class_labels": [label]} if takes_labels else {"batch_size": 1}
            rng = torch.Generator().manual_seed(seed)
            made = pipeline(generator=rng, num_inference_steps=settings.num_steps, output_type="np", **own)
            pictures.append(np.asarray(made.images, np.float32))
        x = torch.from_numpy(np.concatenate(pictures)).movedim(-1, 1).to(device)
        return x if settings.value_range == "unit" else x * 2 - 1  # pipelines give [0, 1]

    return make


def _refuse_changed(settings: WeightsFile, found: str) -> None:
    if found != settings.sha256:
        msg = f"the generator {settings.path} has sha256 {found}, not {settings.sha256}: it has changed since the run began."
        raise ConfigError(msg)
