"""Every generator family at the same wall-clock on the same core: what its samples are worth, and how like real ones.

Each trains as the train stage would, but for the plan's limit of 1,000 samples a training sample, which here would
shorten the ten minutes of cheap families. Looking at samples is part of the minutes: a tenth of the training samples
chooses the weights and, for families that adapt it, the strength of augmentation. Minutes are counted in samples: `--measure`
finds out, alone on the machine, how many samples each family sees in so many minutes on so many threads; trainings of that
length may then run side by side, on any number of threads.

CAS: accuracy on unseen reals of a network trained on 200 synthetic samples a class, mean of two trainings; the same
from as many real samples stands beside it. Frechet distance, precision and recall in features of the `classifier`
encoder fitted on the training split, synthetic against unseen reals at equal class mix. Copies: the share of samples
nearer to a training sample, as pixels, than 99 % of unseen reals are; .01 is what unseen reals have.

    python benchmarks/families.py --mnist FOLDER --threads 2 --measure
    python benchmarks/families.py --mnist FOLDER [--only digits] [--minutes 10] [--families r3gan dcgan ...] [--seeds 1]

FOLDER has train/0 .. train/9: 200 of each for training, 200 others of each as unseen. Resumes: a finished case is kept
in benchmarks/results/families.jsonl. Writes benchmarks/results/families.json and prints the table.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from aigc_pipeline.config import load_config
from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.features import Classifier, FittedEncoder
from aigc_pipeline.features.classifier import training_data
from aigc_pipeline.features.neighbours import nearest
from aigc_pipeline.features.views import first_view
from aigc_pipeline.fitting.budget import measure_speed
from aigc_pipeline.fitting.quality import adaptation_of, validation_of
from aigc_pipeline.generators import Generator, built_in, parse_generator
from aigc_pipeline.generators.recipe import Recipe
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.generators.weights import place
from aigc_pipeline.metrics.downstream import Arm, Budget, balanced_accuracy, fit_downstream, predict
from aigc_pipeline.metrics.frechet import frechet_distance
from aigc_pipeline.metrics.memorisation import near_copy_share
from aigc_pipeline.metrics.prdc import prdc
from aigc_pipeline.modalities import MODALITIES, modality_of
from aigc_pipeline.training.loop import Hooks, LoopSettings, Trained, TrainingData, train

RESULTS = Path(__file__).parent / "results"
CASES = RESULTS / "families.jsonl"
BUDGETS = RESULTS / "families_budgets.json"
PER_CLASS, UNSEEN_PER_CLASS, NUM_CLASSES = 200, 200, 10
CAS_SAMPLES, CAS_SEEDS, NEIGHBOURS = 20_000, 2, 5
SKIPPED = ("classic", "weights_file")
"""Nothing to train, or brought by the user."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Data:
    """A training split and unseen samples of the same source."""

    name: str
    spec: SampleSpec
    train: LabelledCells
    selection: LabelledCells
    """A tenth of the training samples, held back to choose weights and the strength of augmentation."""
    unseen: LabelledCells


def digits() -> Data:
    """Return scikit-learn's digits, seven of ten for training."""
    source = load_config(source="digits", overrides=["ingest.source.long_tail=false"]).ingest.source
    return split("digits", [(each.content or b"", int(each.class_name)) for each in source.records()], 0.7)


def mnist(root: Path) -> Data:
    """Return 200 + 200 pictures of each MNIST digit, drawn by a fixed seed, at 28 px."""
    rows = []
    for label in range(NUM_CLASSES):
        files = sorted((root / "train" / str(label)).iterdir())
        order = numpy_generator(0, "families", label).permutation(len(files))[: PER_CLASS + UNSEEN_PER_CLASS]
        rows += [(files[i].read_bytes(), label) for i in order]
    return split("mnist", rows, 0.5, size=28)


def split(name: str, rows: Sequence[tuple[bytes, int]], train_share: float, size: int | None = None) -> Data:
    """Divide at random, by a fixed seed, and decode."""
    import pyarrow as pa

    modality = MODALITIES["image"]
    spec = modality.fit(pa.Table.from_pylist([modality.inspect(content) for content, _ in rows]), size=size)
    cells = modality.decode([content for content, _ in rows], spec)
    labels = np.array([label for _, label in rows], np.int64)
    everything = LabelledCells([str(i) for i in range(len(rows))], labels, cells)
    order = numpy_generator(0, "families", "split").permutation(len(rows))
    cut = int(train_share * len(rows))
    held = int(0.9 * cut)
    return Data(name, spec, *(everything.take(rows) for rows in (order[:held], order[held:cut], order[cut:])))


