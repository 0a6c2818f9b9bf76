import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from aigc_pipeline.core.errors import CheckpointError, ConfigError
from aigc_pipeline.fitting import warm_start
from aigc_pipeline.fitting.told import Told
from aigc_pipeline.fitting.warm_start import start_warm
from aigc_pipeline.generators import DCGAN, R3GAN, FlowMatching
from aigc_pipeline.generators.conditions import Conditions
from aigc_pipeline.generators.recipe import Recipe, WarmStart
from aigc_pipeline.generators.weights import save_networks
from aigc_pipeline.modalities import ImageSpec
from aigc_pipeline.records import Condition
from tests.unit.fitting.conftest import make_points

SPEC = ImageSpec(height=8, width=8, channels=1)


@pytest.fixture
def donor(tmp_path):
    """Return the folder of a checkpoint of the classes cat, dog and fox."""
    networks = R3GAN().networks(SPEC, 3, seed=1)
    lay_down(tmp_path, networks, classes=["cat", "dog", "fox"])
    return tmp_path, networks


def lay_down(folder, networks, **record):
    save_networks(networks, folder / "generator.safetensors")
    (folder / "record.json").write_text(json.dumps({"family": "r3gan", "samples_seen": 1_000} | record))


def test_weights_are_taken_over_and_class_rows_go_by_name(donor):
    folder, source = donor
    networks = R3GAN().networks(SPEC, 2, seed=2)

    fresh = networks["generator"].embed.weight[1].clone()

    said = start_warm(networks, WarmStart(path=folder), R3GAN(), ("fox", "hen"))

    rows, known = networks["generator"].embed.weight, source["generator"].embed.weight
    assert torch.equal(networks["discriminator"].enter.weight, source["discriminator"].enter.weight)
    assert torch.equal(rows[0], known[2])
    assert torch.equal(rows[1], fresh)
    assert "1 of 2 classes known, new: hen" in said


def test_names_to_freeze_that_no_parameter_begins_with_are_refused(donor):
    networks = R3GAN().networks(SPEC, 3, seed=2)
    settings = WarmStart(path=donor[0], frozen=("discriminator.enter", "denoiser.before"))

    with pytest.raises(ConfigError, match=r"frozen names \['denoiser.before'\].* begin with discriminator\."):
        start_warm(networks, settings, R3GAN(), ("cat", "dog", "fox"))


def test_the_row_of_no_class_is_taken_over_as_well(tmp_path):
    source = FlowMatching().networks(SPEC, 3, seed=1)
    lay_down(tmp_path, source, family="flow_matching", classes=["cat", "dog", "fox"])
    networks = FlowMatching().networks(SPEC, 2, seed=2)
    fresh = networks["denoiser"].condition.embed.weight[1].clone()

    start_warm(networks, WarmStart(path=tmp_path), FlowMatching(), ("fox", "hen"))

    rows, known = (each["denoiser"].condition.embed.weight for each in (networks, source))
    assert torch.equal(rows[0], known[2])
    assert torch.equal(rows[1], fresh)
    assert torch.equal(rows[2], known[3])


def test_rows_of_a_conditioned_donor_go_by_the_names_of_its_conditions(tmp_path):
    source = R3GAN().networks(SPEC, 3, seed=1)
    conditions = [
        {"class_counts": [30, 0], "attributes": {}},
        {"class_counts": [30, 0], "attributes": {"site": "n"}},
        {"class_counts": [0, 30], "attributes": {"site": "n"}},
    ]
    lay_down(tmp_path, source, classes=["cat", "dog"], condition_on=["class", "site"], conditions=conditions)
    networks = R3GAN().networks(SPEC, 3, seed=2)
    fresh = networks["generator"].embed.weight[2].clone()

    said = start_warm(networks, WarmStart(path=tmp_path), R3GAN(), ("cat", "dog site=n", "dog"))

    rows, known = (each["generator"].embed.weight for each in (networks, source))
    assert torch.equal(rows[0], known[0])
    assert torch.equal(rows[1], known[2])
    assert torch.equal(rows[2], fresh)
    assert "2 of 3 classes known, new: dog" in said


def test_a_class_that_the_donor_was_told_with_attributes_alone_is_not_known(tmp_path):
    conditions = [
        {"class_counts": [30, 0], "attributes": {}},
        {"class_counts": [0, 30], "attributes": {"site": "n"}},
    ]
    networks = R3GAN().networks(SPEC, 2, seed=1)
    lay_down(tmp_path, networks, classes=["cat", "dog"], condition_on=["class", "site"], conditions=conditions)

    recipe = Recipe(generator=R3GAN(), warm_start=WarmStart(path=tmp_path))

    assert recipe.knows({"cat"})
    assert not recipe.knows({"dog"})
    assert recipe.knows({"cat", "dog site=n"})
    assert not Recipe(generator=R3GAN()).knows({"cat"})


def test_a_class_is_named_by_all_that_its_training_samples_are_told():
    rows = [
        Condition(class_counts=(30, 0), attributes={}),
        Condition(class_counts=(0, 9), attributes={}),
        Condition(class_counts=(0, 30), attributes={"site": "n"}),
    ]
    conditions, points = Conditions(("class", "site"), tuple(rows)), make_points()
    told = Told(points, points, conditions.names(("cat", "dog")), conditions.classes, conditions)
    plain = Told(points, points, ("cat", "dog"), np.arange(2), None)

    assert [told.names_of(label) for label in (0, 1)] == [{"cat"}, {"dog", "dog site=n"}]
    assert plain.names_of(1) == {"dog"}


def test_stored_rows_move_to_the_device_of_the_networks(donor, monkeypatch):
    folder, _ = donor
    networks = {name: module.to("meta") for name, module in R3GAN().networks(SPEC, 2, seed=2).items()}
    devices = set()
    monkeypatch.setattr(warm_start, "_by_name", lambda source, fresh, *_: devices.add(source.device.type) or fresh)

    start_warm(networks, WarmStart(path=folder), R3GAN(), ("fox", "hen"))

    assert devices == {"meta"}


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
    (folder / "record.json").unlink()
    with pytest.raises(ValidationError, match=r"cannot read .*record\.json"):
        WarmStart(path=folder)
