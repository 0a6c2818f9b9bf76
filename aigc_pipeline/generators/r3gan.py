"""R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN!"): relativistic pairing loss, R1 + R2, plain networks.

Own code from the paper. A relativistic critic has no zero and a free offset per class, so its logit
is provenance, never a probability: the post-hoc critic makes those.
"""

import math
from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.generators.adversarial import AdversarialFamily, Objective, PenaltyMode, ZeroCentered, players
from aigc_pipeline.generators.backbones import Backbone, Size, build_pair
from aigc_pipeline.generators.losses import LOSSES, LossName
from aigc_pipeline.training.loop import Phase
from aigc_pipeline.training.schedule import Cosine

_SMALL_DATA = 5_000
_DECAY_SHARE = 0.4


class R3GAN(AdversarialFamily):
    """Class-conditional GAN with a stable loss. Needs about 20 training samples a class."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"image", "vector"})
    paper: ClassVar[str] = 'Huang et al. 2024, "The GAN is dead; long live the GAN!"'
    choose_when: ClassVar[str] = "one network pass a sample, and a GPU with hours to train: a stable GAN."

    kind: Literal["r3gan"] = "r3gan"
    backbone: Backbone = "auto"
    """`auto`: `mlp` for points and pictures up to 16 px, `lite` above. `resnext` is the paper's, for GPUs."""
    size: Size = "small"
    """How wide the networks are."""
    loss: LossName = "relativistic"
    """Which adversarial loss; all keep R1 + R2."""
    penalty: PenaltyMode = "adjoint"
    """How R1 + R2 is worked out: an explicit pass, or differentiating twice (slower; the same number)."""
    batch_size: int = Field(default=64, ge=2)
    """Real samples per iteration."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Start; a cosine takes it to a fifth over the first 40 % of training. None means 2e-4 for `resnext`, else 1e-3."""
    gamma: float | None = Field(default=None, gt=0)
    """Weight of R1 + R2 at the start; it falls to a tenth over the same time, or rises eightfold below 5,000 training samples.
    None means 0.05 at 32 px, less for smaller and more for larger samples."""
    augment_probability: float | None = Field(default=None, ge=0, le=1)
    """Fixed probability of differentiable augmentation. None adapts it to how well D knows its samples by heart, from
    0.3 below 5,000 training samples and from 0 above."""
    ema_half_life_samples: float = Field(default=500_000, ge=0)
    """Memory of the averaged generator, at most 5 % of the samples seen."""

    @property
    def adapts_augmentation(self) -> bool:
        """True where no fixed probability is set."""
        return self.augment_probability is None

    @property
    def samples_side_by_side(self) -> bool:
        """False for `resnext`: its large blocks are fetched anew in every thread, and two chunks at once are slower."""
        return self.backbone != "resnext"

    def networks(self, spec: SampleSpec, num_classes: int, seed: int) -> dict[str, nn.Module]:
        """Return `generator` and `discriminator`."""
        return build_pair(self.backbone, self.size, spec, num_classes, seed)

    def phases(self, spec: SampleSpec, num_train: int) -> list[Phase]:
        """Return one discriminator and one generator step."""
        penalty = ZeroCentered(self._gamma(spec, num_train), self.penalty)
        objective = Objective(LOSSES[self.loss], penalty, self.augment_probability)
        start = self.learning_rate or (2e-4 if self.backbone == "resnext" else 1e-3)
        rate = Cosine(start, start / 5, _DECAY_SHARE)
        beta2 = Cosine(0.9, 0.99, _DECAY_SHARE)
        return players(objective, rate, beta1=0.0, beta2=beta2)

    def _gamma(self, spec: SampleSpec, num_train: int) -> Cosine:
        """0.05 at 32 px, growing with side ** 3.1; falling to a tenth, but rising eightfold on small data."""
        side = math.sqrt(math.prod(spec.shape[1:])) if len(spec.shape) > 1 else 32
        start = self.gamma if self.gamma is not None else 0.05 * (side / 32) ** 3.1
        return Cosine(start, start * 8 if num_train < _SMALL_DATA else start / 10, _DECAY_SHARE)
