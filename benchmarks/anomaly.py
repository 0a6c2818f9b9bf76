"""Does `aigc score` find what was never trained on? One class is left out, and its samples are mixed with unseen reals.

The encoder is trained on the other classes alone, for a short time. Reported is the AUROC of the left-out class against
test reals of known classes, beside an isolation forest and a local outlier factor (scikit-learn) on the same features.
The signs and their sum were chosen on seeds 0 and 1 of the digits and on 120 MNIST pictures per class; here other
seeds and other MNIST files are used.

    python benchmarks/anomaly.py [--mnist FOLDER] [--seeds N]     # about 2 minutes for the digits on one core

FOLDER has train/0 .. train/9. Writes benchmarks/results/anomaly.json; datasets that were not run keep their numbers.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from aigc_pipeline.anomaly import Scale, Signs, read_signs
from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.features import Classifier, FittedEncoder
from aigc_pipeline.features.views import first_view
from aigc_pipeline.modalities import ImageSpec, modality_of
from aigc_pipeline.scorers import TrainReference
from aigc_pipeline.training.loop import Hooks

RESULT = Path(__file__).parent / "results" / "anomaly.json"
FIRST_SEED = 10
SHARES = (0.6, 0.7, 0.8)  # train, selection and calibration end here; the rest is test
MNIST_CLASSES, MNIST_FROM, MNIST_PER_CLASS = (2, 4, 8), 1_000, 120
TOTAL_SAMPLES = 12_000
ALARM = 0.05
OURS = "sum of three signs (aigc score)"


@dataclass(frozen=True)
class World:
    """All samples of a dataset, and the classes that are left out in turn."""

    name: str
    spec: ImageSpec
    cells: pa.Array
    labels: NDArray[np.int64]
    left_out: tuple[int, ...]


@dataclass(frozen=True)
class Trial:
    """One class left out, one seed."""

    left_out: int
    seed: int
    accuracy: float
    """Of the referee, on test reals of known classes."""
    auroc: dict[str, float]
    alarms_known: float
    """Share of test reals of known classes with p of at most 0.05; about 0.05 when p is valid."""
    alarms_left_out: float


def digits() -> World:
    """Return scikit-learn's digits, 1,797 pictures of 8x8 px."""
    dataset = load_digits()
    pixels = np.rint(dataset.images[..., None] * 255 / 16).astype(np.uint8)
    labels = dataset.target.astype(np.int64)
    return World("digits", ImageSpec(height=8, width=8, channels=1), cells_from_numpy(pixels), labels, tuple(range(10)))


def mnist(folder: Path) -> World:
    """Return a subset of MNIST at 28x28 px."""
    spec = ImageSpec(height=28, width=28, channels=1)
    files = [
        (file.read_bytes(), digit)
        for digit in range(10)
        for file in sorted((folder / "train" / str(digit)).iterdir())[MNIST_FROM : MNIST_FROM + MNIST_PER_CLASS]
    ]
    cells = modality_of(spec).decode([content for content, _ in files], spec)
    return World("mnist", spec, cells, np.array([digit for _, digit in files], np.int64), MNIST_CLASSES)


def trial(world: World, left_out: int, seed: int) -> Trial:
    """Train without a class; see how well each method finds it."""
    known = np.flatnonzero(world.labels != left_out)
    numpy_generator(seed, "split").shuffle(known)
    train, selection, calibration, test = np.split(known, [int(share * len(known)) for share in SHARES])
    classes = np.unique(world.labels[known])
    encoder = Classifier(total_samples=TOTAL_SAMPLES).fit(
        take(world, train, classes), take(world, selection, classes),
        spec=world.spec, num_classes=len(classes), seed=seed, device=torch.device("cpu"), hooks=Hooks(),
    )  # fmt: skip
    reference = reference_of(world, train, encoder)

    def signs(rows: NDArray[np.int64]) -> Signs:
        return read_signs(world.cells.take(pa.array(rows)), encoder, reference)

    outside = np.flatnonzero(world.labels == left_out)
    scale = Scale.of(signs(np.concatenate([selection, calibration])))
    asked = signs(np.concatenate([test, outside]))
    is_outside = np.arange(len(test) + len(outside)) >= len(test)
    assert asked.logits is not None
    alarms = scale.p_value(asked) <= ALARM
    pixels = first_view(world.cells.take(pa.array(np.concatenate([test, outside]))), world.spec)
    scores = {OURS: scale.unlikeness(asked), **one_sign(asked), **baselines(asked.features, reference.features, seed)}
    scores["isolation forest on pixels"] = forest(pixels, reference.view, seed)
    return Trial(
        left_out,
        seed,
        float((classes[asked.logits.argmax(1)] == world.labels[np.concatenate([test, outside])])[~is_outside].mean()),
        {name: float(roc_auc_score(is_outside, values)) for name, values in scores.items()},
        float(alarms[~is_outside].mean()),
        float(alarms[is_outside].mean()),
    )


