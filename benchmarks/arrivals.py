"""What does a nightly run notice about the pictures that came? Nights of real pictures, untouched, changed or mislabelled.

An encoder is trained on 2,000 pictures of ten classes (30,000 samples seen, early stopping on 300); 800 held-back ones are the
measure. A night is a draw of 10, 50 or 200 pictures that were neither; a warning is one that a run would print.

    python benchmarks/arrivals.py FOLDER NAME     # about 3 minutes of one core; FOLDER has train/CLASS/*, ten classes

Writes benchmarks/results/arrivals.json; other data sets keep their numbers.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.features import Classifier
from aigc_pipeline.features.arrivals import is_notable, unlike
from aigc_pipeline.features.stored import LabelledFeatures
from aigc_pipeline.modalities import ImageSpec
from aigc_pipeline.training.loop import Hooks

RESULT = Path(__file__).parent / "results" / "arrivals.json"
PER_CLASS, NUM_TRAIN, NUM_SELECTION, NUM_HELD_BACK = 600, 2_000, 300, 800
NIGHTS, SIZES = 300, (10, 50, 200)
Pixels = NDArray[np.uint8]


def inverted(x: Pixels) -> Pixels:
    """Return negatives."""
    return np.asarray(255 - x, np.uint8)


def quarter_turn(x: Pixels) -> Pixels:
    """Return pictures turned by 90 degrees."""
    return np.ascontiguousarray(np.rot90(x, axes=(1, 2)))


def darker(x: Pixels) -> Pixels:
    """Return half the brightness."""
    return np.asarray(x // 2, np.uint8)


def noisy(x: Pixels) -> Pixels:
    """Add noise of a standard deviation of 20 grey levels."""
    noise = np.random.default_rng(0).normal(0, 20, x.shape)
    return np.clip(x + noise, 0, 255).astype(np.uint8)


def blurred(x: Pixels) -> Pixels:
    """Halve the side and double it again."""

    def through_half(picture: Pixels) -> Pixels:
        image = Image.fromarray(picture.squeeze())
        small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR)
        return np.asarray(small.resize(image.size, Image.Resampling.BILINEAR)).reshape(picture.shape)

    return np.stack([through_half(each) for each in x])


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "untouched": lambda x: x, "inverted": inverted, "turned by 90 degrees": quarter_turn, "half as bright": darker,
    "noise of 20": noisy, "blurred": blurred,
}  # fmt: skip


def load(folder: Path) -> tuple[Pixels, NDArray[np.int64]]:
    """Return some pictures of every class, `[n, h, w, c]`, and their labels."""
    rng, pixels, labels = np.random.default_rng(0), [], []
    for label, name in enumerate(sorted(each.name for each in (folder / "train").iterdir())):
        files = sorted((folder / "train" / name).iterdir())
        for row in rng.permutation(len(files))[:PER_CLASS]:
            picture = np.asarray(Image.open(files[row]))
            pixels.append(picture.reshape(*picture.shape[:2], -1))
            labels.append(label)
    return np.stack(pixels), np.array(labels, np.int64)


def measure(pixels: Pixels, labels: NDArray[np.int64]) -> Iterator[dict[str, str | int | float]]:
    """Yield a row per kind of night."""
    spec = ImageSpec(height=pixels.shape[1], width=pixels.shape[2], channels=pixels.shape[3])
    order = np.random.default_rng(1).permutation(len(labels))
    train, selection, held_back, rest = np.split(order, np.cumsum([NUM_TRAIN, NUM_SELECTION, NUM_HELD_BACK]))

    def cells(rows: NDArray[np.int64], change: Callable[[Pixels], Pixels] = CHANGES["untouched"]) -> LabelledCells:
        return LabelledCells([str(row) for row in rows], labels[rows], cells_from_numpy(change(pixels[rows])))

    encoder = Classifier(total_samples=30_000).fit(
        cells(train), cells(selection), spec=spec, num_classes=10, seed=0, device=torch.device("cpu"), hooks=Hooks()
    )

    def features(of: LabelledCells) -> LabelledFeatures:
        return LabelledFeatures(encoder.encode(of.cells), of.labels)

    known, unseen = features(cells(train)), features(cells(held_back))
    pools = {name: features(cells(rest, change)) for name, change in CHANGES.items()}
    real = pools["untouched"]
    wrong = (real.labels + 1) % 10
    some = np.where(np.random.default_rng(2).random(len(real)) < 0.2, wrong, real.labels)
    pools |= {"mislabelled": LabelledFeatures(real.features, wrong)}
    pools |= {"one in five mislabelled": LabelledFeatures(real.features, some)}
    for name, pool in pools.items():
        found = unlike(pool, known, unseen)
        for size in SIZES:
            nights = [np.random.default_rng(night).choice(len(pool), size, replace=False) for night in range(NIGHTS)]
            warned = [is_notable(int(found[rows].sum()), size, len(unseen)) for rows in nights]
            yield {"night": name, "pictures": size, "unlike": float(found.mean()), "warned": float(np.mean(warned))}


def main() -> None:
    """Measure one data set, print its rows and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    arguments = parser.parse_args()
    rows = list(measure(*load(arguments.folder)))
    for row in rows:
        print(f"{row['night']:<24} {row['pictures']:>4}  unlike {row['unlike']:6.1%}  warned {row['warned']:6.1%}")
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    RESULT.write_text(json.dumps(kept | {arguments.name: rows}, indent=1))


if __name__ == "__main__":
    main()
