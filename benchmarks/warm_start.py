"""Warm start on other classes: how many samples until the quality that a cold start ends with?

MNIST at 28 px. The donor learns the digits 0 to 4 (1,000 of each); the target is 200 each of 5 to 9, which the donor has
never seen. Quality: Frechet distance between 1,000 samples and 1,000 unseen reals of the target, in features of the
`classifier` encoder fitted on all other MNIST pictures of 5 to 9 that are used nowhere else (300 of each). Both starts
train on the same seeds with the same settings; the schedule (rates, penalty) is that of a full training in both.

    python benchmarks/warm_start.py MNIST_FOLDER [--seeds 3] [--samples 90000] [--donor-samples 150000]

MNIST_FOLDER has train/0 .. train/9. Writes benchmarks/results/warm_start.json. About 12 minutes on one core.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.features import Classifier, FittedEncoder
from aigc_pipeline.features.classifier import training_data
from aigc_pipeline.fitting.quality import draw
from aigc_pipeline.fitting.warm_start import start_warm
from aigc_pipeline.generators.r3gan import R3GAN
from aigc_pipeline.generators.recipe import WarmStart
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.generators.weights import place, save_networks
from aigc_pipeline.metrics.frechet import frechet_distance
from aigc_pipeline.modalities import ImageSpec, modality_of
from aigc_pipeline.training.loop import Hooks, LoopSettings, Networks, train

RESULT = Path(__file__).parent / "results" / "warm_start.json"
SPEC = ImageSpec(height=28, width=28, channels=1)
FAMILY = R3GAN(augment_probability=0.3)
KNOWN, NEW = ("0", "1", "2", "3", "4"), ("5", "6", "7", "8", "9")
DONOR_PER_CLASS, TARGET_PER_CLASS, UNSEEN_PER_CLASS, ENCODER_PER_CLASS = 1_000, 200, 200, 300
NUM_CHECKS = 30
CPU = torch.device("cpu")


def pictures(root: Path, names: tuple[str, ...], first: int, number: int) -> LabelledCells:
    """Return `number` pictures of each digit from place `first` of a fixed shuffle on."""
    contents, labels = [], []
    for label, name in enumerate(names):
        files = sorted((root / "train" / name).iterdir())
        order = numpy_generator(0, "warm start", name).permutation(len(files))[first : first + number]
        contents += [files[i].read_bytes() for i in order]
        labels += [label] * number
    cells = modality_of(SPEC).decode(contents, SPEC)
    return LabelledCells([str(i) for i in range(len(labels))], np.array(labels, np.int64), cells)


def fit(networks: dict[str, torch.nn.Module], cells: LabelledCells, total: int, seed: int, hooks: Hooks) -> Networks:
    """Train one generator."""
    settings = LoopSettings(total, FAMILY.batch_size, seed, FAMILY.ema_half_life_samples)
    return train(networks, FAMILY.phases(SPEC, len(cells)), training_data(cells, SPEC, CPU), settings, hooks=hooks).networks  # fmt: skip


def donor(root: Path, folder: Path, total: int) -> Path:
    """Train on the known digits and lay the checkpoint out as the train stage does."""
    networks = FAMILY.networks(SPEC, len(KNOWN), seed=100)
    place(networks, CPU)
    cells = pictures(root, KNOWN, 0, DONOR_PER_CLASS)
    save_networks(fit(networks, cells, total, 100, Hooks()), folder / "generator.safetensors")
    record = {"family": FAMILY.kind, "classes": KNOWN, "samples_seen": total}
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def curve(root: Path, encoder: FittedEncoder, start: Path | None, total: int, seed: int) -> list[tuple[int, float]]:
    """Return (samples seen, Frechet distance) along one training on the new digits."""
    cells, unseen = pictures(root, NEW, 0, TARGET_PER_CLASS), pictures(root, NEW, TARGET_PER_CLASS, UNSEEN_PER_CLASS)
    real = encoder.encode(unseen.cells)
    networks = FAMILY.networks(SPEC, len(NEW), seed=seed)
    place(networks, CPU)
    if start is not None:
        start_warm(networks, WarmStart(path=start), FAMILY, NEW)
    synthesizer = Synthesizer(FAMILY, networks, SPEC, cells, frozenset(), CPU)
    points: list[tuple[int, float]] = []

    def look(now: Networks, samples_seen: int) -> None:
        made = draw(synthesizer, now, dict.fromkeys(range(len(NEW)), UNSEEN_PER_CLASS), "curve", 0)
        points.append((samples_seen, frechet_distance(real, encoder.encode(made.cells))))

    fit(networks, cells, total, seed, Hooks(snapshot=look, snapshot_every_samples=total // NUM_CHECKS))
    return points


def compare(cold: Sequence[tuple[int, float]], warm: Sequence[tuple[int, float]]) -> dict[str, float | int | None]:
    """Return when each start first has the cold one's best distance, and its settled one (mean of the last five)."""
    best, settled = min(distance for _, distance in cold), float(np.mean([distance for _, distance in cold[-5:]]))

    def first(points: Sequence[tuple[int, float]], limit: float) -> int | None:
        return next((seen for seen, distance in points if distance <= limit), None)

    return {
        "cold_best": best, "cold_to_best": first(cold, best), "warm_to_best": first(warm, best),
        "cold_settled": settled, "cold_to_settled": first(cold, settled), "warm_to_settled": first(warm, settled),
        "warm_best": min(distance for _, distance in warm),
    }  # fmt: skip


def main() -> None:
    """Train the donor once, then both starts on every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=90_000)
    parser.add_argument("--donor-samples", type=int, default=150_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kept = pictures(arguments.folder, NEW, TARGET_PER_CLASS + UNSEEN_PER_CLASS, ENCODER_PER_CLASS)
    encoder = Classifier().fit(
        kept, kept.take(np.arange(0)), spec=SPEC, num_classes=len(NEW), seed=0, device=CPU, hooks=Hooks()
    )
    cases = []
    with tempfile.TemporaryDirectory() as temporary:
        start = donor(arguments.folder, Path(temporary), arguments.donor_samples)
        for seed in range(arguments.seeds):
            cold = curve(arguments.folder, encoder, None, arguments.samples, seed)
            warm = curve(arguments.folder, encoder, start, arguments.samples, seed)
            case = compare(cold, warm)
            print(f"seed {seed}: {case}", flush=True)
            cases.append({"seed": seed, "cold": cold, "warm": warm, **case})
    RESULT.write_text(json.dumps({"settings": vars(arguments) | {"folder": ""}, "cases": cases}, indent=1))


if __name__ == "__main__":
    main()
