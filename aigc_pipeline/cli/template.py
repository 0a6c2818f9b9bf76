"""The files of a new family: text with `@NAME@`, `@CLASS@` and `@PACKAGE@` to be filled in."""

FILES = {
    "pyproject.toml": """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "aigc-@NAME@"
version = "0.1.0"
dependencies = ["aigc-pipeline"]

[project.entry-points."aigc_pipeline.generators"]
@NAME@ = "@PACKAGE@:@CLASS@"

[tool.setuptools.packages.find]
where = ["src"]
""",
    "README.md": """
# @NAME@: a generator family for aigc_pipeline

In the environment of aigc_pipeline: `python -m pip install -e . pytest`, and `aigc generators` lists it; `python -m pytest`
runs the contract that every family keeps. Then `aigc run DIR -o train.generator.kind=@NAME@ -o train.generator.hidden=256`.
""",
    "src/@PACKAGE@/__init__.py": '''
"""A decoder of latents per class, trained to give the batch back from codes that are matched to it: replace it with yours."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from aigc_pipeline.generators import Family, Synthesis
from aigc_pipeline.generators.base import latents
from aigc_pipeline.training.loop import Phase
from aigc_pipeline.training.schedule import constant
from pydantic import Field
from torch import nn


class @CLASS@(Family):
    """Frozen settings with pure verbs: networks, phases, sample. Each field is a setting that users can give."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"image", "vector"})
    paper: ClassVar[str] = "IMLE: Li & Malik 2018, Implicit maximum likelihood estimation"
    choose_when: ClassVar[str] = "say here, in one sentence, when to choose it."

    kind: Literal["@NAME@"] = "@NAME@"
    hidden: int = Field(default=128, ge=8)
    """Width of the hidden layer."""
    latent_size: int = Field(default=16, ge=1)
    """Dimensions of the latent."""
    batch_size: int = Field(default=64, ge=2)
    """Real samples per step."""
    ema_half_life_samples: float = Field(default=10_000, ge=0)
    """Memory of the averaged network."""

    def networks(self, spec, num_classes, seed):
        """Return freshly initialized networks by name."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return {"generator": Decoder(spec.shape, num_classes, self.hidden, self.latent_size)}

    def phases(self, spec, num_train):
        """Return the steps of one iteration: name, networks that move, loss, learning rate."""
        return [Phase("generator", ("generator",), self._loss, constant(1e-3))]

    def sample(self, networks, seeds: Sequence[int], labels, *, spec, parents=None):
        """Return one sample per seed: it depends on its own seed and label alone."""
        return Synthesis(networks["generator"](latents(seeds, self.latent_size, labels.device), labels))

    def _loss(self, networks, batch):
        """Pull, for every real sample, the nearest fake of its class in the batch towards it."""
        fake = networks["generator"](batch.draws.normal(self.latent_size), batch.labels)
        distance = torch.cdist(batch.x.flatten(1), fake.flatten(1)).square()
        other_class = batch.labels[:, None] != batch.labels[None, :]
        nearest = distance.masked_fill(other_class, float("inf")).amin(1)
        return nearest.mean() / batch.x[0].numel(), {}


class Decoder(nn.Module):
    """Latent and label to a sample."""

    def __init__(self, shape, num_classes: int, hidden: int, latent_size: int) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(num_classes, latent_size)
        size = torch.Size(shape).numel()
        self.layers = nn.Sequential(nn.Linear(2 * latent_size, hidden), nn.ReLU(), nn.Linear(hidden, size))

    def forward(self, z, labels):
        """Return samples in the networks' range: about [-1, 1] for pictures."""
        return self.layers(torch.cat([z, self.embed(labels)], 1)).reshape(-1, *self.shape)
''',
    "tests/test_@NAME@.py": """
from aigc_pipeline.generators.contract import check_family
from @PACKAGE@ import @CLASS@


def test_it_keeps_the_contract_of_every_family(tmp_path):
    check_family(@CLASS@(), tmp_path)
""",
}
