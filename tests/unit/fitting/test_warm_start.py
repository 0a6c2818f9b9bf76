import json

import pytest
import torch
from pydantic import ValidationError

from aigc_pipeline.core.errors import CheckpointError
from aigc_pipeline.fitting.warm_start import start_warm
from aigc_pipeline.generators import DCGAN, R3GAN
from aigc_pipeline.generators.recipe import WarmStart
from aigc_pipeline.generators.weights import save_networks
from aigc_pipeline.modalities import ImageSpec

SPEC = ImageSpec(height=8, width=8, channels=1)


@pytest.fixture
def donor(tmp_path):
    """Return the folder of a checkpoint of the classes cat, dog and fox."""
    networks = R3GAN().networks(SPEC, 3, seed=1)
    save_networks(networks, tmp_path / "generator.safetensors")
    record = {"family": "r3gan", "classes": ["cat", "dog", "fox"], "samples_seen": 1_000}
    (tmp_path / "record.json").write_text(json.dumps(record))
    return tmp_path, networks


def test_weights_are_taken_over_and_class_rows_go_by_name(donor):
    folder, source = donor
    networks = R3GAN().networks(SPEC, 2, seed=2)

    fresh = networks["generator"].embed.weight[1].clone()

    said = start_warm(networks, WarmStart(path=folder), R3GAN(), ("fox", "hen"))

    rows, known = networks["generator"].embed.weight, source["generator"].embed.weight
    assert torch.equal(networks["discriminator"].enter.weight, source["discriminator"].enter.weight)
    assert torch.equal(rows[0], known[2])
    assert torch.equal(rows[1], fresh)
    assert "1 of 2 classes known" in said


def test_another_family_or_size_is_refused(donor):
    folder, _ = donor
    with pytest.raises(CheckpointError, match="a checkpoint of 'r3gan', not of 'dcgan'"):
        start_warm(DCGAN().networks(SPEC, 2, seed=2), WarmStart(path=folder), DCGAN(), ("fox", "hen"))

    with pytest.raises(CheckpointError, match=r"generator\.enter\.weight of shape"):
        start_warm(R3GAN(size="tiny").networks(SPEC, 2, seed=2), WarmStart(path=folder), R3GAN(), ("fox", "hen"))


def test_settings_record_the_weights_they_name_and_refuse_others(donor):
    folder, _ = donor
    settings = WarmStart(path=folder)

    assert len(settings.sha256) == 64
    assert WarmStart.model_validate(settings.model_dump()) == settings
    with pytest.raises(ValidationError, match="it is another checkpoint"):
        WarmStart(path=folder, sha256="0" * 64)
    with pytest.raises(ValidationError, match="Name the folder of a finished train stage"):
        WarmStart(path=folder / "nowhere")
