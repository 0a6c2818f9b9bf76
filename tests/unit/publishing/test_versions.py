import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from aigc_pipeline.core.errors import PublishError
from aigc_pipeline.core.store import Store
from aigc_pipeline.publishing.history import history_of
from aigc_pipeline.publishing.versions import claim, find_published, point_latest, resolve, seal, verify
from aigc_pipeline.records import Manifest


def build(folder, fingerprint="f"):
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    seal(folder, {"fingerprint": fingerprint})
    return folder


def test_concurrent_writers_get_their_own_gapless_numbers(tmp_path):
    built = [build(tmp_path / f"built-{i}", str(i)) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda folder: claim(folder, tmp_path / "versions"), built))

    assert sorted(path.name for path in claimed) == [f"v{i:04d}" for i in range(1, 9)]
    fingerprints = {json.loads((path / "version.json").read_text())["fingerprint"] for path in claimed}
    assert len(fingerprints) == 8


def test_a_published_fingerprint_is_found_again(tmp_path):
    place = claim(build(tmp_path / "built"), tmp_path / "versions")

    assert find_published(tmp_path / "versions", "f") == place
    assert find_published(tmp_path / "versions", "g") is None


@pytest.mark.parametrize("damage", [lambda file: file.write_text("b"), lambda file: file.unlink()])
def test_a_changed_or_missing_file_is_named(tmp_path, damage):
    folder = build(tmp_path / "built")
    verify(folder)
    damage(folder / "a.txt")

    with pytest.raises(PublishError, match=r"a\.txt"):
        verify(folder)


def test_a_workspace_means_its_latest_version_even_with_a_stale_hint(tmp_path):
    first = claim(build(tmp_path / "one"), tmp_path / "versions")
    second = claim(build(tmp_path / "two"), tmp_path / "versions")
    point_latest(tmp_path / "versions", second)

    assert resolve(tmp_path) == second
    assert resolve(first) == first
    (tmp_path / "LATEST.json").write_text(json.dumps({"version": "v9999"}))
    assert resolve(tmp_path) == second


def test_no_version_says_what_to_do(tmp_path):
    with pytest.raises(PublishError, match="aigc run"):
        resolve(tmp_path)


def test_archives_and_notes_beside_the_versions_are_left_alone(tmp_path):
    place = claim(build(tmp_path / "built"), tmp_path / "versions")
    (tmp_path / "versions" / "v0009.tar.gz").write_bytes(b"")
    (tmp_path / "versions" / "v-notes").mkdir()

    assert find_published(tmp_path / "versions", "g") is None
    assert resolve(tmp_path) == place


def test_version_10000_comes_after_9999(tmp_path):
    for number in (9_999, 10_000):
        build(tmp_path / "versions" / f"v{number}")

    assert resolve(tmp_path).name == "v10000"


def test_the_number_of_a_removed_version_is_not_given_again(tmp_path):
    place = claim(build(tmp_path / "one"), tmp_path / "versions")
    point_latest(tmp_path / "versions", place)
    shutil.rmtree(place)

    assert claim(build(tmp_path / "two"), tmp_path / "versions").name == "v0002"


def test_the_number_of_a_removed_version_is_not_given_again_after_an_earlier_one_became_the_latest(tmp_path):
    first = claim(build(tmp_path / "one"), tmp_path / "versions")
    second = claim(build(tmp_path / "two"), tmp_path / "versions")
    for version in (second, first):
        point_latest(tmp_path / "versions", version)
    shutil.rmtree(second)

    assert resolve(tmp_path) == first
    assert claim(build(tmp_path / "three"), tmp_path / "versions").name == "v0003"


def test_a_manifest_whose_version_was_removed_does_not_answer(tmp_path):
    store = Store(tmp_path)
    manifest = Manifest(
        fingerprint="f", path="stages/publish/f", created_by="publish@1", version="v0001", directory="versions/v0001",
        table_sha256="0", num_real=1, num_synthetic=0, num_recommended=0, reason="", sentence="",
    )  # fmt: skip
    place = claim(build(tmp_path / "built"), tmp_path / "versions")
    with store.open_partial("publish", "f"):
        store.commit("publish", "f", manifest)

    assert store.find("publish", "f", Manifest) == manifest
    shutil.rmtree(place)
    assert store.find("publish", "f", Manifest) is None


@pytest.mark.parametrize("name", ["v0002", "vacation"])
def test_a_folder_without_its_version_file_is_no_version(tmp_path, name):
    first = claim(build(tmp_path / "one"), tmp_path / "versions")
    (tmp_path / "versions" / name).mkdir()

    assert find_published(tmp_path / "versions", "g") is None
    assert resolve(tmp_path) == first


@pytest.mark.parametrize("hint", ["", "[1]", '{"version": ""}', '{"version": "vacation"}', '{"highest": "v2"}'])
def test_a_damaged_hint_leads_to_the_highest_number(tmp_path, hint):
    claim(build(tmp_path / "one"), tmp_path / "versions").rename(tmp_path / "versions" / "v9999")
    last = claim(build(tmp_path / "two"), tmp_path / "versions")
    (tmp_path / "LATEST.json").write_text(hint)

    assert last.name == "v10000"
    assert resolve(tmp_path) == last


def test_a_history_needs_versions_and_names_a_damaged_one(tmp_path):
    with pytest.raises(PublishError, match="no published version in"):
        history_of(tmp_path)
    version = tmp_path / "versions" / "v0001"
    version.mkdir(parents=True)
    (version / "version.json").write_text("{}")

    with pytest.raises(PublishError, match=r"cannot read .*v0001"):
        history_of(tmp_path)
