"""Which samples fit the critic, which prove it, and what an unproven critic may do. The steps are tested in `judging`."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from aigc_pipeline.gates import FilterPolicy, RejectionSampling
from aigc_pipeline.judging.fitting import Fitting
from aigc_pipeline.stages import calibrate as stage
from tests.unit.judging.test_fitting import CALIBRATION, SELECTION, fitting

NONE = SELECTION.take(np.zeros(0, np.int64))


@pytest.fixture
def with_d_logit():
    """Whether the critic read the discriminator's logit, a fit each."""
    return []


@pytest.fixture
def calibrated(context, store, monkeypatch, with_d_logit):
    """Run the stage on these roles; returns the judge and the ids that the critic was fitted and proven on."""
    steps = fitting(store)

    def run(calibration=CALIBRATION, selection=SELECTION, *, change=lambda health: health):
        seen = {}
        roles = {"calibration": calibration, "selection": selection}
        monkeypatch.setattr(stage, "load_cells", lambda file: roles[file.stem])
        monkeypatch.setattr(stage, "open_synthesizer", lambda *_: steps.synthesizer)
        monkeypatch.setattr(stage, "open_bench", lambda *_: steps.bench)
        critic, health = Fitting.critic, Fitting.health

        def fit(self, state, reals, *args, **settings):
            seen["fit"] = reals.ids
            with_d_logit.append(settings["use_d_logit"])
            return critic(self, state, reals, *args, **settings)

        def prove(self, state, reals):
            seen["proof"] = reals.ids
            return change(health(self, state, reals))

        monkeypatch.setattr(Fitting, "critic", fit)
        monkeypatch.setattr(Fitting, "health", prove)
        splits = SimpleNamespace(path="splits", **vars(steps.splits))
        policy = FilterPolicy(gates=(RejectionSampling(relaxes=False),))
        planned = SimpleNamespace(with_classic=False)
        return stage.calibrate(context, stage.CalibrateConfig(), policy, planned, splits, None, None), seen

    return run


def test_the_critic_is_fitted_on_calibration_samples_and_proven_on_selection_samples(calibrated):
    judge, seen = calibrated()

    assert seen == {"fit": CALIBRATION.ids, "proof": SELECTION.ids}
    assert (judge.critic_mode, judge.num_proof) == ("calibration", len(SELECTION))
    assert judge.filters_by_probability
    assert judge.keep_share == 0.5
    assert judge.acceptance == pytest.approx(dict.fromkeys("abc", 0.5), abs=0.12)


def test_a_critic_that_nothing_proved_filters_nothing(calibrated, recording_reporter):
    judge, _ = calibrated(selection=NONE)

    assert not judge.filters_by_probability
    assert (judge.num_proof, judge.auc, judge.trade, judge.keep_share) == (0, None, (), None)
    assert set(judge.acceptance.values()) == {1}
    assert any("no selection samples to prove the critic on" in note for note in recording_reporter.notes)


@pytest.mark.parametrize("change", [{"complaints": ("too good",)}, {"is_informative": False}])
def test_a_critic_with_a_complaint_or_without_information_filters_nothing(calibrated, change):
    judge, _ = calibrated(change=lambda health: replace(health, **change))

    assert not judge.filters_by_probability
    assert judge.healthy is ("complaints" not in change)
    assert set(judge.acceptance.values()) == {1}


@pytest.mark.parametrize(("num_calibration", "mode"), [(60, "calibration"), (59, "crossfit")])
def test_the_discriminator_is_read_only_where_it_saw_none_of_the_samples_that_fit_the_critic(
    calibrated, with_d_logit, num_calibration, mode
):
    """It learned its training samples by heart: on them its logit tells them from any other."""
    some = np.linspace(0, len(CALIBRATION) - 1, num_calibration).astype(np.int64)
    judge, _ = calibrated(calibration=CALIBRATION.take(some))

    assert judge.critic_mode == mode
    assert with_d_logit == [mode == "calibration"]
