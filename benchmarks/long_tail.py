"""Long-tailed MNIST, 500 down to 5 samples a class: what every way to train gains over balanced softmax.

Arms, doses and permutations of which class is rare are fixed here, before the test set is read; every arm is reported,
with a control of plain copies at every dose and, as the ceiling, as many real samples that were held back.

    python benchmarks/long_tail.py FOLDER [--permutations 5] [--first 0] [--numbers 15 20] [--families warp vae ...] [--short] [--name long_tail]

With `--short` a permutation takes about 7 minutes of one core for `warp` and 40 for all seven families; resumes. FOLDER has
train/0 .. train/9 and test/0 .. test/9. Writes benchmarks/results/<name>.json and prints the table. `--short` compares families: the bars,
one dose of each control, and every family named, filtered and not; the varied rows are those of the first family's run, or
of `classic` alone where none is named (3 minutes a permutation).
"""

import argparse
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t

from aigc_pipeline.config import PipelineConfig, load_config
from aigc_pipeline.core.context import Context
from aigc_pipeline.core.samples import ROLES, Mix
from aigc_pipeline.core.store import Store
from aigc_pipeline.data.loader import LabelledCells, concatenate, from_table, load_cells
from aigc_pipeline.data.mixing import chosen_rows
from aigc_pipeline.data.shards import read_shards, read_table
from aigc_pipeline.metrics.classification import scores_of
from aigc_pipeline.metrics.downstream import Arm
from aigc_pipeline.metrics.uplift import BASELINES, Pool, Trials, copies_of
from aigc_pipeline.metrics.verdict import decide
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.pipeline import Judged, judge_pipeline

RESULTS = Path(__file__).parent / "results"
WORK = Path("workspace") / "long_tail"
LARGEST, SMALLEST, NUM_CLASSES = 500, 5, 10
DOSES = (0.25, 0.5)
BAR = "balanced_softmax"
TOTAL_SAMPLES, BATCH_SIZE = 40_960, 64
GENERATOR_SAMPLES = 60_000
POOLS = ("copies", "classic", "generated", "generated_unfiltered", "both", "real")
SHORT_BASELINES, SHORT_POOLS = (
    ("cross_entropy", "balanced_softmax", "balanced_resampling"),
    ("copies", "classic", "real"),
)
FURTHER_BARS = ("copies, dose 0.25", "classic, dose 0.25", "balanced_resampling")
"""Families are compared with these, too; `classic` rows are elastic copies."""
ONE_DOSE = ("generated_unfiltered", "both")
"""Kinds measured at the first dose alone, for time."""
DEFAULT_FAMILY, FAMILY_DOSE = "flow_matching", 0.25
"""Every other family stands at this dose alone, its accepted rows and as many unfiltered ones."""
PUBLISHED_DOSE, PUBLISHED_WEIGHT = 0.25, 0.5  # EvaluateConfig's defaults: 124 selection samples choose nothing


Case = Mapping[str, Any]
"""One permutation's record in the result file."""


@dataclass(frozen=True)
class Setting:
    """One permutation: which class has how many samples, and the folders made of them."""

    number: int
    counts: dict[int, int]
    folder: Path
    held_back: Path


def prepare(source: Path, number: int) -> Setting:
    """Lay out one long-tailed dataset, and beside it as many unused real samples as fill every class to the largest."""
    generator = np.random.default_rng([number, 2026])
    order = generator.permutation(NUM_CLASSES)
    sizes = [round(LARGEST * (SMALLEST / LARGEST) ** (rank / (NUM_CLASSES - 1))) for rank in range(NUM_CLASSES)]
    counts = {int(label): size for label, size in zip(order, sizes, strict=True)}
    folder, held_back, partial = (WORK / f"{name}-{number}" for name in ("data", "held-back", "partial"))
    if not folder.exists():
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(held_back, ignore_errors=True)
        for label, size in sorted(counts.items()):
            files = sorted((source / "train" / str(label)).iterdir())
            chosen = [files[i] for i in generator.permutation(len(files))[:LARGEST]]
            link(chosen[:size], partial / "train" / str(label))
            link(chosen[size:], held_back / str(label))
            link(sorted((source / "test" / str(label)).iterdir()), partial / "test" / str(label))
        partial.rename(folder)
    return Setting(number, counts, folder, held_back)


