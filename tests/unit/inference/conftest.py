import json
from pathlib import Path

import pytest
import torch

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.generators import dump_generator, parse_generator
from aigc_pipeline.generators.weights import save_networks
from aigc_pipeline.inference.opening import OpenGenerator, open_generator
from aigc_pipeline.modalities import ImageSpec, VectorSpec

IMAGE = ImageSpec(height=8, width=8, channels=1)
VECTOR = VectorSpec(num_values=2, scale=1.5)


def write_checkpoint(folder: Path, kind: str = "r3gan", spec: SampleSpec = IMAGE, **settings: object) -> Path:
    """Lay a checkpoint of the classes cat and dog out as the train stage does."""
    folder.mkdir(parents=True)
    family = parse_generator({"kind": kind, **settings})
    networks = family.networks(spec, 2, seed=1)
    generator = torch.Generator().manual_seed(0)
    for module in networks.values():  # off the start, so that branches which begin at zero count
        for parameter in module.parameters():
            parameter.data.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    sha256 = save_networks(networks, folder / "generator.safetensors")
    (folder / "generator.json").write_text(json.dumps(dump_generator(family)))
    record = {
        "fingerprint": "f" * 64, "path": "stages/train/x", "created_by": "train@3", "family": kind,
        "spec": spec.model_dump(mode="json"), "classes": ["cat", "dog"], "samples_seen": 100, "num_threads": 1,
        "weights_sha256": sha256, "trained_on": 40, "retrained": True,
    }  # fmt: skip
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def opened(folder: Path, **arguments: float) -> OpenGenerator:
    return open_generator(folder, torch.device("cpu"), **arguments)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "workspace" / "stages" / "train" / "a")