def budget_of(family: Generator, data: Data, minutes: float) -> int:
    """Return how many samples a family sees in so many minutes, looking included; measured once, as the plan does."""
    known = json.loads(BUDGETS.read_text()) if BUDGETS.exists() else {}
    key = f"{data.name} {family.kind} {minutes:g} min"
    if key not in known:
        networks = family.networks(data.spec, NUM_CLASSES, 0)
        place(networks, CPU)
        synthesizer = Synthesizer(family, networks, data.spec, data.train, frozenset(), CPU)
        share = Recipe(generator=family).validate_share
        total = measure_speed(synthesizer, seed=0).affordable(share, 60 * minutes)
        known[key] = {"samples": total, "threads": torch.get_num_threads()}
        print(key, known[key], flush=True)
        BUDGETS.write_text(json.dumps(known, indent=1) + "\n")
    return int(known[key]["samples"])


def fit(family: Generator, data: Data, total: int, seed: int) -> Trained:
    """Train on so many samples as the train stage does."""
    phases = family.phases(data.spec, len(data.train))
    rows = training_data(data.train, data.spec, CPU)
    rows = TrainingData(rows.x, rows.labels, family.sampler(rows.labels))
    encoder = encoder_of(data)

    networks = family.networks(data.spec, NUM_CLASSES, seed)
    place(networks, CPU)
    synthesizer = Synthesizer(family, networks, data.spec, data.train, frozenset(), CPU)
    every = int(Recipe(generator=family).validate_share * total)
    validation = validation_of(
        synthesizer, encoder, data.selection, every_samples=every, patience=20, max_copy_share=0.05, root=seed
    )
    adaptation = None
    if family.adapts_augmentation:
        adaptation = adaptation_of(
            synthesizer, data.selection, total_samples=total, every_samples=total // 50, root=seed
        )
    settings = LoopSettings(total, family.batch_size, seed, family.ema_half_life_samples)
    return train(networks, phases, rows, settings, validation=validation, adaptation=adaptation)


def samples(family: Generator, trained: Trained, data: Data, per_class: int, seed: int) -> LabelledCells:
    """Draw as many of each class."""
    synthesizer = Synthesizer(family, trained.networks, data.spec, data.train, frozenset(), CPU)
    orders = synthesizer.orders(dict.fromkeys(range(NUM_CLASSES), per_class), "families", root=seed)
    cells, _ = synthesizer.make(orders)
    return LabelledCells([str(i) for i in range(len(orders))], np.array([o.label for o in orders], np.int64), cells)


def cas(synthetic: LabelledCells, data: Data) -> float:
    """Return the balanced accuracy on unseen reals of networks trained on these samples, in percent."""
    scores = []
    for seed in range(CAS_SEEDS):
        network = fit_downstream(
            Arm("network", "cross_entropy"), synthetic, None, spec=data.spec, num_classes=NUM_CLASSES,
            budget=Budget(CAS_SAMPLES, 64, seed, CPU),
        )  # fmt: skip
        scores.append(balanced_accuracy(predict(network, data.unseen, data.spec, CPU), data.unseen.labels))
    return 100 * float(np.mean(scores))


def measure(family: Generator, data: Data, minutes: float, seed: int) -> dict[str, object]:
    """Train, draw and judge one family."""
    trained = fit(family, data, budget_of(family, data, minutes), seed)
    made = samples(family, trained, data, PER_CLASS, seed)
    grid = modality_of(data.spec).grid(made.take(np.arange(0, len(made), 25)).cells, data.spec, 16)  # fmt: skip
    if grid:
        (RESULTS / f"families-{data.name}-{family.kind}.png").write_bytes(grid)
    return {
        "data": data.name, "family": family.kind, "seed": seed, "minutes": minutes, "seconds": trained.seconds,
        "samples_seen": trained.samples_seen, "best_samples_seen": trained.best_samples_seen, "threads": torch.get_num_threads(), "cas": cas(made, data),
        **likeness(made, data), "copies": copied(made, data),
    }  # fmt: skip


