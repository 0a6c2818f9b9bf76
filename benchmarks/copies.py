"""Planted copies: does the near-copy screen find them, and does it leave unseen real pictures alone?

Copies of training pictures (exact, JPEG, noise, shifted, mirrored) go through the real views, the real threshold and the
real gate; so do real pictures that were neither trained on nor used for the threshold. Pictures: scikit-learn's digits,
MNIST and CIFAR-10 (class folders under AIGC_DATA, left out with a reason where absent), and made-up burst photographs,
with whole scenes in one split, or cut as the duplicate clusters of cleaning allow. Writes benchmarks/results/copies.json.
"""

import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import shift as moved
from scipy.ndimage import zoom
from scipy.stats import binomtest
from sklearn.datasets import load_digits

from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.features.clusters import near_duplicate_clusters
from aigc_pipeline.features.neighbours import nearest_over_views
from aigc_pipeline.features.views import first_view, view_blocks
from aigc_pipeline.gates import NotMemorised
from aigc_pipeline.judging.fitting import COPY_FLOOR_TOLERANCES, quantile
from aigc_pipeline.modalities import ImageSpec, modality_of
from aigc_pipeline.stages.calibrate import CalibrateConfig
from aigc_pipeline.stages.clean import CleanConfig

DATA = Path(os.environ.get("AIGC_DATA", "/tmp/data/train"))  # noqa: S108 - a default, not a file that is made
OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
COPIES, SEED = 200, 0
GOALS = {"exact": 1.0, "shifted": 1.0, "other": 0.95, "false_alarms": 0.02}
RESULT = Path(__file__).parent / "results" / "copies.json"
Pixels = NDArray[np.uint8]
Copy = Callable[[Pixels, np.random.Generator], Pixels]


@dataclass(frozen=True)
class Split:
    """Pictures `[n, h, w, c]`: trained on, behind the threshold, and never seen."""

    train: Pixels
    holdout: Pixels
    unseen: Pixels
    spec: ImageSpec


def main() -> None:
    """Measure every set and print a table."""
    rows: list[dict[str, Any]] = []
    skipped = {}
    for name, make in SETS.items():
        split = make()
        if isinstance(split, str):
            skipped[name] = split
            print(f"{name}: left out, {split}")
            continue
        for row in measured(split):
            rows.append({"set": name, **row})
            print(" | ".join(f"{key} {show(value)}" for key, value in rows[-1].items()))
    RESULT.write_text(json.dumps({"goals": GOALS, "rows": rows, "left_out": skipped}, indent=1) + "\n")


def measured(split: Split) -> Iterator[dict[str, Any]]:
    """Yield one row per kind of copy, and one for unseen real pictures."""
    reference = first_view(cells_from_numpy(split.train), split.spec)

    def distance(pixels: Pixels) -> NDArray[np.float32]:
        return nearest_over_views(view_blocks(cells_from_numpy(pixels), split.spec), reference)[0]

    floor = COPY_FLOOR_TOLERANCES * modality_of(split.spec).tolerance
    lowest = quantile(distance(split.holdout), CalibrateConfig().copy_quantile)
    threshold = max(lowest, floor)
    facts = {"train": len(split.train), "holdout": len(split.holdout), "threshold": threshold, "quantile": lowest}
    for kind, copy in kinds(split.spec).items():
        generator = np.random.default_rng(SEED)
        rows = generator.permutation(len(split.train))[:COPIES]
        goal = GOALS.get(kind.split()[0], GOALS["other"])
        found = distance(copy(split.train[rows], generator))
        caught = share(found, threshold)
        yield {
            "kind": kind,
            **facts,
            **caught,
            "median_distance": float(np.median(found)),
            "reached": caught["share"] >= goal,
        }
    found = distance(split.unseen)
    flagged = share(found, threshold)
    reached = flagged["share"] <= GOALS["false_alarms"]
    yield {"kind": "unseen", **facts, **flagged, "median_distance": float(np.median(found)), "reached": reached}


