"""Does the filter earn its place, and does `p_real` mean what it says?

A case is a data set, a family and a seed: a run up to `filter`, then sets of equal size out of the same candidates. The
critic is read on test reals that nothing was fitted on, against fresh fakes. Nothing here is chosen by its outcome.

    python benchmarks/filtering.py [--quick] [--mnist FOLDER] [--scale 4] [--families ...]     # about half an hour on a quiet core; resumes

At scale 1 generators are young, and a critic that separates them from real pictures refuses to filter: the table says
for how many. A larger scale trains longer. Writes benchmarks/results/filtering.json. FOLDER has train/0 .. train/9.
"""

import argparse
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import nn

from aigc_pipeline.config import PipelineConfig, load_config
from aigc_pipeline.core.context import Context
from aigc_pipeline.core.samples import ROLES, SampleSpec
from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.core.store import Store
from aigc_pipeline.data.loader import LabelledCells, concatenate, from_table, load_cells
from aigc_pipeline.data.shards import read_shards, read_table
from aigc_pipeline.gates import count_reasons
from aigc_pipeline.loading import open_bench, open_synthesizer
from aigc_pipeline.metrics.downstream import Arm, Budget, balanced_accuracy, fit_downstream, predict
from aigc_pipeline.metrics.frechet import frechet_distance
from aigc_pipeline.metrics.prdc import prdc
from aigc_pipeline.modalities import MODALITIES
from aigc_pipeline.pipeline import judge_pipeline
from aigc_pipeline.records import Checkpoint, DatasetSplits, Embeddings, Judge, SynthesisPlan
from aigc_pipeline.scorers import Bench, JudgeState
from aigc_pipeline.scorers.critic import calibrated_logit
from aigc_pipeline.scorers.health import measure
from aigc_pipeline.stages.calibrate import CalibrateConfig

RESULTS = Path(__file__).parent / "results"
FAMILIES = ("flow_matching", "r3gan", "dcgan")
NUM_SEEDS, CAS_SEEDS, FIDELITY_DRAWS = 5, 2, 3
PUBLISHED_PER_CLASS, MIN_PER_CLASS = 100, 10
CLASSES = [str(digit) for digit in range(10)]
NETWORK = Arm("network", "cross_entropy")
CAS_SAMPLES, ORACLE_SAMPLES = 10_000, 60_000
COMMON = (
    "runtime.device=cpu",
    "runtime.threads=1",
    "plan.with_classic=false",
    "plan.strategy={kind: explicit, counts: {"
    + ", ".join(f"'{name}': {PUBLISHED_PER_CLASS}" for name in CLASSES)
    + "}}",
    "synthesize.audit_per_class=0",
    "synthesize.max_oversampling=5",
)
MNIST_PER_CLASS, MNIST_TEST_PER_CLASS, MNIST_ORACLE_PER_CLASS = 200, 200, 1_000
Rows = NDArray[np.int64]
Pictures = Mapping[str, Sequence[bytes]]
Case = Mapping[str, Any]
"""What `ask` returns, as JSON keeps it."""


@dataclass(frozen=True)
class Dataset:
    """Where a data set comes from and how long a generator learns from it."""

    name: str
    overrides: tuple[str, ...]
    samples_seen: Mapping[str, int]
    """Per family."""
    source: Callable[[int, Path], str]
    """(seed, empty folder) to what `load_config` takes as a source."""
    everything: Callable[[], Pictures]
    """All pictures per class, for the oracle."""


def digits(name: str, *overrides: str) -> Dataset:
    """Return scikit-learn's digits: 54 test pictures of each, a pool of about 125 or fewer."""

    def of_digits(_seed: int, _folder: Path) -> str:
        return "digits"

    def everything() -> Pictures:
        config = load_config(source="digits", overrides=["ingest.source.long_tail=false"])
        pictures: dict[str, list[bytes]] = {each: [] for each in CLASSES}
        for each in config.ingest.source.records():
            assert each.content is not None
            pictures[each.class_name].append(each.content)
        return pictures

    return Dataset(
        name, overrides, {"flow_matching": 100_000, "r3gan": 50_000, "dcgan": 100_000}, of_digits, everything
    )


def mnist(root: Path) -> Dataset:
    """Return 200 pictures of each digit drawn by the seed, and 2,000 others of the same source as test, at 16 px.

    MNIST's own test split is by other writers: on it, a calibrated critic would show a shift that is not its own.
    """

    def source(seed: int, folder: Path) -> str:
        for name in CLASSES:
            files = sorted((root / "train" / name).iterdir())
            order = numpy_generator(seed, "mnist", name).permutation(len(files))
            roles = {"train": order[:MNIST_PER_CLASS], "test": order[MNIST_PER_CLASS:][:MNIST_TEST_PER_CLASS]}
            for role, rows in roles.items():
                (folder / role / name).mkdir(parents=True)
                for row in rows:
                    shutil.copy(files[row], folder / role / name)
        return str(folder)

    def everything() -> Pictures:
        return {
            name: [file.read_bytes() for file in sorted((root / "train" / name).iterdir())[:MNIST_ORACLE_PER_CLASS]]
            for name in CLASSES
        }

    return Dataset(
        "mnist",
        ("split.size=16", "embed.encoder.total_samples=40000"),
        {"flow_matching": 120_000, "r3gan": 120_000, "dcgan": 120_000},
        source,
        everything,
    )