def take(world: World, rows: NDArray[np.int64], classes: NDArray[np.int64]) -> LabelledCells:
    """Return samples with labels renumbered over the known classes."""
    labels = np.searchsorted(classes, world.labels[rows])
    return LabelledCells([str(row) for row in rows], labels, world.cells.take(pa.array(rows)))


def reference_of(world: World, train: NDArray[np.int64], encoder: FittedEncoder) -> TrainReference:
    """Return what samples are compared with."""
    cells = world.cells.take(pa.array(train))
    features = encoder.encode(cells)
    return TrainReference([str(row) for row in train], first_view(cells, world.spec), features, features)


def one_sign(signs: Signs) -> dict[str, NDArray[np.floating]]:
    """Return each sign by itself."""
    assert signs.doubt is not None
    return {
        "angle to the nearest": signs.angle,
        "near-copy distance": signs.train_distance,
        "referee's doubt": signs.doubt,
        "5th neighbour (ood_p)": signs.knn_distance,
    }


def baselines(
    features: NDArray[np.floating], train: NDArray[np.floating], seed: int
) -> dict[str, NDArray[np.floating]]:
    """Return scikit-learn's detectors, fitted on the training features."""
    lof = LocalOutlierFactor(novelty=True).fit(train)
    return {
        "isolation forest, same features": forest(features, train, seed),
        "local outlier factor, same features": -lof.score_samples(features),
    }


def forest(queries: NDArray[np.floating], train: NDArray[np.floating], seed: int) -> NDArray[np.floating]:
    """Return an isolation forest's scores; larger is more anomalous."""
    return np.asarray(-IsolationForest(random_state=seed).fit(train).score_samples(queries))


def summary(trials: Sequence[Trial]) -> dict[str, dict[str, float]]:
    """Return, per method, mean and smallest AUROC and in how many trials ours was better."""
    return {
        name: {
            "mean": float(np.mean([each.auroc[name] for each in trials])),
            "standard_error": float(np.std([each.auroc[name] for each in trials], ddof=1) / np.sqrt(len(trials))),
            "smallest": min(each.auroc[name] for each in trials),
            "ours_better_in": sum(each.auroc[OURS] > each.auroc[name] for each in trials),
            "trials": len(trials),
        }
        for name in trials[0].auroc
    }


def report(world: World, trials: Sequence[Trial], seconds: float) -> dict[str, object]:
    """Print one dataset's table and return what is stored of it."""
    methods = summary(trials)
    print(f"\n{world.name}: AUROC over {len(trials)} trials, {seconds:.0f} s")
    for name, numbers in sorted(methods.items(), key=lambda item: -item[1]["mean"]):
        won = "" if name == OURS else f"   ours better in {numbers['ours_better_in']} of {len(trials)}"
        print(
            f"  {name:<36}{numbers['mean']:.4f} +- {numbers['standard_error']:.4f}  min {numbers['smallest']:.3f}{won}"
        )
    known, outside = (
        float(np.mean([getattr(each, name) for each in trials])) for name in ("alarms_known", "alarms_left_out")
    )
    print(f"  p <= {ALARM}: {known:.1%} of unseen reals of known classes, {outside:.1%} of the left-out class")
    return {
        "methods": methods,
        "alarms": {"p": ALARM, "known": known, "left_out": outside},
        "accuracy": float(np.mean([each.accuracy for each in trials])),
        "total_samples": TOTAL_SAMPLES,
        "trials": [vars(each) for each in trials],
        "seconds": seconds,
    }


def main() -> None:
    """Run, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="folder with train/0 .. train/9")
    parser.add_argument("--seeds", type=int, default=3, help="seeds per left-out class")
    options = parser.parse_args()
    torch.set_num_threads(1)
    stored = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for world in [digits(), *([mnist(options.mnist)] if options.mnist else [])]:
        started = time.monotonic()
        seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
        trials = [trial(world, left_out, seed) for left_out in world.left_out for seed in seeds]
        stored[world.name] = report(world, trials, time.monotonic() - started)
        RESULT.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
