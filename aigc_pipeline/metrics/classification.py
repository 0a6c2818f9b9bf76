"""Accuracy, precision, recall and F1 of a classifier, averaged over classes so that a rare one counts as much as any."""

import numpy as np
from numpy.typing import NDArray


def scores_of(predicted: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int) -> dict[str, float]:
    """Return accuracy, balanced accuracy, and macro precision, recall and F1, each in [0, 1], averaged over seeds.

    Args:
        predicted: `[seeds, items]` or `[items]`.
        labels: `[items]`; balanced accuracy is the mean recall of the classes that occur in it.

    A class that is never predicted has precision 0; one that neither occurs nor is predicted does not count.
    """
    rows = [_scores(each, labels, num_classes) for each in np.atleast_2d(predicted)]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def confusion_matrix(predicted: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Return counts `[true class, predicted class]`."""
    flat = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).astype(np.int64)


def _scores(predicted: NDArray[np.int64], labels: NDArray[np.int64], num_classes: int) -> dict[str, float]:
    counts = confusion_matrix(predicted, labels, num_classes)
    hits, given, said = np.diag(counts), counts.sum(1), counts.sum(0)
    known = (given + said) > 0
    recall = hits / np.maximum(given, 1)
    return {
        "accuracy": float(hits.sum() / len(labels)),
        "balanced_accuracy": float(recall[given > 0].mean()),
        "macro_precision": float((hits / np.maximum(said, 1))[known].mean()),
        "macro_recall": float(recall[known].mean()),
        "macro_f1": float((2 * hits / np.maximum(given + said, 1))[known].mean()),
    }