@dataclass(frozen=True)
class Run:
    """A finished run up to `filter`, opened for measuring."""

    seed: int
    splits: DatasetSplits
    judge: Judge
    state: JudgeState
    bench: Bench
    make_fakes: Callable[[Mapping[int, int], str], LabelledCells]
    test: LabelledCells
    candidates: LabelledCells
    table: pa.Table


def go(config: PipelineConfig, workspace: Path) -> Run:
    """Run the stages up to `filter`; evaluate and publish are what this file does by itself."""
    context = Context(Store(workspace), config.seed, config.runtime)
    done = judge_pipeline(config, context=context)
    return opened(
        context,
        (done.planned, done.splits, done.embeddings, done.checkpoint, done.judge),
        from_table(read_shards(context.files_of(done.candidates), "candidates")),
        read_table(context.files_of(done.filtered) / "filtered.arrow"),
    )


def opened(
    context: Context,
    records: tuple[SynthesisPlan, DatasetSplits, Embeddings, Checkpoint, Judge],
    candidates: LabelledCells,
    table: pa.Table,
) -> Run:
    """Load what measuring needs."""
    planned, splits, embeddings, checkpoint, judge = records
    synthesizer = open_synthesizer(context, planned, splits, checkpoint)

    def make_fakes(counts: Mapping[int, int], purpose: str) -> LabelledCells:
        orders = synthesizer.orders(counts, purpose, root=context.seed)
        cells, _ = synthesizer.make(orders)
        labels = np.array([order.label for order in orders], np.int64)
        return LabelledCells([f"{purpose}-{i}" for i in range(len(orders))], labels, cells)

    return Run(
        context.seed, splits, judge,
        JudgeState.load(context.files_of(judge) / "judge.npz"),
        open_bench(context, splits, embeddings, synthesizer),
        make_fakes, load_cells(context.files_of(splits) / "test.arrow"), candidates, table,
    )  # fmt: skip


def equal_sets(table: pa.Table) -> dict[str, Rows]:
    """Return rows per way of choosing, as many as the default filter accepts of each class (`top_logit_global`: in all).

    Families without a discriminator have no raw logit to choose by.
    """
    labels, logit = table["label"].to_numpy(), table["d_logit"].to_numpy()
    reasons = np.array([reason or "" for reason in table["reject_reason"].to_pylist()])
    number = np.bincount(labels[reasons == ""], minlength=len(CLASSES))
    in_order = np.arange(len(table), dtype=np.float64)

    def best(key: NDArray[np.floating], allowed: NDArray[np.bool_]) -> Rows:
        chosen = [
            index[np.argsort(key[index], kind="stable")[:count]]
            for label, count in enumerate(number)
            for index in [np.flatnonzero(allowed & (labels == label))]
        ]
        return np.sort(np.concatenate(chosen))

    everything = np.ones(len(table), bool)
    by_logit = {
        "top_logit_per_class": best(-logit, everything),
        "top_logit_global": np.sort(np.argsort(-logit, kind="stable")[: number.sum()]),
    }
    return {
        "unfiltered": best(in_order, everything),
        **(by_logit if table["d_logit"].null_count == 0 else {}),
        "gates_without_critic": best(in_order, np.isin(reasons, ["", "class_quota", "rejection_sampling"])),
        "filtered": np.flatnonzero(reasons == ""),
    }


def worth_of(run: Run, rows: Rows, features: NDArray[np.float32], oracle: nn.Module) -> dict[str, float]:
    """Measure one set: what a network learns from it, and how it lies beside unseen reals in the judge encoder."""
    chosen, cpu = run.candidates.take(rows), torch.device("cpu")
    accuracies = []
    for seed in range(CAS_SEEDS):
        network = fit_downstream(
            NETWORK, chosen, None, spec=run.splits.spec, num_classes=len(CLASSES),
            budget=Budget(CAS_SAMPLES, 64, 1_000 * run.seed + seed, cpu),
        )  # fmt: skip
        accuracies.append(balanced_accuracy(predict(network, run.test, run.splits.spec, cpu), run.test.labels))
    counts = chosen.class_counts(len(CLASSES))
    right = predict(oracle, chosen, run.splits.spec, cpu) == chosen.labels
    return {
        "cas": float(np.mean(accuracies)),
        **fidelity(run.bench.judge_encoder.encode(run.test.cells), features[rows], run.seed),
        "label_purity": float(right.mean()),
        "min_class_share": float(counts.min() / counts.mean()),
    }


