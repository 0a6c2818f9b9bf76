import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.generators import WeightsFile
from aigc_pipeline.generators.contract import CHECKS
from aigc_pipeline.generators.recipe import Recipe
from aigc_pipeline.modalities import ImageSpec, VectorSpec
from aigc_pipeline.stages.plan import PlanConfig, _plan_class
from tests.conftest import needs_exports

SPEC = ImageSpec(height=8, width=8, channels=1)
LATENTS = 16


class Tiny(nn.Module):
    """A generator of pictures of `side` px."""

    def __init__(self, side: int = 8, channels: int = 1, factor: float = 1.0) -> None:
        super().__init__()
        self.side, self.channels, self.factor = side, channels, factor
        torch.manual_seed(0)
        self.embed = nn.Embedding(5, LATENTS)
        self.layer = nn.Linear(LATENTS, channels * side * side)

    def forward(self, z, labels):
        x = torch.tanh(self.layer(z + self.embed(labels))) * self.factor
        return x.reshape(-1, self.channels, self.side, self.side)


def write(file: Path, network: nn.Module) -> Path:
    batch = torch.export.Dim("batch", min=1, max=4096)
    example = (torch.zeros(2, LATENTS), torch.zeros(2, dtype=torch.long))
    shapes = {"z": {0: batch}, "labels": {0: batch}}
    torch.export.save(torch.export.export(network.eval(), example, dynamic_shapes=shapes), file)
    return file


def write_scripted(file: Path, network: nn.Module) -> Path:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit")
        torch.jit.save(torch.jit.script(network.eval()), file)
    return file


@pytest.fixture(params=[pytest.param(write, marks=needs_exports), write_scripted], ids=["torch.export", "TorchScript"])
def save(request) -> Callable[[Path, nn.Module], Path]:
    return request.param


def family(file: Path, **settings: object) -> WeightsFile:
    return WeightsFile(path=file, latent_size=LATENTS, **settings)


@pytest.fixture
def pipeline(tmp_path) -> Path:
    """A diffusers pipeline with fresh weights in a local folder."""
    diffusers = pytest.importorskip("diffusers", reason="the extra `diffusers` is not installed")
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def draw(generator: WeightsFile, labels: list[int], spec=SPEC) -> torch.Tensor:
    networks = generator.networks(spec, 2, seed=0)
    return generator.sample(networks, range(len(labels)), torch.tensor(labels), spec=spec).x


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_the_contract_of_every_family(check, save, tmp_path):
    check(family(save(tmp_path / "generator", Tiny())), SPEC, tmp_path)


def test_samples_are_the_files_own(save, tmp_path):
    network = Tiny()
    made = draw(family(save(tmp_path / "generator", network)), [0, 1])
    z = torch.stack([torch.randn(LATENTS, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)])

    torch.testing.assert_close(made, network(z, torch.tensor([0, 1])), atol=1e-6, rtol=0)


def test_classes_are_mapped_to_the_files_labels(save, tmp_path):
    file = save(tmp_path / "generator", Tiny())

    torch.testing.assert_close(draw(family(file, labels=(3, 4)), [0, 1]), draw(family(file), [3, 4]))
    with pytest.raises(ConfigError, match="labels has 1 entries, but the dataset has 2 classes"):
        draw(family(file, labels=(3,)), [0])


@pytest.mark.parametrize(("side", "channels", "wanted"), [(16, 3, (1, 8, 8)), (8, 1, (3, 8, 8)), (12, 1, (1, 20, 10))])
def test_pictures_are_brought_to_the_specs_size_and_channels(side, channels, wanted, save, tmp_path):
    spec = ImageSpec(height=wanted[1], width=wanted[2], channels=wanted[0])

    made = draw(family(save(tmp_path / "generator", Tiny(side, channels))), [0, 1], spec)

    assert made.shape == (2, *wanted)


def test_pictures_from_zero_to_one_are_stretched(save, tmp_path):
    file = save(tmp_path / "generator", Tiny())

    torch.testing.assert_close(draw(family(file, value_range="unit"), [0]), 2 * draw(family(file), [0]) - 1)


def test_another_file_is_another_generator(tmp_path):
    first, second = (family(write(tmp_path / f"{i}.pt2", Tiny(factor=i + 1.0))) for i in range(2))

    assert first.sha256 != second.sha256
    assert first.digest() != second.digest()
    with pytest.raises(ValidationError, match="it is another one"):
        family(first.path, sha256=second.sha256)
    with pytest.raises(ValidationError, match="cannot read the generator"):
        family(tmp_path / "nothing.pt2")