def share(distances: NDArray[np.float32], threshold: float) -> dict[str, Any]:
    """Return the share that the gate refuses, with its 95 % Wilson interval."""
    limit = np.full(len(distances), threshold)
    refused = int((~NotMemorised().judge(pa.table({"train_distance": distances, "copy_threshold": limit}))).sum())
    interval = binomtest(refused, len(distances)).proportion_ci(method="wilson")
    return {"n": len(distances), "share": refused / len(distances), "low": interval.low, "high": interval.high}


def kinds(spec: ImageSpec) -> dict[str, Copy]:
    """Return all kinds of copy that are legal in a spec."""
    legal: dict[str, Copy] = {
        "exact": lambda pixels, _: pixels.copy(),
        "jpeg 90": lambda pixels, _: compressed(pixels, 90),
        "jpeg 75": lambda pixels, _: compressed(pixels, 75),
        "noise .05": noisy,
        "shifted up": lambda pixels, _: shifted(pixels, -1, 0),
        "shifted down": lambda pixels, _: shifted(pixels, 1, 0),
        "shifted left": lambda pixels, _: shifted(pixels, 0, -1),
        "shifted right": lambda pixels, _: shifted(pixels, 0, 1),
    }
    if "horizontal" in spec.symmetries:
        legal["mirrored"] = lambda pixels, _: np.ascontiguousarray(pixels[:, :, ::-1])
    return legal


def compressed(pixels: Pixels, quality: int) -> Pixels:
    """Return the pictures after JPEG."""
    results = []
    for picture in pixels:
        stored = io.BytesIO()
        Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(
            stored, "jpeg", quality=quality
        )
        results.append(np.asarray(Image.open(stored)).reshape(picture.shape))
    return np.stack(results)


def noisy(pixels: Pixels, generator: np.random.Generator) -> Pixels:
    """Add normal noise of deviation 0.05 of the range."""
    return np.clip(pixels + generator.normal(0, 0.05 * 255, pixels.shape), 0, 255).round().astype(np.uint8)


def shifted(pixels: Pixels, rows: int, columns: int) -> Pixels:
    """Move by a pixel; the border repeats."""
    height, width = pixels.shape[1:3]
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    return np.ascontiguousarray(padded[:, 1 - rows : 1 - rows + height, 1 - columns : 1 - columns + width])


def digits() -> Split:
    """Return 1,797 digits of 8 px."""
    pixels = np.clip(load_digits().images * 16, 0, 255).astype(np.uint8)[..., None]
    return cut(pixels, (800, 300, 697), ImageSpec(height=8, width=8, channels=1))


def mnist() -> Split | str:
    """Return 4,000 digits of 28 px."""
    spec = ImageSpec(height=28, width=28, channels=1)
    return from_folders([str(digit) for digit in range(10)], 400, (2_000, 1_000, 1_000), spec)


def cifar() -> Split | str:
    """Return 4,000 objects of 32 px, which may be mirrored."""
    spec = ImageSpec(height=32, width=32, channels=3, symmetries=("horizontal",))
    return from_folders(list(OBJECTS), 400, (2_000, 1_000, 1_000), spec)


def from_folders(names: list[str], per_class: int, sizes: tuple[int, int, int], spec: ImageSpec) -> Split | str:
    """Return pictures of class folders, or why there are none."""
    if missing := [name for name in names if not (DATA / name).is_dir()]:
        return f"{DATA} has no folders {missing}; set AIGC_DATA"
    files = [file for name in names for file in sorted((DATA / name).iterdir())[:per_class]]
    cells = modality_of(spec).decode([file.read_bytes() for file in files], spec)
    pixels = np.asarray(cells.flatten().to_numpy(zero_copy_only=False), np.uint8).reshape(-1, *spec.cell_shape)
    return cut(pixels, sizes, spec)


