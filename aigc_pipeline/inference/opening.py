"""Find and open a checkpoint: a train stage's folder, a published version, or a workspace (its newest)."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from aigc_pipeline.core.errors import CheckpointError, ConfigError
from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.core.store import Store
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.generators import Generator, built_in, read_generator
from aigc_pipeline.generators.base import LatentFamily
from aigc_pipeline.generators.conditions import CLASS, Conditions, conditions_of
from aigc_pipeline.generators.recipe import CHECKPOINT_WEIGHTS
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.generators.weights import load_networks
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.publishing.lineage import LINEAGE_FILE, Lineage
from aigc_pipeline.records import Checkpoint
from aigc_pipeline.training.loop import Networks

SETTINGS = "generator.json"


@dataclass(frozen=True)
class OpenGenerator:
    """A family with its trained networks."""

    family: Generator
    networks: dict[str, nn.Module]
    checkpoint: Checkpoint
    folder: Path
    device: torch.device

    @property
    def spec(self) -> SampleSpec:
        """What its samples look like."""
        return self.checkpoint.spec

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label."""
        return self.checkpoint.classes

    @property
    def conditions(self) -> Conditions | None:
        """What the networks are told; None: the class."""
        return conditions_of(self.checkpoint)

    @property
    def num_conditions(self) -> int:
        """Rows of the networks' tables."""
        return len(self.conditions or self.classes)

    def told_of(self, class_name: str) -> int:
        """Return what the networks are told about a typical sample of a class: its most frequent condition.

        Raises:
            ConfigError: as `label_of`.
        """
        label = self.label_of(class_name)
        return self.conditions.largest(label) if self.conditions else label

    def label_of(self, class_name: str) -> int:
        """Return the label of a class.

        Raises:
            ConfigError: if the checkpoint does not know it, or its generator was not told classes.
        """
        if self.conditions is not None and CLASS not in self.conditions.told:
            told = ",".join(self.conditions.told)
            msg = f"this generator was not told classes (train.condition_on is [{told}]): it cannot be asked for one."
            raise ConfigError(msg)
        if class_name not in self.classes:
            msg = f"the checkpoint {self.folder.name[:12]} has no class '{class_name}'. It knows {', '.join(self.classes)}."
            raise ConfigError(msg)
        return self.classes.index(class_name)

    def synthesizer(self) -> Synthesizer:
        """Return what makes samples without any dataset.

        Raises:
            ConfigError: for a family that deforms real parents.
        """
        if self.family.uses_parents:
            msg = (
                f"'{self.family.kind}' varies real samples, which a checkpoint does not hold. Run the pipeline on the "
                "dataset instead (aigc run)."
            )
            raise ConfigError(msg)
        none = modality_of(self.spec).from_tensor(torch.zeros(0, *self.spec.shape), self.spec)
        empty = LabelledCells([], np.zeros(0, np.int64), none)
        return Synthesizer(self.family, self.networks, self.spec, empty, frozenset(), self.device, self.conditions)

    def latent_family(self, purpose: str) -> LatentFamily:
        """Return the family as a function of one latent.

        Raises:
            ConfigError: for a family that is none.
        """
        if not isinstance(self.family, LatentFamily):
            able = ", ".join(each.model_fields["kind"].default for each in built_in() if issubclass(each, LatentFamily))
            msg = (
                f"'{self.family.kind}' is no function of one latent and cannot be {purpose}. Families that can: {able}."
            )
            raise ConfigError(msg)
        return self.family


def open_generator(place: Path, device: torch.device, truncation: float = 1.0) -> OpenGenerator:
    """Open the checkpoint at `place`.

    Raises:
        CheckpointError: if there is none, its family cannot be opened, or its weights are not those of its record.
        ConfigError: if the truncation is outside (0, 1], or the family is no function of one latent.
    """
    folder = find_checkpoint(place)
    checkpoint = Checkpoint.load(folder / "record.json")
    family = read_generator(folder / SETTINGS)
    networks = load_networks(
        family, folder / CHECKPOINT_WEIGHTS, spec=checkpoint.spec, num_classes=len(checkpoint.conditions or checkpoint.classes),
        sha256=checkpoint.weights_sha256, device=device,
    )  # fmt: skip
    opened = OpenGenerator(family, networks, checkpoint, folder, device)
    if truncation == 1.0:
        return opened
    if not 0 < truncation <= 1:
        msg = f"the truncation must be above 0 and at most 1, not {truncation}"
        raise ConfigError(msg)
    truncated = opened.latent_family("truncated").truncated(truncation)
    return replace(opened, family=truncated)  # type: ignore[arg-type] # the same family


def find_checkpoint(place: Path) -> Path:
    """Return the folder of the checkpoint that `place` means.

    Raises:
        CheckpointError: if there is none.
        PublishError: if a version's lineage cannot be read.
        WorkspaceError: if the workspace's last record of a training cannot be read.
    """
    if (place / SETTINGS).exists():
        return place
    if (place / LINEAGE_FILE).exists():
        lineage = Lineage.read(place)
        found = lineage.folder("checkpoint")
        if not found.is_dir():
            raise CheckpointError(lineage.gone("train"))
    else:  # the last commit may say that an earlier checkpoint still serves: the record knows where that lies
        last = Store(place, read_only=True).previous("train", Checkpoint)
        found = place / last.path if last is not None else place
    if not (found / SETTINGS).exists():
        msg = f"there is no finished training at {place}. Name a workspace, a version in one, or a folder under stages/train."
        raise CheckpointError(msg)
    return found


def decode(opened: OpenGenerator, networks: Networks, z: Tensor, labels: Tensor) -> Tensor:
    """Return samples of given latents, in float32."""
    with torch.no_grad():
        return opened.latent_family("decoded").decode(networks, z, labels).float()
