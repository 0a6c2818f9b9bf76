import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, precision_recall_fscore_support

from aigc_pipeline.metrics import classification
from aigc_pipeline.metrics.classification import scores_of

LABELS = np.random.default_rng(0).integers(0, 5, 200)
GUESSES = np.where(np.random.default_rng(1).random(200) < 0.6, LABELS, np.random.default_rng(2).integers(0, 5, 200))
CASES = {
    "all classes": (GUESSES, LABELS, 5),
    "a class that is never predicted": (np.where(GUESSES == 3, 0, GUESSES), LABELS, 5),
    "a class that neither occurs nor is predicted": (GUESSES, LABELS, 7),
    "always the same class": (np.zeros(200, np.int64), LABELS, 5),
}


@pytest.mark.parametrize("case", CASES)
def test_scores_equal_sklearn(case):
    predicted, labels, num_classes = CASES[case]
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    expected = {
        "accuracy": accuracy_score(labels, predicted),
        "balanced_accuracy": balanced_accuracy_score(labels, predicted),
        "macro_precision": precision,
        "macro_recall": recall,
        "macro_f1": f1,
    }

    assert scores_of(predicted, labels, num_classes) == pytest.approx(expected, rel=1e-12)


def test_a_class_that_is_predicted_but_does_not_occur_lowers_macro_scores_as_in_sklearn():
    predicted, labels = np.array([0, 1, 2, 2]), np.array([0, 1, 1, 0])
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    found = scores_of(predicted, labels, 3)

    assert (found["macro_precision"], found["macro_recall"], found["macro_f1"]) == pytest.approx(
        (precision, recall, f1), rel=1e-12
    )
    assert found["balanced_accuracy"] == pytest.approx(0.5)


def test_scores_of_several_seeds_are_the_mean_over_seeds():
    both = np.stack([LABELS, GUESSES])

    for name, value in scores_of(both, LABELS, 5).items():
        assert value == pytest.approx((1 + scores_of(GUESSES, LABELS, 5)[name]) / 2)


def test_the_confusion_matrix_equals_sklearn():
    found = classification.confusion_matrix(GUESSES, LABELS, 5)

    assert (found == confusion_matrix(LABELS, GUESSES)).all()