def cut(pixels: Pixels, sizes: tuple[int, int, int], spec: ImageSpec) -> Split:
    """Deal shuffled pictures out."""
    order = np.random.default_rng(SEED).permutation(len(pixels))
    train, holdout, unseen = np.split(pixels[order[: sum(sizes)]], np.cumsum(sizes)[:2])
    return Split(train, holdout, unseen, spec)


def bursts(*, apart: bool) -> Split:
    """Return about 1,300 shots of 160 scenes, scenes kept apart or near-duplicate clusters alone kept apart."""
    spec = ImageSpec(height=32, width=32, channels=3, symmetries=("horizontal",))
    pixels, scenes = burst_photographs(160, np.random.default_rng(SEED))
    groups = scenes if apart else clusters(pixels, spec)
    names = np.unique(groups)
    drawn = np.random.default_rng(SEED + 1).permutation(len(names))
    role = np.searchsorted(np.cumsum([0.5, 0.25]) * len(names), drawn, side="right")[np.searchsorted(names, groups)]
    return Split(pixels[role == 0], pixels[role == 1], pixels[role == 2], spec)


def burst_photographs(num_scenes: int, generator: np.random.Generator) -> tuple[Pixels, NDArray[np.int64]]:
    """Return 6 to 10 shots of each scene, `[n, 32, 32, 3]`, and the scene of each shot.

    A scene is smooth light, a gradient and up to six blobs with soft edges. Shots differ by a shift of up to 1 px in
    each direction, by 6 % of exposure (one standard deviation) and by noise of deviation 0.01.
    """
    shots, scenes = [], []
    for number in range(num_scenes):
        scene = scenery(generator)
        for _ in range(generator.integers(6, 11)):
            by = (*generator.uniform(-1, 1, 2), 0)
            seen = moved(scene, by, order=1, mode="nearest")[2:-2, 2:-2] * np.exp(generator.normal(0, 0.06))
            shots.append(seen + generator.normal(0, 0.01, seen.shape))
            scenes.append(number)
    return (np.clip(np.stack(shots), 0, 1) * 255).round().astype(np.uint8), np.array(scenes, np.int64)


def scenery(generator: np.random.Generator) -> NDArray[np.float64]:
    """Return a scene of 36 px in about [0, 1]."""
    rows, columns = np.mgrid[:36, :36] / 35
    angle = generator.uniform(0, 2 * np.pi)
    scene = 0.35 + 0.25 * (np.cos(angle) * rows + np.sin(angle) * columns)[..., None] * generator.uniform(-1, 1, 3)
    scene = scene + zoom(generator.normal(0, 0.12, (5, 5, 3)), (7.2, 7.2, 1), order=3)
    for _ in range(generator.integers(2, 7)):
        center, radius = generator.uniform(0, 1, 2), generator.uniform(0.06, 0.3)
        away = np.hypot(rows - center[0], columns - center[1])
        inside = 1 / (1 + np.exp((away - radius) * 40))
        scene = scene + inside[..., None] * generator.normal(0, 0.25, 3)
    return np.asarray(scene)


def clusters(pixels: Pixels, spec: ImageSpec) -> NDArray[np.int64]:
    """Return the near-duplicate clusters that cleaning keeps together."""
    limit = CleanConfig().near_duplicate_tolerances * modality_of(spec).tolerance
    unmirrored = spec.model_copy(update={"symmetries": ()})  # which mirrorings are legal is said after cleaning
    return near_duplicate_clusters(cells_from_numpy(pixels), unmirrored, limit=limit)


def show(value: object) -> str:
    """Return a value for the table."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


SETS: dict[str, Callable[[], Split | str]] = {
    "digits": digits,
    "mnist": mnist,
    "cifar": cifar,
    "bursts, scenes apart": lambda: bursts(apart=True),
    "bursts, as cleaned": lambda: bursts(apart=False),
}

if __name__ == "__main__":
    main()
