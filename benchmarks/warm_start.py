"""Warm start on other classes: does it end as good as a cold start on a third of the samples?

MNIST at 28 px. The donor learns the digits 0 to 4 (1,000 of each); the target is 200 each of 5 to 9, which the donor has
never seen. Quality: Frechet distance between 1,000 samples and 1,000 unseen reals of the target, in features of the
`classifier` encoder fitted on all other MNIST pictures of 5 to 9 that are used nowhere else (300 of each). Four trainings
a seed, same settings: cold and warm on all samples, and both on a third of them. Rates and penalties follow a training's own
length, as they do for whoever sets `train.total_samples`; that is why a third is a training of its own and not a place on the
long curve. The cold third is the control: what the shorter schedule does by itself.

    python benchmarks/warm_start.py MNIST_FOLDER [--family r3gan] [--seeds 3] [--samples 90000] [--donor-samples 150000]
        [--without-long-warm]

MNIST_FOLDER has train/0 .. train/9. Writes benchmarks/results/warm_start.json, where the other family's cases stay. About 20
minutes on one core for `r3gan`, an hour and a half for `flow_matching`.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.features import Classifier, FittedEncoder
from aigc_pipeline.features.classifier import training_data
from aigc_pipeline.fitting.quality import draw
from aigc_pipeline.fitting.warm_start import start_warm
from aigc_pipeline.generators import R3GAN, FlowMatching
from aigc_pipeline.generators.recipe import WarmStart
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.generators.weights import place, save_networks
from aigc_pipeline.metrics.frechet import frechet_distance
from aigc_pipeline.modalities import ImageSpec, modality_of
from aigc_pipeline.training.loop import Hooks, LoopSettings, Networks, train

RESULT = Path(__file__).parent / "results" / "warm_start.json"
SPEC = ImageSpec(height=28, width=28, channels=1)
AnyFamily = R3GAN | FlowMatching
FAMILIES: dict[str, AnyFamily] = {"r3gan": R3GAN(augment_probability=0.3), "flow_matching": FlowMatching()}
KNOWN, NEW = ("0", "1", "2", "3", "4"), ("5", "6", "7", "8", "9")
DONOR_PER_CLASS, TARGET_PER_CLASS, UNSEEN_PER_CLASS, ENCODER_PER_CLASS = 1_000, 200, 200, 300
CPU = torch.device("cpu")
LAST_LOOKS = 5
Curve = list[tuple[int, float]]


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


@dataclass(frozen=True)
class Transfer:
    """What all trainings of one comparison share."""

    family: AnyFamily
    root: Path
    num_checks: int


def fit(
    family: AnyFamily, networks: dict[str, torch.nn.Module], cells: LabelledCells, total: int, seed: int, hooks: Hooks
) -> Networks:
    """Train one generator."""
    settings = LoopSettings(total, family.batch_size, seed, family.ema_half_life_samples)
    return train(networks, family.phases(SPEC, len(cells)), training_data(cells, SPEC, CPU), settings, hooks=hooks).networks  # fmt: skip


def donor(family: AnyFamily, root: Path, folder: Path, total: int) -> Path:
    """Train on the known digits and lay the checkpoint out as the train stage does."""
    networks = family.networks(SPEC, len(KNOWN), seed=100)
    place(networks, CPU)
    cells = pictures(root, KNOWN, 0, DONOR_PER_CLASS)
    save_networks(fit(family, networks, cells, total, 100, Hooks()), folder / "generator.safetensors")
    record = {"family": family.kind, "classes": KNOWN, "samples_seen": total}
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def curve(task: Transfer, encoder: FittedEncoder, start: Path | None, total: int, seed: int) -> Curve:
    """Return (samples seen, Frechet distance) along one training on the new digits."""
    family, root = task.family, task.root
    cells, unseen = pictures(root, NEW, 0, TARGET_PER_CLASS), pictures(root, NEW, TARGET_PER_CLASS, UNSEEN_PER_CLASS)
    real = encoder.encode(unseen.cells)
    networks = family.networks(SPEC, len(NEW), seed=seed)
    place(networks, CPU)
    if start is not None:
        start_warm(networks, WarmStart(path=start), family, NEW)
    synthesizer = Synthesizer(family, networks, SPEC, cells, frozenset(), CPU)
    points: Curve = []

    def look(now: Networks, samples_seen: int) -> None:
        made = draw(synthesizer, now, dict.fromkeys(range(len(NEW)), UNSEEN_PER_CLASS), "curve", 0)
        points.append((samples_seen, frechet_distance(real, encoder.encode(made.cells))))

    hooks = Hooks(snapshot=look, snapshot_every_samples=total // task.num_checks)
    fit(family, networks, cells, total, seed, hooks)
    return points


def settled(points: Curve) -> float:
    """Return the mean distance at the last five looks."""
    return float(np.mean([distance for _, distance in points[-LAST_LOOKS:]]))


def first(points: Curve, limit: float) -> int | None:
    """Return after how many samples a distance is first at most `limit`."""
    return next((seen for seen, distance in points if distance <= limit), None)


def main() -> None:
    """Train the donor once, then both starts on every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--family", choices=sorted(FAMILIES), default="r3gan")
    parser.add_argument("--checks", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=90_000)
    parser.add_argument("--donor-samples", type=int, default=150_000)
    parser.add_argument("--without-long-warm", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kept = pictures(arguments.folder, NEW, TARGET_PER_CLASS + UNSEEN_PER_CLASS, ENCODER_PER_CLASS)
    encoder = Classifier().fit(
        kept, kept.take(np.arange(0)), spec=SPEC, num_classes=len(NEW), seed=0, device=CPU, hooks=Hooks()
    )
    task = Transfer(FAMILIES[arguments.family], arguments.folder, arguments.checks)
    total = arguments.samples
    cases = []
    with tempfile.TemporaryDirectory() as temporary:
        warm = donor(task.family, task.root, Path(temporary), arguments.donor_samples)
        arms = {
            "cold": (None, total),
            "warm": (warm, total),
            "cold third": (None, total // 3),
            "warm third": (warm, total // 3),
        }
        if arguments.without_long_warm:
            del arms["warm"]
        for seed in range(arguments.seeds):
            curves = {name: curve(task, encoder, start, length, seed) for name, (start, length) in arms.items()}
            goal = settled(curves["cold"])
            case = {
                "seed": seed,
                "settled": {name: settled(points) for name, points in curves.items()},
                "samples_to_cold_settled": {name: first(points, goal) for name, points in curves.items()},
                "curves": curves,
            }
            print(f"seed {seed}: {case['settled']} {case['samples_to_cold_settled']}", flush=True)
            cases.append(case)
    found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    found[arguments.family] = {"settings": vars(arguments) | {"folder": ""}, "cases": cases}
    RESULT.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
