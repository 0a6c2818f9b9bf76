import pytest

from aigc_pipeline.records import Estimate, Verdict
from aigc_pipeline.stages.publish import row_weight


@pytest.mark.parametrize(("dose", "loss_weight"), [(0.25, 0.5), (0.5, 1.0), (0.1, 0.25)])
def test_published_weights_give_synthetic_rows_the_share_of_the_loss_that_was_measured(dose, loss_weight):
    verdict = Verdict(
        outcome="helps", sentence="", baseline="real", uplift=Estimate(value=0.1, n=9), standard_error=0.01,
        smallest_detectable=0.03, alpha=0.025, test_opening=1, dose=dose, loss_weight=loss_weight,
    )  # fmt: skip
    num_real, num_synthetic = 679, 446

    total = num_synthetic * row_weight(verdict, num_real, num_synthetic)

    assert total / (num_real + total) == pytest.approx(dose * loss_weight / (1 - dose + dose * loss_weight))


def test_nothing_tested_leaves_the_weight_alone():
    assert row_weight(None, 679, 446) == 1
