import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.reporting import LogReporter
from aigc_pipeline.tracking import TrackingReporter, tracked


def make_png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def report(reporter) -> None:
    for step in (64, 128):
        reporter.metric("train/loss", 1.0 / step, step)
    reporter.image("samples after 1,024", make_png())
    reporter.stage("train", "finished", 1.0)


def test_tensorboard_keeps_curves_by_samples_seen_and_grids_as_one_series(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    report(tracked(LogReporter(), ["tensorboard"], tmp_path))

    (folder,) = (tmp_path / "tracking" / "tensorboard").iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [(each.step, each.value) for each in events.Scalars("train/loss")] == [
        (64, pytest.approx(1 / 64)),
        (128, pytest.approx(1 / 128)),
    ]
    assert events.Tags()["images"] == ["samples"]
    assert events.Images("samples")[0].step == 128


def test_a_run_that_trains_nothing_leaves_nothing_behind(tmp_path):
    reporter = tracked(LogReporter(), ["tensorboard"], tmp_path)
    reporter.stage("plan", "finished", 1.0)
    reporter.note("nothing to do")

    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_loses_no_point_of_its_curves(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    code = f"""
from pathlib import Path
from aigc_pipeline.tracking import TrackingReporter
reporter = TrackingReporter("tensorboard", Path({str(tmp_path)!r}))
for step in range(50):
    reporter.metric("train/loss", 1.0, step)
raise SystemExit(1)
"""
    subprocess.run([sys.executable, "-c", code], check=False)

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [each.step for each in events.Scalars("train/loss")] == list(range(50))


def test_no_tools_leave_the_reporter_as_it_is(tmp_path):
    reporter = LogReporter()

    assert tracked(reporter, [], tmp_path) is reporter


def test_a_tool_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("aigc_pipeline.tracking.find_spec", lambda _name: None)

    with pytest.raises(ConfigError, match=r"pip install 'aigc-pipeline\[wandb\]'"):
        tracked(LogReporter(), ["wandb"], tmp_path)


def test_wandb_works_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    reporter = TrackingReporter("wandb", tmp_path / "run")

    report(reporter)

    assert list((tmp_path / "run").rglob("*.wandb"))


def test_a_second_run_in_one_process_is_a_run_of_its_own_in_wandb(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")

    for name in ("first", "second"):
        report(TrackingReporter("wandb", tmp_path / name))

    assert list((tmp_path / "first").rglob("*.wandb"))
    assert list((tmp_path / "second").rglob("*.wandb"))


def test_mlflow_works_without_a_server(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    reporter = TrackingReporter("mlflow", tmp_path / "run")

    report(reporter)

    client = mlflow.tracking.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("aigc_pipeline").experiment_id])
    points = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(each.step, each.value) for each in points] == [(64, 1 / 64), (128, 1 / 128)]
    assert [Path(each.path).suffix for each in client.list_artifacts(run.info.run_id)] == [".png"]
    assert run.info.status == "FINISHED"