def link(files: list[Path], folder: Path) -> None:
    """Copy files into a new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)


def configure(setting: Setting, family: str) -> PipelineConfig:
    """Return the run's settings: every class filled up to the largest, a fixed training budget, one thread."""
    want = {str(label): LARGEST - count for label, count in setting.counts.items()}
    return load_config(
        source=setting.folder,
        overrides=[
            f"seed={setting.number}",
            f"train.generator.kind={family}",
            f"train.total_samples={GENERATOR_SAMPLES}",
            "runtime.threads=1",
            "runtime.device=cpu",
            f"plan.strategy={{kind: explicit, counts: {json.dumps(want)}}}",
            "synthesize.audit_per_class=0",
            "clean.gates=[]",
        ],
    )


def run(setting: Setting, family: str) -> tuple[Context, Judged]:
    """Run the pipeline up to the gates; what does not depend on the family is reused."""
    config = configure(setting, family)
    context = Context(Store(WORK / f"workspace-{setting.number}"), config.seed, config.runtime)
    return context, judge_pipeline(config, context=context)


def pools_of(context: Context, judged: Judged, real: LabelledCells, held_back: Path) -> dict[str, Pool]:
    """Return the synthetic rows of every kind, at equal numbers per class as far as there are enough."""
    table = read_table(context.files_of(judged.filtered) / "filtered.arrow")
    cells = from_table(read_shards(context.files_of(judged.candidates), "candidates"))
    kinds: dict[str, Mix] = {"classic": "classic", "generated": "generated", "both": "both"}
    rows = {name: chosen_rows(table, mix) for name, mix in kinds.items()}
    unfiltered = [order_of_first(table, label, n) for label, n in want_of(judged).items()]
    rows["generated_unfiltered"] = np.concatenate(unfiltered)
    pools = {name: Pool(cells.take(index), np.ones(len(index), np.float32)) for name, index in rows.items()}
    pools["copies"] = copies_of(real, pools["classic"], np.random.default_rng(0))
    held = real_pool(held_back, judged)
    pools["real"] = Pool(held, np.ones(len(held), np.float32))
    return pools


def pools_of_family(setting: Setting, family: str) -> tuple[dict[str, Pool], dict[str, object]]:
    """Return a family's accepted rows, and as many as wanted whatever the gates say; and what its judge found."""
    context, judged = run(setting, family)
    table = read_table(context.files_of(judged.filtered) / "filtered.arrow")
    cells = from_table(read_shards(context.files_of(judged.candidates), "candidates"))
    unfiltered = [order_of_first(table, label, n) for label, n in want_of(judged).items()]
    rows = {family: chosen_rows(table, "generated"), f"{family}_unfiltered": np.concatenate(unfiltered)}
    pools = {name: Pool(cells.take(index), np.ones(len(index), np.float32)) for name, index in rows.items()}
    return pools, judge_of(judged)


def judge_of(judged: Judged) -> dict[str, object]:
    """Return what is worth keeping of a judge."""
    return judged.judge.model_dump(
        mode="json", include={"auc", "ece", "excess_ece", "z", "complaints", "keep_share"}
    ) | {"rejected": judged.filtered.rejected, "events": judged.checkpoint.events}


def order_of_first(table: object, label: int, number: int) -> np.ndarray:
    """Return the first candidates of a class by the plan's own method, whatever the gates say."""
    labels, origin = table["label"].to_numpy(), np.array(table["origin"].to_pylist())  # type: ignore[index]
    mine = labels == label
    own = "generated" if (mine & (origin == "generated")).any() else "classic"
    return np.flatnonzero(mine & (origin == own))[:number]


def want_of(judged: Judged) -> dict[int, int]:
    """Return how many rows the plan wants per class."""
    return {label: each.want for label, each in enumerate(judged.planned.classes)}


def real_pool(folder: Path, judged: Judged) -> LabelledCells:
    """Return the held-back real samples as cells."""
    spec, names = judged.splits.spec, judged.splits.classes
    files = [(file, names.index(place.name)) for place in sorted(folder.iterdir()) for file in sorted(place.iterdir())]
    cells = modality_of(spec).decode([file.read_bytes() for file, _ in files], spec)
    return LabelledCells([file.name for file, _ in files], np.array([k for _, k in files], np.int64), cells)


@dataclass(frozen=True)
class Choice:
    """Which arms are measured."""

    families: tuple[str, ...]
    is_short: bool

    @property
    def base(self) -> str:
        """The family whose run also gives the rows of every other kind."""
        if not self.is_short:
            return DEFAULT_FAMILY
        return self.families[0] if self.families else "classic"


