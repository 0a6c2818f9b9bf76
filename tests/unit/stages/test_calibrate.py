import numpy as np
import pytest

from aigc_pipeline.stages.calibrate import CalibrateConfig, _complaints, _constant

HEALTHY = {"auc": 0.8, "z": 0.5, "mean_ratio": 1.1, "effective_share": 0.4}


def test_a_healthy_critic_has_no_complaint():
    assert _complaints(HEALTHY, CalibrateConfig()) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"auc": 0.97}, "separates real from generated"),
        ({"z": -4.0}, "not calibrated"),
        ({"mean_ratio": 0.3}, "mean density ratio"),
        ({"effective_share": 0.02}, "handful of modes"),
    ],
)
def test_each_failed_check_blocks_with_its_number_and_a_remedy(change, said):
    (complaint,) = _complaints(HEALTHY | change, CalibrateConfig())

    assert said in complaint
    assert any(remedy in complaint for remedy in ("Train longer", "check the source"))


def test_the_budget_refers_to_survivors_unless_they_are_too_few():
    ratio = np.r_[np.full(50, 2.0), np.full(50, 0.5)]
    in_class, survivors = np.ones(100, bool), np.arange(100) < 50

    assert _constant(ratio, in_class, survivors, 0.5) == pytest.approx(0.25)
    assert _constant(ratio, in_class, np.arange(100) < 5, 0.5) == pytest.approx(
        _constant(ratio, in_class, in_class, 0.5)
    )
