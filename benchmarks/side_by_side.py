"""Downstream trainings per second: one after the other on all threads, against several at once on a share of them each.

Four trainings of the small network on noise of each size, both ways in alternating rounds; the ratio is the median over rounds.

    python benchmarks/side_by_side.py [--threads 2] [--rounds 3]

Writes benchmarks/results/side_by_side.json. About two minutes.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.metrics.downstream import Arm, Budget, fit_downstream
from aigc_pipeline.modalities import ImageSpec, modality_of
from aigc_pipeline.training.devices import device_name, keep_freed_memory, map_on_threads

RESULT = Path(__file__).parent / "results" / "side_by_side.json"
CPU = torch.device("cpu")
SIZES = {"8 px grey": (8, 1, 200), "28 px grey": (28, 1, 50), "32 px RGB": (32, 3, 40)}
"""Side in px, channels, steps of a training."""
TRAININGS, ROWS, CLASSES, BATCH = 4, 1_000, 10, 64


def measure(side: int, channels: int, steps: int, num_rounds: int) -> dict[str, float]:
    """Return the median seconds of all trainings both ways, and of their ratio."""
    spec = ImageSpec(height=side, width=side, channels=channels)
    noise = 0.3 * torch.randn(ROWS, *spec.shape, generator=torch.Generator().manual_seed(0))
    cells = modality_of(spec).from_tensor(noise, spec)
    real = LabelledCells([str(i) for i in range(ROWS)], np.arange(ROWS) % CLASSES, cells)

    def fit(seed: int) -> None:
        budget = Budget(steps * BATCH, BATCH, seed, CPU)
        fit_downstream(Arm("plain", "cross_entropy"), real, None, spec=spec, num_classes=CLASSES, budget=budget)

    fit(0)
    seconds: dict[str, list[float]] = {"in turn": [], "at once": []}
    for _ in range(num_rounds):
        started = time.perf_counter()
        for seed in range(TRAININGS):
            fit(seed)
        seconds["in turn"].append(time.perf_counter() - started)
        started = time.perf_counter()
        list(map_on_threads(fit, range(TRAININGS), CPU))
        seconds["at once"].append(time.perf_counter() - started)
    ratios = [turn / once for turn, once in zip(seconds["in turn"], seconds["at once"], strict=True)]
    return {name: statistics.median(values) for name, values in seconds.items()} | {"ratio": statistics.median(ratios)}


def main() -> None:
    """Measure every size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # as every stage does
    rows = {name: measure(*size, arguments.rounds) for name, size in SIZES.items()}
    for name, row in rows.items():
        print(f"{name:12} {row}")
    RESULT.write_text(json.dumps({"machine": device_name(CPU), "threads": arguments.threads, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
