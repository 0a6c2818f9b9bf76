import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from aigc_pipeline.core.errors import PublishError
from aigc_pipeline.publishing.versions import claim, find_published, point_latest, resolve, seal, verify


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
