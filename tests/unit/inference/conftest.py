import json
from pathlib import Path

import pytest
import torch

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.generators import dump_generator, parse_generator
from aigc_pipeline.generators.conditions import Conditions
from aigc_pipeline.generators.weights import save_networks
from aigc_pipeline.inference.opening import OpenGenerator, open_generator
from aigc_pipeline.modalities import ImageSpec, VectorSpec
from aigc_pipeline.records import Condition

IMAGE = ImageSpec(height=8, width=8, channels=1)
VECTOR = VectorSpec(num_values=2, scale=1.5)
CLASSES = ("cat", "dog")


TOLD_NOTHING = Conditions((), (Condition(class_counts=(20, 20), attributes={}),))
TOLD_SITES = Conditions(
    ("class", "site"),
    tuple(Condition(class_counts=counts, attributes={"site": site}) for counts in ((20, 0), (0, 20)) for site in "ns"),
)


def write_checkpoint(
    folder: Path,
    kind: str = "r3gan",
    spec: SampleSpec = IMAGE,
    *,
    conditions: Conditions | None = None,
    **settings: object,
) -> Path:
    """Lay a checkpoint of the classes cat and dog out as the train stage does."""
    folder.mkdir(parents=True)
    family = parse_generator({"kind": kind, **settings})
    networks = family.networks(spec, len(conditions or CLASSES), seed=1)
    generator = torch.Generator().manual_seed(0)
    for module in networks.values():  # off the start, so that branches which begin at zero count
        for parameter in module.parameters():
            parameter.data.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    sha256 = save_networks(networks, folder / "generator.safetensors")
    (folder / "generator.json").write_text(json.dumps(dump_generator(family)))
    record = {
        "fingerprint": "f" * 64, "path": f"stages/train/{folder.name}", "created_by": "train@3", "family": kind,
        "spec": spec.model_dump(mode="json"), "classes": CLASSES, "samples_seen": 100, "num_threads": 1,
        "weights_sha256": sha256, "trained_on": 40, "retrained": True,
    }  # fmt: skip
    if conditions is not None:
        rows = [row.model_dump(mode="json") for row in conditions.rows]
        record |= {"condition_on": conditions.told, "conditions": rows}
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def opened(folder: Path, **arguments: float) -> OpenGenerator:
    return open_generator(folder, torch.device("cpu"), **arguments)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = write_checkpoint(tmp_path / "workspace" / "stages" / "train" / "a")
    (folder.parent / "LATEST").write_text(folder.name)
    return folder
