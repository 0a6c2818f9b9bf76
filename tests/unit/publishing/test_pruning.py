import json
import os
import time

import pytest

from aigc_pipeline.core.errors import LockedError, PublishError, WorkspaceError
from aigc_pipeline.core.records import Record
from aigc_pipeline.core.store import exclusive
from aigc_pipeline.publishing.pruning import DAYS_TO_RESUME, prune
from aigc_pipeline.publishing.versions import claim, point_latest, seal


@pytest.fixture
def commit(store):
    """A factory: commits a result of a stage, whose files may lie in an earlier one."""

    def make(stage, fingerprint, path=""):
        with store.open_partial(stage, fingerprint) as partial:
            (partial / "data").write_bytes(b"x" * 1000)
            record = Record(fingerprint=fingerprint, path=path or f"stages/{stage}/{fingerprint}", created_by=stage)
            store.commit(stage, fingerprint, record)
        return store.directory(stage, fingerprint)

    return make


@pytest.fixture
def publish(store, tmp_path):
    """A factory: publishes a version that was made from some stages' results."""

    def make(**folders):
        built = tmp_path / "built"
        built.mkdir()
        paths = {name: {"path": folder.relative_to(store.workspace).as_posix()} for name, folder in folders.items()}
        (built / "lineage.json").write_text(json.dumps({"records": paths, "seed": 0, "environment": {}}))
        seal(built, {"fingerprint": "f"})
        version = claim(built, store.workspace / "versions")
        point_latest(store.workspace / "versions", version)
        return version

    return make


def pruned(store, keep_versions=None):
    """Return what goes, after a look that must remove nothing."""
    looked = prune(store.workspace, keep_versions=keep_versions, remove=False)
    assert all(each.folder.is_dir() for each in looked)
    found = prune(store.workspace, keep_versions=keep_versions, remove=True)
    assert found == looked
    assert not any(each.folder.exists() for each in found)
    return found


def test_what_each_stage_committed_last_stays_with_the_folder_that_holds_its_files(store, commit):
    trained, older = commit("train", "a"), commit("train", "b")
    serving = commit("train", "c", path="stages/train/a")

    [gone] = pruned(store)

    assert (gone.what, gone.folder) == ("results of train", older)
    assert gone.num_bytes > 1000
    assert store.previous("train", Record).fingerprint == "c"
    assert trained.exists()
    assert serving.exists()
    assert pruned(store) == []


def test_versions_keep_what_rebuilding_scoring_and_sampling_read_of_them(store, commit, publish):
    names = {"splits": "split", "planned": "plan", "embeddings": "embed", "checkpoint": "train", "judge": "calibrate"}
    needed = {name: commit(stage, "old") for name, stage in names.items()}
    not_needed = commit("score", "old")
    publish(**needed, filtered=not_needed)
    for stage in (*names.values(), "score"):
        commit(stage, "new")

    assert [each.folder for each in pruned(store)] == [not_needed]
    assert all(folder.exists() for folder in needed.values())


def test_old_versions_go_with_their_stages_where_a_number_to_keep_is_named(store, commit, publish):
    old = commit("train", "a")
    versions = [
        publish(checkpoint=old),
        publish(checkpoint=commit("train", "b")),
        publish(checkpoint=commit("train", "c")),
    ]

    assert [each.folder for each in pruned(store, keep_versions=2)] == [versions[0], old]
    assert [each.exists() for each in versions] == [False, True, True]


def test_the_latest_version_stays_though_newer_ones_exist(store, commit, publish):
    fit = commit("train", "a")
    versions = [publish(checkpoint=fit) for _ in range(3)]
    point_latest(store.workspace / "versions", versions[0])

    assert [each.folder for each in pruned(store, keep_versions=1)] == [versions[1]]


def test_a_killed_run_can_be_resumed_for_a_week(store, commit):
    commit("train", "done")
    for name, days in (("fresh", DAYS_TO_RESUME - 1), ("given-up", DAYS_TO_RESUME + 1)):
        with store.open_partial("train", name) as partial:
            (partial / "state").write_bytes(b"")
        for each in (partial / "state", partial):
            os.utime(each, (time.time() - days * 86_400,) * 2)

    [gone] = pruned(store)

    assert (gone.what, gone.folder.name) == ("killed runs", "given-up.partial")


def test_what_an_interrupted_removal_left_goes_and_is_never_taken_for_a_result(store, commit, monkeypatch):
    commit("train", "a")
    commit("train", "b")

    def interrupted(_folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prune(store.workspace, keep_versions=None, remove=True)

    assert store.find("train", "a", Record) is None
    assert [each.what for each in pruned(store)] == ["half removed"]
    assert sorted(each.name for each in (store.workspace / "stages" / "train").iterdir()) == [".lock", "LATEST", "b"]


def test_nothing_goes_while_a_run_works(store, commit):
    commit("split", "a")
    commit("train", "a")
    commit("train", "b")

    with exclusive(store.workspace / "stages" / "split" / ".lock", what="a stage"), pytest.raises(LockedError):
        prune(store.workspace, keep_versions=None, remove=True)

    assert store.find("train", "a", Record) is not None


def test_a_version_that_stays_and_cannot_be_read_stops_it(store, commit, publish):
    commit("train", "a")
    version = publish(checkpoint=commit("train", "b"))
    (version / "lineage.json").write_text("{")

    with pytest.raises(PublishError, match=r"lineage\.json.*Nothing was removed"):
        prune(store.workspace, keep_versions=None, remove=True)

    assert store.find("train", "a", Record) is not None


def test_a_folder_that_is_no_workspace_is_named(tmp_path):
    with pytest.raises(WorkspaceError, match="nowhere"):
        prune(tmp_path / "nowhere", keep_versions=None, remove=True)

    assert not (tmp_path / "nowhere").exists()
