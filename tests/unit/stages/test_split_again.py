"""What the stage keeps from run to run of one workspace, on a real folder: roles, the spec, and when both are new."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigc_pipeline.config import load_config
from aigc_pipeline.core.context import Context
from aigc_pipeline.core.samples import ROLES
from aigc_pipeline.core.strict import digest_of
from aigc_pipeline.data.shards import read_table
from aigc_pipeline.pipeline import StageCaller
from aigc_pipeline.records import DatasetSplits
from aigc_pipeline.stages.clean import clean
from aigc_pipeline.stages.ingest import ingest, list_source
from aigc_pipeline.stages.split import split


def add(folder: Path, numbers: range, *, side: int = 8, channels: int = 3) -> None:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            pixels = np.random.default_rng([number, name == "cat"]).integers(0, 256, (side, side, channels), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture
def folder(tmp_path):
    add(tmp_path / "pictures", range(8))
    return tmp_path / "pictures"


@pytest.fixture
def split_of(folder, store):
    def run(**settings: object) -> DatasetSplits:
        config = load_config(source=folder, overrides=[f"split.{name}={value}" for name, value in settings.items()])
        call = StageCaller.of(config, Context(store, config.seed), None)
        raw = call(ingest, config.ingest, list_source(config.ingest))
        return call(split, config.split, raw, call(clean, config.clean, raw))

    return run


@pytest.fixture
def stored(store):
    """Read a file of a split."""
    return lambda splits, name: read_table(store.workspace / splits.path / f"{name}.arrow").to_pandas()


def test_a_file_that_is_gone_keeps_its_role_for_the_day_it_comes_back(folder, split_of, stored):
    first = stored(split_of(), "assignments")
    (folder / "cat" / "0.png").unlink()

    assert stored(split_of(), "assignments").equals(first)


def test_a_file_that_moved_to_another_class_is_another_split_in_the_same_role(folder, split_of, stored):
    first = split_of()
    (folder / "cat" / "0.png").rename(folder / "dog" / "moved.png")
    moved = split_of()

    assert moved.fingerprint != first.fingerprint
    assert stored(moved, "assignments").equals(stored(first, "assignments"))
    assert moved.class_counts != first.class_counts


def test_the_spec_is_that_of_the_training_role_alone(folder, tmp_path, split_of):
    add(tmp_path / "large", range(100, 140), side=64)
    for part, source in (("train", folder), ("test", tmp_path / "large")):
        (tmp_path / "parted").mkdir(exist_ok=True)
        source.rename(tmp_path / "parted" / part)
    (tmp_path / "parted").rename(folder)
    splits = split_of()

    assert splits.num_samples("test") == 80
    assert (splits.spec.height, splits.spec.width) == (8, 8)


@pytest.mark.parametrize(("settings", "shape"), [({"size": 16}, (3, 16, 16)), ({"keep_alpha": True}, (4, 8, 8))])
def test_a_spec_that_was_asked_for_otherwise_is_another_one_and_another_split(folder, split_of, settings, shape):
    add(folder, range(8), channels=4)
    first = split_of()
    other = split_of(**settings)

    assert first.spec.shape == (3, 8, 8)
    assert other.spec.shape == shape
    assert other.fingerprint != first.fingerprint


def test_growth_is_counted_from_the_samples_that_the_spec_was_fitted_on(folder, split_of, stored):
    fitted = stored(split_of(refit_after=0.9), "trained_on")
    add(folder, range(100, 102))
    split_of(refit_after=0.9)
    add(folder, range(102, 104))

    assert stored(split_of(refit_after=0.9), "trained_on").equals(fitted)
    refitted = split_of(refit_after=0)
    assert set(stored(refitted, "trained_on")["sample_id"]) == set(stored(refitted, "train")["sample_id"])
    assert len(stored(refitted, "train")) > len(fitted)


def test_roles_are_disjoint_and_the_digest_of_the_test_role_is_that_of_its_samples(split_of, stored):
    splits = split_of()
    ids = {role: stored(splits, role)["sample_id"].tolist() for role in ROLES}

    every = [each for role in ROLES for each in ids[role]]
    assert len(set(every)) == len(every) == 16
    assert splits.test_digest == digest_of(sorted(ids["test"]))
