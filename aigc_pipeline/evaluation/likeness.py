"""How like real data are they: fidelity in the judge encoder, the referee's opinion, and are they copies?"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.evaluation.material import Flags, Material
from aigc_pipeline.features.neighbours import nearest
from aigc_pipeline.features.stored import LabelledFeatures
from aigc_pipeline.metrics.classification import scores_of
from aigc_pipeline.metrics.fidelity import (
    NEIGHBOURS,
    Row,
    common_counts,
    compare,
    compare_per_class,
    draw,
)
from aigc_pipeline.metrics.inception_score import classifier_score
from aigc_pipeline.metrics.memorisation import Copying, authenticity, copying
from aigc_pipeline.metrics.screening import Limits, Screening, screen
from aigc_pipeline.records import Estimate


def measure_fidelity(material: Material, num_draws: int) -> dict[str, Estimate]:
    """Compare before, after and real-vs-real with hold-out reals at equal n and equal class mix."""
    seed, classes = material.context.seed, material.num_classes
    return compare(material.unseen(), _sets(material), num_classes=classes, num_draws=num_draws, seed=seed)


def measure_classes(material: Material) -> list[Row]:
    """Compare class by class: one row per class and set."""
    names, seed = material.splits.classes, material.context.seed
    return compare_per_class(material.unseen(), _sets(material), class_names=names, seed=seed)


def _sets(material: Material) -> dict[str, LabelledFeatures]:
    return {
        "before": material.features_of(material.own_method),
        "after": material.features_of(material.good),
        "real": LabelledFeatures(material.judge_features["train"], material.roles["train"].labels),
    }


def ask_referee(material: Material) -> dict[str, Estimate]:
    """Return what the label referee (trained on real, tested on synthetic: TRTS) says; nothing without a class head."""
    if not material.encoder.has_head:
        return {}
    sets = {"before": material.own_method, "after": material.good}
    cells = {name: material.candidates.take(np.flatnonzero(rows)) for name, rows in sets.items()}
    cells["real"] = material.all_but("train", "test")
    estimates: dict[str, Estimate] = {}
    for name, samples in cells.items():
        if len(samples):
            logits = material.encoder.encode_with_logits(samples.cells)[1]
            scores = scores_of(logits.argmax(1), samples.labels, material.num_classes)
            scores["classifier_score"] = classifier_score(softmax(logits.astype(np.float64), axis=1))
            named = {key if key == "classifier_score" else f"trts_{key}": value for key, value in scores.items()}
            estimates |= {f"{key}/{name}": Estimate(value=value, n=len(samples)) for key, value in named.items()}
    return estimates


def screen_for_copies(material: Material, limits: Limits, *, unseen: NDArray[np.float64]) -> Screening:
    """Screen generated candidates that declare no parent for copies, one by one and as a set.

    Args:
        unseen: near-copy distances of unseen reals to the training split, which the judge has measured.
    """
    generated = material.is_parentless
    if not generated.any():
        return Screening(False, None, {}, None)
    threshold = material.table["copy_threshold"].to_numpy()
    is_copy = material.table["train_distance"].to_numpy() <= threshold
    kept = generated & material.good
    return screen(is_copy[generated], is_copy[kept], unseen <= threshold[0], _copying(material, kept), limits)


def measure_authenticity(material: Material) -> dict[str, Estimate]:
    """Return the share of authentic samples among parentless generated ones, and among unseen reals as the baseline."""
    kept = material.is_parentless & material.good
    features = {"after": material.candidate_features[kept], "real": material.unseen().features}
    train = material.judge_features["train"]
    return authenticity(features, train) if kept.any() and len(train) > 1 else {}


def _copying(material: Material, kept: Flags) -> Copying | None:
    """Return C_T in the judge encoder; hold-out reals and accepted samples at the same class mix."""
    unseen, labels = material.unseen(), material.candidates.labels[kept]
    counts = common_counts([unseen.labels, labels], material.num_classes)
    if counts.sum() <= 2 * NEIGHBOURS:
        return None
    generator = numpy_generator(material.context.seed, "copying")
    real = unseen.features[draw(unseen.labels, counts, generator)]
    fake = material.candidate_features[kept][draw(labels, counts, generator)]
    train = material.judge_features["train"]
    return copying(nearest(fake, train, 1)[0][:, 0], nearest(real, train, 1)[0][:, 0])
