"""Is the worth right? Real samples are held back and added as if they were synthetic: the truth is how many there are.

    python benchmarks/worth.py [--mnist FOLDER] [--repeats 12] [--mnist-repeats 3]     # about 10 minutes on a quiet core, half an hour with MNIST

Cases: points in 40 dimensions (one rare class of three, doubled; all classes doubled) and MNIST digits (all doubled). The
control adds as many plain copies instead, which are worth nothing. Synthetic rows get the dose at which one counts as
much as a real one. Exponents were chosen on a simulated classifier without a network, not on these cases.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.metrics.downstream import Arm, Budget, fit_downstream, predict
from aigc_pipeline.metrics.worth import shares_left, thinned_rows, worth_in_real_samples
from aigc_pipeline.modalities import ImageSpec, VectorSpec, modality_of
from aigc_pipeline.records import Estimate, Worth

RESULTS = Path(__file__).parent / "results" / "worth.json"
SHARES, NUM_SEEDS, CPU = (0.25, 0.5, 0.75, 1.0), 5, torch.device("cpu")
SIZE = 40
MEANS = np.random.default_rng(9).standard_normal((3, SIZE)) * 0.3
MNIST_TEST = 100


@dataclass(frozen=True)
class Case:
    """What is there, what is held back and which class the question is about (None: the whole set)."""

    name: str
    spec: SampleSpec
    counts: tuple[int, ...]
    held_back: tuple[int, ...]
    label: int | None
    total_samples: int
    draw: Callable[[int], tuple[LabelledCells, LabelledCells, LabelledCells]]
    """Repeat to (real, held back, test)."""


def points(counts: Sequence[int], seed: int) -> LabelledCells:
    """Draw points of three Gaussian classes."""
    generator = np.random.default_rng(seed)
    drawn = [MEANS[k] + generator.standard_normal((n, SIZE)) for k, n in enumerate(counts)]
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    return LabelledCells(
        [f"{seed}-{i}" for i in range(len(labels))], labels, cells_from_numpy(np.concatenate(drawn).astype(np.float32))
    )


def vector_case(name: str, counts: tuple[int, ...], held_back: tuple[int, ...], label: int | None) -> Case:
    """Return a case of points; every repeat draws its own."""

    def draw(repeat: int) -> tuple[LabelledCells, LabelledCells, LabelledCells]:
        return points(counts, 30 * repeat + 7), points(held_back, 30 * repeat + 8), points((700,) * 3, 30 * repeat + 9)

    return Case(name, VectorSpec(num_values=SIZE, scale=1.2), counts, held_back, label, 6_000, draw)


def mnist_case(folder: Path, per_class: int) -> Case:
    """Return a case of digits; every repeat takes other files."""
    spec = ImageSpec(height=28, width=28, channels=1)

    def read(split: str, start: int, number: int) -> LabelledCells:
        chosen = [(file, k) for k in range(10) for file in files[split][k][start : start + number]]
        cells = modality_of(spec).decode([file.read_bytes() for file, _ in chosen], spec)
        return LabelledCells([file.name for file, _ in chosen], np.array([k for _, k in chosen], np.int64), cells)

    files = {s: [sorted((folder / s / str(k)).iterdir()) for k in range(10)] for s in ("train", "test")}

    def draw(repeat: int) -> tuple[LabelledCells, LabelledCells, LabelledCells]:
        start = 2 * per_class * repeat
        rows = (read("train", start, per_class), read("train", start + per_class, per_class))
        return *rows, read("test", MNIST_TEST * repeat, MNIST_TEST)

    counts = (per_class,) * 10
    return Case("mnist, all classes doubled", spec, counts, counts, None, 20_000, draw)  # what a run takes for so few


def ask(case: Case, repeat: int) -> dict[str, Worth]:
    """Return the worth of what was held back, and that of copies."""
    real, held_back, test = case.draw(repeat)
    generator = np.random.default_rng(repeat)
    copies, control = (
        real.take(np.array([generator.choice(np.flatnonzero(real.labels == k)) for k in held_back.labels], np.int64))
        for _ in range(2)
    )
    thinned = None if case.label is None else [case.label]

    def correct(rows: Callable[[int], LabelledCells], added: LabelledCells | None = None) -> NDArray[np.bool_]:
        dose = 0.0 if added is None else len(added) / (len(added) + len(real))
        arm, hits = Arm("arm", "balanced_softmax", dose=dose), []
        for seed in range(NUM_SEEDS):
            budget = Budget(case.total_samples, 64, seed, CPU)
            network = fit_downstream(
                arm, rows(seed), added, spec=case.spec, num_classes=len(case.counts), budget=budget
            )
            hits.append(predict(network, test, case.spec, CPU) == test.labels)
        return np.stack(hits)

    def at(share: float) -> NDArray[np.bool_]:
        return correct(lambda seed: real.take(thinned_rows(real.labels, share, 100 * repeat + seed, thinned)))

    shares = shares_left(real.labels, SHARES, thinned) | {1.0: 1.0}
    curve, repeated = {left: at(share) for left, share in shares.items()}, correct(lambda _: real, control)
    names = [str(k) for k in range(len(case.counts))]
    answers = {}
    for name, added in (("held back", held_back), ("copies", copies)):
        treated = correct(lambda _: real, added)
        worth = worth_in_real_samples(
            curve,
            treated,
            test.labels,
            np.array(case.counts),
            names,
            seed=repeat,
            class_curves={} if case.label is None else {case.label: curve},
            control=repeated,
        )
        answers[name] = worth[0 if case.label is None else 1 + case.label]
    return answers


def summary(case: Case, answers: Sequence[dict[str, Worth]]) -> dict[str, object]:
    """Return how often the interval holds the truth, the median, and how often copies are worth nothing."""
    truth = sum(case.held_back)
    found: list[Estimate] = [each["held back"].real_samples for each in answers if each["held back"].real_samples]
    holds = [(e.ci_low or 0) <= truth and (e.ci_high is None or truth <= e.ci_high) for e in found]
    return {
        "case": case.name,
        "repeats": len(answers),
        "truth": truth,
        "measurable": len(found),
        "interval_holds_truth": sum(holds),
        "median": float(np.median([e.value for e in found])) if found else None,
        "median_ci_low": float(np.median([e.ci_low for e in found])) if found else None,
        "open_above": sum(e.ci_high is None for e in found),
        "copies_worth_nothing": sum(each["copies"].real_samples is None for each in answers),
        "estimates": [e.model_dump() for e in found],
    }


def main() -> None:
    """Run all cases and write the results after each repeat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="folder with train/0 .. test/9")
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--mnist-repeats", type=int, default=3)
    parser.add_argument(
        "--first",
        type=int,
        default=40,
        help="number of the first repeat of the points; those under 40 were looked at while the method was made",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    plans = [
        (vector_case("points, rare class doubled", (200, 200, 16), (0, 0, 16), 2), options.first, options.repeats),
        (vector_case("points, all classes doubled", (30, 30, 30), (30, 30, 30), None), options.first, options.repeats),
    ]
    if options.mnist:
        plans.append((mnist_case(options.mnist, 12), 0, options.mnist_repeats))
    rows: dict[str, object] = {}
    start = time.monotonic()
    for case, first, repeats in plans:
        answers = []
        for repeat in range(first, first + repeats):
            answers.append(ask(case, repeat))
            rows[case.name] = summary(case, answers)
            RESULTS.write_text(json.dumps({"seconds": round(time.monotonic() - start), "cases": rows}, indent=1))
        print({k: v for k, v in summary(case, answers).items() if k != "estimates"}, flush=True)


if __name__ == "__main__":
    main()