def test_a_file_that_changes_during_a_run_is_refused(tmp_path):
    generator = family(write(tmp_path / "g.pt2", Tiny()))
    generator.path.write_bytes(b"something else")

    with pytest.raises(ConfigError, match="has changed since the run began"):
        draw(generator, [0])


@pytest.mark.parametrize(
    ("network", "spec", "said"),
    [
        (Tiny(factor=float("nan")), SPEC, "not finite"),
        (Tiny(), VectorSpec(num_values=64, scale=1.0), r"returned \[1, 1, 8, 8\]"),
    ],
)
def test_what_is_no_sample_is_refused(network, spec, said, save, tmp_path):
    with pytest.raises(ConfigError, match=said):
        draw(family(save(tmp_path / "generator", network)), [0], spec)


def test_latents_of_the_wrong_size_are_named(save, tmp_path):
    generator = WeightsFile(path=save(tmp_path / "generator", Tiny()), latent_size=LATENTS + 1)

    with pytest.raises(ConfigError, match=rf"cannot take latents \[1, {LATENTS + 1}\].*train.generator.latent_size"):
        draw(generator, [0])


def test_labels_that_the_file_does_not_have_are_refused(save, tmp_path):
    generator = family(save(tmp_path / "generator", Tiny()), labels=(3, 9))

    with pytest.raises(ConfigError, match=r"and labels: .*out of range"):
        draw(generator, [0, 1])


@pytest.mark.parametrize(("channels", "wanted"), [(2, 1), (2, 3), (4, 1), (4, 3)])
def test_only_grey_and_rgb_are_turned_into_each_other(channels, wanted, save, tmp_path):
    spec = ImageSpec(height=8, width=8, channels=wanted)

    with pytest.raises(ConfigError, match=f"pictures of {channels} channels, the dataset has {wanted}"):
        draw(family(save(tmp_path / "generator", Tiny(8, channels))), [0], spec)


def test_small_classes_are_generated_because_knowledge_comes_from_outside(tmp_path):
    recipe = Recipe(generator=family(write(tmp_path / "g.pt2", Tiny())))

    assert _plan_class("c", 3, 95, PlanConfig(), recipe).method == "generate"


def test_a_folder_needs_diffusers_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")

    with pytest.raises(ConfigError, match=r"pip install 'aigc-pipeline\[diffusers\]'"):
        draw(family(tmp_path / "pipeline"), [0])


def test_a_local_diffusers_pipeline_makes_samples_that_depend_on_their_seed_alone(pipeline):
    generator = family(pipeline, num_steps=2)

    together, alone = draw(generator, [0, 1, 0]), draw(generator, [1])

    assert together.shape == (3, 1, 8, 8)
    torch.testing.assert_close(together[:1], alone)
    assert not torch.equal(together[0], together[2])


def test_the_range_of_a_pipelines_pictures_is_known(pipeline):
    made = [draw(family(pipeline, num_steps=2, value_range=each), [0]) for each in ("symmetric", "unit")]

    torch.testing.assert_close(*made)


def test_a_pipeline_that_takes_class_labels_is_told_them(tmp_path, monkeypatch):
    class Conditional:
        """Draws pictures that are as bright as their label."""

        def to(self, device):
            del device
            return self

        def set_progress_bar_config(self, **settings):
            del settings

        @torch.no_grad()  # as diffusers wraps every pipeline
        def __call__(self, class_labels, generator, num_inference_steps, output_type):
            del generator, num_inference_steps, output_type
            return SimpleNamespace(images=np.full((1, 8, 8, 1), class_labels[0], np.float32))

    library = SimpleNamespace(DiffusionPipeline=SimpleNamespace(from_pretrained=lambda *_, **__: Conditional()))
    monkeypatch.setitem(sys.modules, "diffusers", library)
    (tmp_path / "model_index.json").write_text("{}")

    made = draw(family(tmp_path), [0, 1])

    assert made.mean((1, 2, 3)).tolist() == [-1, 1]


def test_a_folder_that_changes_during_a_run_is_refused(pipeline):
    generator = family(pipeline, num_steps=2)
    (pipeline / "more.txt").write_text("new")

    with pytest.raises(ConfigError, match="has changed since the run began"):
        draw(generator, [0])