def fidelity(real: NDArray[np.float32], fake: NDArray[np.float32], seed: int) -> dict[str, float]:
    """Return means over draws of equal n."""
    number, draws = min(len(real), len(fake), 1_000), []
    for i in range(FIDELITY_DRAWS):
        generator = numpy_generator(seed, "draw", i)
        a, b = (each[generator.permutation(len(each))[:number]] for each in (real, fake))
        shares = prdc(a, b)
        draws.append((frechet_distance(a, b), shares.precision, shares.recall, shares.coverage))
    names = ("frechet_distance", "precision", "recall", "coverage")
    return dict(zip(names, np.mean(draws, axis=0).tolist(), strict=True))


def calibration(run: Run) -> dict[str, float | None]:
    """Return the critic's numbers on selection (from its record) and on the test reals against fresh fakes.

    Z's unit is the noise of the measured samples alone. The calibrator's own noise comes on top: with t test reals after c
    that fitted it, a Z of perfect method spreads by about sqrt(1 + t / c), which is 2.8 for 2,000 after 300.
    """
    names = ("auc", "ece", "excess_ece", "brier", "z")
    numbers: dict[str, float | None] = {name: getattr(run.judge, name) for name in names}
    numbers |= {f"num_{role}": run.splits.num_samples(role) for role in ROLES}
    if run.judge.critic_mode == "none":
        return numbers
    counts = run.test.class_counts(len(CLASSES))
    fakes = run.make_fakes({label: 2 * int(n) for label, n in enumerate(counts)}, "unseen")
    both = concatenate(run.test, fakes)
    batch = run.bench.prepare(
        both.cells, labels=both.labels, parents=np.full(len(both), -1), is_classic=np.zeros(len(both), bool),
        ids=both.ids, run_seed=run.seed,
    )  # fmt: skip
    is_real = np.arange(len(both)) < len(run.test)
    logit = calibrated_logit(batch, run.state)
    unseen = measure(logit, both.labels, is_real, CalibrateConfig().limits(), seed=run.seed).numbers
    return numbers | {f"unseen_{name}": unseen[name] for name in names}


def ask(dataset: Dataset, family: str, seed: int, scale: float, oracle_of: Callable[[SampleSpec], nn.Module]) -> Case:
    """Run one case and measure it; `sets` stays empty where a class has hardly an accepted sample."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            *COMMON, *dataset.overrides, f"seed={seed}", f"train.generator.kind={family}",
            f"train.total_samples={int(scale * dataset.samples_seen[family])}",
        ]  # fmt: skip
        source = dataset.source(seed, Path(folder) / "source")
        if source == "digits":
            overrides.append(f"ingest.source.seed={seed}")
        run = go(load_config(source=source, overrides=overrides), Path(folder) / "workspace")
        trained = time.monotonic()
        oracle = oracle_of(run.splits.spec)
        measured = time.monotonic()
        features = run.bench.judge_encoder.encode(run.candidates.cells)
        sets = equal_sets(run.table)
        labels = run.candidates.labels
        is_ready = run.candidates.take(sets["filtered"]).class_counts(len(CLASSES)).min() >= MIN_PER_CLASS
        passed = np.array([each in {None, "class_quota"} for each in run.table["reject_reason"].to_pylist()])
        shares = np.array([passed[labels == label].mean() for label in range(len(CLASSES))])
        return {
            "dataset": dataset.name,
            "family": family,
            "seed": seed,
            "scale": scale,
            "critic_mode": run.judge.critic_mode,
            "healthy": run.judge.healthy,
            "complaints": run.judge.complaints,
            "keep_share": run.judge.keep_share,
            "relaxed_from": run.judge.relaxed_from,
            "published": len(sets["filtered"]),
            "candidates": len(labels),
            "refused": count_reasons(run.table["reject_reason"].to_pylist()),
            "min_class_share_of_passing": float(shares.min() / shares.mean()),
            "calibration": calibration(run),
            "sets": {name: worth_of(run, rows, features, oracle) for name, rows in sets.items() if is_ready},
            "seconds_to_filter": trained - started,
            "seconds_to_measure": time.monotonic() - measured,
        }


class Oracle:
    """A classifier trained on all pictures of a data set, the test pictures too: it tells which labels are right."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.networks = dataset, dict[str, nn.Module]()

    def __call__(self, spec: SampleSpec) -> nn.Module:
        """Return the network for pictures of this spec, trained at first use."""
        key = spec.model_dump_json()
        if key not in self.networks:
            pictures = self.dataset.everything()
            labels = np.repeat(np.arange(len(CLASSES)), [len(pictures[name]) for name in CLASSES])
            cells = MODALITIES["image"].decode([each for name in CLASSES for each in pictures[name]], spec)
            self.networks[key] = fit_downstream(
                NETWORK, LabelledCells([str(i) for i in range(len(labels))], labels, cells), None,
                spec=spec, num_classes=len(CLASSES), budget=Budget(ORACLE_SAMPLES, 64, 0, torch.device("cpu")),
            )  # fmt: skip
        return self.networks[key]


