import numpy as np
import pytest
import torch
from torchmetrics.image.inception import InceptionScore

from aigc_pipeline.metrics.inception_score import classifier_score


@pytest.mark.filterwarnings("ignore:std")  # torchmetrics takes the deviation over its one split
@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save all")
def test_it_equals_torchmetrics_to_1e_6():
    logits = 3 * torch.randn(500, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    metric = InceptionScore(feature=torch.nn.Identity(), splits=1).set_dtype(torch.float64)
    metric.update(logits)

    assert classifier_score(logits.softmax(1).numpy()) == pytest.approx(float(metric.compute()[0]), rel=1e-6)


def test_sharp_and_even_predictions_score_the_number_of_classes():
    assert classifier_score(np.tile(np.eye(4), (5, 1))) == pytest.approx(4)


def test_one_class_alone_and_no_opinion_at_all_both_score_one():
    assert classifier_score(np.tile(np.eye(4)[0], (20, 1))) == pytest.approx(1)
    assert classifier_score(np.full((20, 4), 0.25)) == pytest.approx(1)


def test_no_sample_has_no_score():
    with pytest.raises(ValueError, match="at least one sample"):
        classifier_score(np.zeros((0, 3)))
