"""The inception score of a classifier: are its predictions sharp one by one and diverse together?

It knows no real data, so it rewards one perfect picture per class, and it is only as good as the classifier. In tables
its key is `classifier_score`: it is the Inception Score (Salimans et al. 2016) with Inception's ImageNet classes alone.
"""

import numpy as np
from numpy.typing import NDArray


def classifier_score(probabilities: NDArray[np.floating]) -> float:
    """Return exp(E KL(p(y|x) || p(y))) (Salimans et al. 2016, section 4; one split), in [1, classes].

    Args:
        probabilities: class probabilities `[n, classes]` that a named classifier gives to each sample; rows sum to 1.

    Raises:
        ValueError: if there is no row.
    """
    if not len(probabilities):
        msg = "the inception score of a classifier needs at least one sample"
        raise ValueError(msg)
    p = np.asarray(probabilities, np.float64)
    marginal = p.mean(0)
    ratio = np.divide(p, marginal, out=np.ones_like(p), where=p > 0)
    return float(np.exp((p * np.log(ratio)).sum(1).mean()))