METRICS = ("cas", "frechet_distance", "precision", "recall", "coverage", "label_purity", "min_class_share")


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return mean and the two-sided 95 % t interval over seeds."""
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return {"mean": float(np.mean(values)), "low": float(np.mean(values)) - half, "high": float(np.mean(values)) + half}


def summarize(cases: Sequence[Case]) -> list[Case]:
    """Return, per data set and family and over all, every set's means and what `filtered` gains on it, paired by seed."""
    ready = [case for case in cases if case["sets"]]
    groups: dict[str, list[Case]] = {}
    for case in ready:
        groups.setdefault(f"{case['dataset']}, {case['family']}", []).append(case)
    groups["critic trusted"] = [case for case in ready if case["keep_share"] is not None]
    groups["all"] = ready
    rows: list[Case] = []
    for name, mine in groups.items():
        if len(mine) < 2:
            continue
        names = dict.fromkeys(name for case in mine for name in case["sets"])
        for other in names:
            sets = [case["sets"] for case in mine if other in case["sets"]]
            gains = {m: interval([s["filtered"][m] - s[other][m] for s in sets]) for m in METRICS}
            means = {m: float(np.mean([s[other][m] for s in sets])) for m in METRICS}
            rows.append({"group": name, "n": len(sets), "set": other, "means": means, "filtered_minus_this": gains})
    return rows


def show(rows: Sequence[Case], cases: Sequence[Case]) -> None:
    """Print both tables."""
    print(f"{'group':20} {'set':22}" + "".join(f"{m[:9]:>10}" for m in METRICS) + "   filtered - this, CAS (95 %)")
    for row in rows:
        gain = row["filtered_minus_this"]["cas"]
        numbers = "".join(f"{row['means'][m]:10.3f}" for m in METRICS)
        gained = f"{100 * gain['mean']:+.2f} ({100 * gain['low']:+.2f} to {100 * gain['high']:+.2f})"
        print(f"{row['group']:20} {row['set']:22}{numbers}   {gained}")
    print(f"\n{'case':22} {'mode':12} {'healthy':8}{'K':>6}{'share':>7}   ece, excess, z on selection; on test")
    for case in cases:
        c, name = case["calibration"], f"{case['dataset']} {case['family']} {case['seed']}"
        parts = [("ece", "excess_ece", "z"), ("unseen_ece", "unseen_excess_ece", "unseen_z")]
        shown = "; ".join(" ".join(f"{c[n]:+.3f}" if c.get(n) is not None else "-" for n in part) for part in parts)
        keep, share = case["keep_share"] or float("nan"), case["min_class_share_of_passing"]
        print(f"{name:22} {case['critic_mode']:12} {case['healthy']!s:8}{keep:6.2f}{share:7.2f}   {shown}")


def main() -> None:
    """Run what has not been run, then print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="times as long trainings")
    parser.add_argument("--only", help="name of one data set")
    parser.add_argument("--families", nargs="*", choices=FAMILIES, default=FAMILIES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    datasets = [
        *([mnist(arguments.mnist)] if arguments.mnist else []),
        digits("digits", "ingest.source.long_tail=false"),
        digits("digits30", "ingest.source.commonest=30", "ingest.source.rarest=30"),
    ]
    if not arguments.mnist:
        print("MNIST is left out: give --mnist FOLDER")
    kept = RESULTS / ("filtering_quick.jsonl" if arguments.quick else "filtering_cases.jsonl")
    lines = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    cases = [case for case in lines if case["scale"] == arguments.scale]
    done = {(case["dataset"], case["family"], case["seed"]) for case in cases}
    for dataset in datasets:
        oracle_of = Oracle(dataset)
        for family in arguments.families:
            for seed in range(1 if arguments.quick else NUM_SEEDS):
                if (dataset.name, family, seed) not in done and arguments.only in {None, dataset.name}:
                    cases.append(json.loads(json.dumps(ask(dataset, family, seed, arguments.scale, oracle_of))))
                    with kept.open("a") as handle:
                        handle.write(json.dumps(cases[-1]) + "\n")
    rows = summarize(cases)
    show(rows, cases)
    if not arguments.quick:
        (RESULTS / "filtering.json").write_text(json.dumps({"summary": rows, "cases": cases}, indent=1))


if __name__ == "__main__":
    main()
