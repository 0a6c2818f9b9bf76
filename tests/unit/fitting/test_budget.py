import pytest
import torch

from aigc_pipeline.fitting import budget
from aigc_pipeline.fitting.budget import Speed, measure_speed
from aigc_pipeline.fitting.quality import NUM_FAKES
from aigc_pipeline.fitting.watching import GRID_SIZE, REPORT_SAMPLES
from aigc_pipeline.generators.synthesis import Synthesizer


def test_time_for_looks_is_taken_from_training():
    speed = Speed(trained=1_000, drawn=1_000)

    total = speed.affordable(0.1, 60)

    looks = 10 * NUM_FAKES / 1_000 + total / REPORT_SAMPLES * GRID_SIZE / 1_000
    assert total / 1_000 + looks == pytest.approx(60, abs=0.01)
    assert speed.seconds(0.1, total) == pytest.approx(60, abs=0.01)


def test_without_looks_all_time_is_training_but_for_reports():
    speed = Speed(trained=1_000, drawn=1e12)

    assert speed.affordable(0, 60) == pytest.approx(60_000, abs=1)


def test_however_dear_looks_are_training_gets_half_of_the_time():
    speed = Speed(trained=1e12, drawn=5_000)

    assert speed.affordable(0.05, 1) == pytest.approx(0.5 / (GRID_SIZE / REPORT_SAMPLES / 5_000), rel=0.01)


@pytest.mark.parametrize(("drawn", "looks"), [(10_000, 20), (100, 6), (5, 1)])
def test_looks_are_so_few_that_they_take_half_of_the_time_at_most(drawn, looks):
    speed = Speed(trained=1_000, drawn=drawn)

    share = speed.validate_share(0.05, 60)

    assert share == pytest.approx(1 / looks)
    if looks > 1:
        assert speed.seconds(share, speed.affordable(share, 60)) == pytest.approx(60, abs=0.01)
    assert speed.validate_share(0.0, 60) == 0


def test_speed_is_measured_on_copies(synthesizer):
    before = {name: value.clone() for name, value in synthesizer.networks["generator"].state_dict().items()}

    speed = measure_speed(synthesizer, seed=0)

    assert speed.trained > 0
    assert speed.drawn > 0
    assert all(value.equal(before[name]) for name, value in synthesizer.networks["generator"].state_dict().items())


@pytest.mark.parametrize(("num_gpus", "share"), [(1, 64), (2, 32), (3, 22)])
def test_speed_is_measured_as_one_of_the_gpus_will_train(num_gpus, share, synthesizer, monkeypatch):
    trained_by = []
    monkeypatch.setattr(budget, "train", lambda *given: trained_by.append(given[3]))
    monkeypatch.setattr(budget, "_fastest", lambda work, _: work(3))

    speed = measure_speed(synthesizer, seed=0, precision=torch.bfloat16, num_gpus=num_gpus)

    (settings,) = trained_by
    assert (settings.total_samples, settings.batch_size, settings.precision) == (3 * share, share, torch.bfloat16)
    assert speed.trained == 3 * 64  # whole batches


@pytest.mark.parametrize(("threads", "chunks"), [(1, 1), (3, 3), (8, 4)])
def test_drawing_is_measured_on_as_many_chunks_as_are_made_at_once(threads, chunks, synthesizer, monkeypatch):
    before, drawn = torch.get_num_threads(), []
    make = Synthesizer.make
    monkeypatch.setattr(Synthesizer, "make", lambda self, orders: drawn.append(len(orders)) or make(self, orders))
    monkeypatch.setattr(budget, "train", lambda *_: None)
    monkeypatch.setattr(budget, "_fastest", lambda work, _: work(2))
    torch.set_num_threads(threads)
    try:
        speed = measure_speed(synthesizer, seed=0)
    finally:
        torch.set_num_threads(before)

    assert drawn == [64 * chunks] * 2
    assert speed.drawn == sum(drawn)


def test_the_fastest_of_several_probes_counts(monkeypatch):
    """A busy moment must not decide how long is trained."""
    clock, seconds = [0.0], iter([0.4, 0.1, 0.8, 0.4, *[0.4] * 20])

    def work(times: int) -> int:
        clock[0] += times * next(seconds)
        return 100 * times

    monkeypatch.setattr(budget.time, "monotonic", lambda: clock[0])

    assert budget._fastest(work, torch.device("cpu")) == pytest.approx(1_000)