def arms(choice: Choice) -> Iterator[tuple[Arm, str | None]]:
    """Yield every arm with the kind of rows it adds. Nothing is added to this list after a test result was seen."""
    families = choice.families
    for arm in BASELINES:
        if arm.name != "real" and (not choice.is_short or arm.name in SHORT_BASELINES):
            yield arm, None
    bar = next(arm for arm in BASELINES if arm.name == BAR)
    for kind in SHORT_POOLS if choice.is_short else POOLS:
        for dose in DOSES[:1] if choice.is_short or kind in ONE_DOSE else DOSES:
            yield replace(bar, name=f"{kind}, dose {dose}", dose=dose), kind
    for kind in (each for family in families for each in (family, f"{family}_unfiltered")):
        yield replace(bar, name=f"{kind}, dose {FAMILY_DOSE}", dose=FAMILY_DOSE), kind
    if not choice.is_short:
        yield replace(bar, name="published", dose=PUBLISHED_DOSE, loss_weight=PUBLISHED_WEIGHT), "published"


def measure(source: Path, number: int, published: str, choice: Choice) -> Case:
    """Train every arm of one permutation once on the same seed; return predictions turned into numbers."""
    done = WORK / f"case-{number}{'-short' * choice.is_short}-{'-'.join(choice.families)}.json"
    if done.exists():
        found: Case = json.loads(done.read_text())
        return found
    setting = prepare(source, number)
    context, judged = run(setting, choice.base)
    roles = {role: load_cells(context.files_of(judged.splits) / f"{role}.arrow") for role in ROLES}
    real, test = concatenate(*(roles[role] for role in ROLES[:3])), roles["test"]
    pools = pools_of(context, judged, real, setting.held_back)
    pools["published"] = pools[published]
    judges = {choice.base: judge_of(judged)}
    for family in choice.families:
        rows, judges[family] = pools_of_family(setting, family)
        pools |= rows
    trials = Trials(
        judged.splits.spec, NUM_CLASSES, TOTAL_SAMPLES, BATCH_SIZE, torch.device("cpu"),
        lambda _purpose, _seed: number, None, lambda: None,
    )  # fmt: skip
    rarest = sorted(setting.counts, key=lambda label: setting.counts[label])[:3]
    predicted: dict[str, np.ndarray] = {}
    for arm, kind in arms(choice):
        file = WORK / f"predicted-{number}" / f"{arm.name.replace(' ', '_')}.npy"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, trials.predictions(arm, real, pools[kind] if kind else None, test, "long-tail", 1))
        predicted[arm.name] = np.load(file)
        print(number, arm.name, numbers(predicted[arm.name], test.labels, rarest), flush=True)
    case = {
        "permutation": number,
        "counts": setting.counts,
        "num_rows": {name: len(pool.rows) for name, pool in pools.items()},
        "judges": judges,
        "arms": {name: numbers(rows, test.labels, rarest) for name, rows in predicted.items()},
        "correct": {name: (rows == test.labels)[0].tolist() for name, rows in predicted.items()},
        "labels": test.labels.tolist(),
        "test_ids": list(test.ids),
    }
    done.write_text(json.dumps(case))
    return case


def numbers(predicted: np.ndarray, labels: np.ndarray, rarest: list[int]) -> dict[str, float]:
    """Return balanced accuracy, macro F1 and the mean recall of the three rarest classes, in percent."""
    scores = scores_of(predicted, labels, NUM_CLASSES)
    tail = float(np.mean([(predicted[0, labels == k] == k).mean() for k in rarest]))
    return {
        "balanced_accuracy": 100 * scores["balanced_accuracy"],
        "macro_f1": 100 * scores["macro_f1"],
        "tail_recall": 100 * tail,
    }


