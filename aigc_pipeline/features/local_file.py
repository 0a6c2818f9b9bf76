"""An encoder from a file of yours: Inception, DINOv2 or your own network, saved with torch.jit or torch.export.

Nothing is shipped and nothing is downloaded. Weights belong to their owners: read their licence (those that torchmetrics
and torch-fidelity use included) before you publish numbers made with them. There is no class head, so as
`embed.encoder` it leaves the run without a label referee.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch
import torch.nn.functional as F  # noqa: N812 - the name all of torch uses
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.samples import SampleSpec, content_sha256
from aigc_pipeline.core.strict import Member
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.features.archives import OpenedNetwork, open_archive
from aigc_pipeline.features.base import EncoderNetwork, FittedEncoder, finish
from aigc_pipeline.training.loop import Hooks

INCEPTION = "inception_v3_pool3"
"""The name under which a Frechet distance is FID."""
Triple = tuple[float, float, float]
PositiveTriple = tuple[
    Annotated[float, Field(gt=0)],
    Annotated[float, Field(gt=0)],
    Annotated[float, Field(gt=0)],
]
_ROUNDING = 1e-3
_TAKEN = {"classifier", "random_network"}


class LocalFile(Member):
    """A frozen network from a local file: RGB pictures `[n, 3, size, size]`, normalized, to features `[n, d]`."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"image"})

    kind: Literal["local_file"] = "local_file"
    path: Path
    """A TorchScript archive, or a torch.export archive (.pt2) with a dynamic batch axis. Never a pickle, yet a program:
    name only files that you trust."""
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """What metrics call this feature space: `inception_v3_pool3` (its Frechet distance is FID), `dinov2_vits14`."""
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """Digest of the file; checked if given, filled in if not, so that another file is another fingerprint."""
    input_size: int = Field(ge=1)
    """Side in px that pictures are resized to, bilinear with antialiasing."""
    mean: Triple
    """One each for red, green and blue, subtracted from pixels in [0, 1]."""
    std: PositiveTriple
    """One each for red, green and blue: what the difference is divided by."""
    num_features: int = Field(ge=2)
    """Feature dimension of the network."""
    batch_size: int = Field(default=64, ge=1)
    """Pictures encoded at once."""

    @model_validator(mode="after")
    def _is_that_file(self) -> Self:
        if self.name in _TAKEN:
            msg = f"the name '{self.name}' is that of a built-in encoder; name the network that {self.path} holds"
            raise ValueError(msg)
        try:
            found = content_sha256(self._content())
        except OSError as err:
            msg = f"cannot read the encoder {self.path}: {err.strerror}. Check the path."
            raise ValueError(msg) from err
        if self.sha256 not in {"", found}:
            raise ValueError(self._mismatch(found))
        object.__setattr__(self, "sha256", found)  # frozen, but not before validation ends
        return self

    @property
    def feature_space(self) -> str:
        """The user's name for it."""
        return self.name

    def build(self, spec: SampleSpec, num_classes: int, num_train: int, seed: int) -> EncoderNetwork:
        """Open the file.

        Raises:
            ConfigError: if it has gone, is another file, is no archive, does not return `[n, num_features]`, or gives
                a picture features that depend on the other pictures of its batch.
        """
        del spec, num_classes, num_train, seed
        return EncoderNetwork(_Frozen(self, self.read()), self.num_features, 0)

    def read(self) -> bytes:
        """Return the file's content.

        Raises:
            ConfigError: if it cannot be read or is no longer the file that was validated.
        """
        try:
            content = self._content()
        except OSError as err:
            msg = f"cannot read the encoder {self.path}: {err.strerror}. Check the path."
            raise ConfigError(msg) from err
        if (found := content_sha256(content)) != self.sha256:
            raise ConfigError(self._mismatch(found))
        return content

    def fit(
        self,
        train: LabelledCells,
        selection: LabelledCells,
        *,
        spec: SampleSpec,
        num_classes: int,
        seed: int,
        device: torch.device,
        hooks: Hooks,
    ) -> FittedEncoder:
        """Standardize; there is nothing to train."""
        del selection, hooks
        network = self.build(spec, num_classes, len(train), seed).to(device)
        return finish(self.feature_space, network, train, spec, has_head=False)

    def _content(self) -> bytes:
        return self.path.expanduser().read_bytes()

    def _mismatch(self, found: str) -> str:
        return f"the encoder {self.path} has sha256 {found}, not {self.sha256}: it is another file. Correct `sha256`."


class _Frozen(nn.Module):
    """The opened network behind its preprocessing.

    Its weights stay in the file: the state holds the file's digest alone, and the network is opened anew per device,
    because an export cannot be moved in place.
    """

    file_sha256: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, settings: LocalFile, content: bytes) -> None:
        super().__init__()
        self.settings = settings
        digest = torch.frombuffer(bytearray.fromhex(settings.sha256), dtype=torch.uint8)
        self.register_buffer("file_sha256", digest)
        for name, values in (("mean", settings.mean), ("std", settings.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        cpu = torch.device("cpu")
        self._opened: dict[torch.device, OpenedNetwork] = {cpu: self._open(content, cpu)}
        self._check()

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return itself: nothing here changes, and an opened network need not be copyable."""
        del memo
        return self

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Return features of pictures in [-1, 1], grey or RGB."""
        return torch.cat([self._encode(self._prepared(part)) for part in torch.split(x, self.settings.batch_size)])

    def _prepared(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 s s"]:
        pixels = F.interpolate(
            ((x + 1) / 2).expand(-1, 3, -1, -1),
            size=(self.settings.input_size, self.settings.input_size),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        return (pixels - self.mean) / self.std

    def _encode(self, x: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n d"]:
        if x.device not in self._opened:
            self._opened[x.device] = self._open(self.settings.read(), x.device)
        try:
            found = self._opened[x.device](x)
        except (RuntimeError, AssertionError, TypeError, ValueError) as err:
            lines = str(err).strip().splitlines() or [type(err).__name__]
            msg = f"the encoder {self.settings.path} cannot take a float32 batch of shape {list(x.shape)}: {lines[-1]}"
            raise ConfigError(msg) from err
        if not isinstance(found, Tensor) or found.flatten(1).shape != (len(x), self.settings.num_features):
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            msg = (
                f"the encoder {self.settings.path} returns {shape} for {list(x.shape)}, not "
                f"[{len(x)}, {self.settings.num_features}]. Correct `num_features`, or save the part up to the features."
            )
            raise ConfigError(msg)
        return found.flatten(1).float()

    def _check(self) -> None:
        """Refuse what was exported in training mode: dropout or the batch would change a picture's features."""
        size = self.settings.input_size
        noise = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            alone, together = self._encode(noise[:1]), self._encode(noise)[:1]
        if not torch.allclose(alone, together, rtol=_ROUNDING, atol=_ROUNDING * float(together.abs().max())):
            msg = (
                f"the encoder {self.settings.path} gives a picture other features in another batch. Call .eval() on the "
                "network before you save it."
            )
            raise ConfigError(msg)

    def _open(self, content: bytes, device: torch.device) -> OpenedNetwork:
        return open_archive(content, name=str(self.settings.path), device=device)