def likeness(made: LabelledCells, data: Data) -> dict[str, float]:
    """Return the Frechet distance, precision and recall of samples against unseen reals, at equal numbers per class."""
    encoder = encoder_of(data)
    counts = np.minimum(made.class_counts(NUM_CLASSES), data.unseen.class_counts(NUM_CLASSES))
    real, fake = (encoder.encode(each.take(first(each.labels, counts)).cells) for each in (data.unseen, made))
    shares = prdc(real, fake, NEIGHBOURS)
    return {"frechet": frechet_distance(real, fake), "precision": shares.precision, "recall": shares.recall}


def copied(made: LabelledCells, data: Data) -> float:
    """Return the share of near copies of training samples."""
    train = first_view(data.train.cells, data.spec)
    to_train, unseen = (nearest(first_view(each.cells, data.spec), train, 1)[0][:, 0] for each in (made, data.unseen))
    return near_copy_share(to_train, unseen)


_ENCODERS: dict[str, FittedEncoder] = {}


def encoder_of(data: Data) -> FittedEncoder:
    """Return the encoder of a data set, fitted once."""
    if data.name not in _ENCODERS:
        none = data.train.take(np.arange(0))
        _ENCODERS[data.name] = Classifier().fit(
            data.train, none, spec=data.spec, num_classes=NUM_CLASSES, seed=0, device=CPU, hooks=Hooks()
        )
    return _ENCODERS[data.name]


def first(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the first `counts[k]` rows of every class k."""
    return np.concatenate([np.flatnonzero(labels == k)[:n] for k, n in enumerate(counts)])


def real_row(data: Data) -> dict[str, object]:
    """Return what real samples score: the training split as if it had been synthesized."""
    return {"data": data.name, "family": "real", "seed": 0, "cas": cas(data.train, data), **likeness(data.train, data)}


def families(names: Sequence[str]) -> Iterator[Generator]:
    """Yield default members of the union, all or those named."""
    for member in built_in():
        kind = member.model_fields["kind"].default
        if kind not in SKIPPED and (not names or kind in names):
            yield parse_generator({"kind": kind})


def done(minutes: float) -> list[dict[str, object]]:
    """Return the finished cases of so many minutes, and what real samples score."""
    rows = [json.loads(line) for line in CASES.read_text().splitlines()] if CASES.exists() else []
    return [row for row in rows if row.get("minutes", minutes) == minutes]


def show(rows: Sequence[dict[str, object]]) -> None:
    """Print the table, one row per data set and family, means over seeds."""
    print(f"\n{'data':8} {'family':14} seeds  CAS    Frechet  precision  recall  copies  samples seen")
    keys = sorted({(str(row["data"]), str(row["family"])) for row in rows}, key=lambda key: (key[0], key[1] != "real", key[1]))  # fmt: skip
    for data, family in keys:
        mine = [row for row in rows if (row["data"], row["family"]) == (data, family)]
        mean = {name: np.mean([float(row.get(name) or 0) for row in mine]) for name in ("cas", "frechet", "precision", "recall", "copies", "samples_seen")}  # type: ignore[arg-type]  # fmt: skip
        copies = f"{mean['copies']:.3f}" if "copies" in mine[0] else "-"  # the training split itself: not a question
        print(
            f"{data:8} {family:14} {len(mine):5} {mean['cas']:6.2f} {mean['frechet']:8.2f} {mean['precision']:9.2f}"
            f" {mean['recall']:8.2f} {copies:>7} {mean['samples_seen']:12,.0f}"
        )


def main() -> None:
    """Measure what is not measured yet, then print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--only", choices=("digits", "mnist"))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--families", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", action="store_true", help="only find out how many samples a budget is")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for data in [digits(), *([mnist(arguments.mnist)] if arguments.mnist else [])]:
        if arguments.only not in {None, data.name}:
            continue
        if arguments.measure:
            for family in families(arguments.families):
                budget_of(family, data, arguments.minutes)
            continue
        known = {(row["data"], row["family"], row["seed"]) for row in done(arguments.minutes)}
        tasks = [(family, seed) for seed in range(arguments.seeds) for family in families(arguments.families)]
        if (data.name, "real", 0) not in known:
            keep(real_row(data))
        for family, seed in tasks:
            if (data.name, family.kind, seed) not in known:
                keep(measure(family, data, arguments.minutes, seed))
    rows = done(arguments.minutes)
    (RESULTS / "families.json").write_text(json.dumps(rows, indent=1))
    show(rows)


def keep(row: dict[str, object]) -> None:
    """Append one case."""
    print(json.dumps(row), flush=True)
    with CASES.open("a") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