def summarize(cases: Sequence[Case], choice: Choice) -> list[dict[str, Any]]:
    """Return one row per arm: means, and differences to the bar paired by permutation with a 95 % t interval."""
    rows = []
    for arm, _ in arms(choice):
        table = [case["arms"] for case in cases]
        row: dict[str, Any] = {"arm": arm.name, "n": len(table)}
        for metric in ("balanced_accuracy", "macro_f1", "tail_recall"):
            values = np.array([each[arm.name][metric] for each in table])
            gain, half = gain_over(BAR, values, table, metric)
            row |= {metric: float(values.mean()), f"gain_{metric}": gain, f"half_{metric}": half}
        f1 = np.array([each[arm.name]["macro_f1"] for each in table])
        row["over"] = {bar: gain_over(bar, f1, table, "macro_f1") for bar in FURTHER_BARS}
        row["times_below"] = {
            bar: int(sum(each[arm.name]["macro_f1"] < each[bar]["macro_f1"] for each in table))
            for bar in (BAR, *FURTHER_BARS)
        }
        rows.append(row)
    ceiling = {str(row["arm"]): row["gain_macro_f1"] for row in rows}
    for row in rows:
        best = max(gain for name, gain in ceiling.items() if name.startswith("real, "))
        row["share_of_ceiling"] = float(row["gain_macro_f1"] / best) if best else None
    return rows


def gain_over(bar: str, values: np.ndarray, table: Sequence[Case], metric: str) -> tuple[float, float | None]:
    """Return the mean difference to a bar, paired by permutation, and half of its 95 % t interval."""
    gain = values - np.array([each[bar][metric] for each in table])
    if len(gain) < 2:
        return float(gain.mean()), None
    return float(gain.mean()), float(t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / math.sqrt(len(gain)))


def verdicts(cases: Sequence[Case], choice: Choice) -> dict[str, dict[str, Any]]:
    """Return, per arm with added rows, the verdict over all permutations as paired seeds on one test set.

    Cleaning leaves out test samples that are near duplicates of training ones, which differ: those of all cases count.
    """
    shared = sorted(set.intersection(*(set(case["test_ids"]) for case in cases)))
    places = [{each: place for place, each in enumerate(case["test_ids"])} for case in cases]
    rows = [np.array([place[each] for each in shared]) for place in places]
    labels = np.array(cases[0]["labels"])[rows[0]]
    stacked = {
        arm.name: np.array([np.array(case["correct"][arm.name])[row] for case, row in zip(cases, rows, strict=True)])
        for arm, _ in arms(choice)
    }
    found = {}
    for arm, kind in arms(choice):
        if kind is not None and len(cases) > 1:
            verdict = decide(
                stacked[BAR], stacked[arm.name], labels, baseline_name=BAR, dose=arm.dose, loss_weight=arm.loss_weight
            )
            found[arm.name] = {"outcome": verdict.outcome, "sentence": verdict.sentence}
    return found


def main() -> None:
    """Measure all permutations, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--permutations", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--numbers", nargs="*", type=int, help="permutations, instead of --first and --permutations")
    parser.add_argument("--published", choices=("classic", "generated", "both"), default="generated")
    parser.add_argument(
        "--families", nargs="*", default=[], help=f"beside {DEFAULT_FAMILY}; with --short, instead of it"
    )
    parser.add_argument("--short", action="store_true", help="bars, controls and families alone")
    parser.add_argument("--name", default="long_tail", help="of the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = arguments.numbers or range(arguments.first, arguments.first + arguments.permutations)
    choice = Choice(tuple(arguments.families), arguments.short)
    cases = [measure(arguments.folder, number, arguments.published, choice) for number in chosen]
    rows, said = summarize(cases, choice), verdicts(cases, choice)
    print(f"\n{'arm':28} bal.acc  macro-F1    gain           tail recall  gain           of ceiling  verdict")
    for row in rows:
        name = str(row["arm"])
        print(
            f"{name:28} {row['balanced_accuracy']:7.2f} {row['macro_f1']:8.2f} {row['gain_macro_f1']:+7.2f}"
            f" ({row['half_macro_f1'] or 0:.2f}) {row['tail_recall']:12.2f} {row['gain_tail_recall']:+7.2f}"
            f" ({row['half_tail_recall'] or 0:.2f}) {row['share_of_ceiling'] or 0:9.2f}   {said.get(name, {}).get('outcome', '')}"
        )
    print(f"\nmacro-F1, gain over {', '.join(FURTHER_BARS)}; how often below {BAR} and below these")
    for row in rows:
        gains = "  ".join(f"{gain:+.2f} ({half or 0:.2f})" for gain, half in row["over"].values())
        print(f"{row['arm']!s:28} {gains}   {list(row['times_below'].values())}")
    kept = [{k: v for k, v in case.items() if k not in {"correct", "labels", "test_ids"}} for case in cases]
    (RESULTS / f"{arguments.name}.json").write_text(
        json.dumps({"rows": rows, "verdicts": said, "cases": kept}, indent=1)
    )


if __name__ == "__main__":
    main()
