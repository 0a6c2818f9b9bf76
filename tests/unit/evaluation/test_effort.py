import time
from pathlib import Path
from types import SimpleNamespace

from aigc_pipeline.core.context import RuntimeConfig
from aigc_pipeline.evaluation import effort
from aigc_pipeline.stages.evaluate import EvaluateConfig
from aigc_pipeline.training import probe


def test_the_speed_of_a_training_counts_what_a_gpu_has_still_to_do(monkeypatch):
    queued: list[int] = []
    monkeypatch.setattr(probe, "_PROBE_SECONDS", 0.1)
    monkeypatch.setattr(effort, "load_cells", lambda _: [])
    monkeypatch.setattr(effort, "fit_downstream", lambda *_, budget, **_more: queued.append(budget.total_samples))
    monkeypatch.setattr(probe, "wait_for", lambda _: time.sleep(queued.pop() / 6_400))
    context = SimpleNamespace(runtime=RuntimeConfig(device="cpu", threads=1), files_of=lambda _: Path(), seed=0)
    splits = SimpleNamespace(classes=("a", "b"), spec=SimpleNamespace(shape=(2,)))

    speed = effort._samples_per_second(context, EvaluateConfig().question(), splits)

    assert speed <= 6_400


def test_the_curves_of_classes_whose_recall_rises_count_among_the_trainings():
    splits = SimpleNamespace(
        classes=tuple("abcd"), class_counts={"train": (9, 9, 9, 9)}, num_samples=lambda role: 36 * (role == "train")
    )
    planned = SimpleNamespace(with_classic=False, want=lambda: {"a": 1})

    def count(shares: tuple[float, ...]) -> int:
        return effort.count_trainings(EvaluateConfig(learning_shares=shares).question(), splits, planned)

    assert count((0.5, 0.75)) - count(()) == 5 * 2 * (1 + 3)  # seeds, shares, the curve of all and of three classes
