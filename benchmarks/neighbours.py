"""Exact nearest neighbours: `features.neighbours.nearest` beside scikit-learn (brute force) and faiss (IndexFlatL2).

100,000 clustered queries against 50,000 rows in 64 dimensions, one thread each, one process per run, interleaved. Memory
is the peak of the resident set above data and imports. Where AIGC_DATA names a folder of class folders of pictures (CIFAR-10),
near copies are timed, too: `nearest_over_views` for 1,000 pictures in all 25 shifts against 41,000, beside faiss, which is
given every shift as a query. CPU seconds are compared, because wall time on a shared machine
measures the neighbors. faiss is no dependency: without it (`pip install faiss-cpu scikit-learn numpy` into an
environment whose python AIGC_PEERS names) the JSON says so. Then, as information, how many candidates all scorers
together judge in a second.

    [AIGC_DATA=FOLDER] python benchmarks/neighbours.py

Writes benchmarks/results/neighbours.json.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

QUERIES, ROWS, SIZE, CLUSTERS = 100_000, 50_000, 64, 500
NEIGHBOURS, REPEATS, CHECKED = (1, 5), 3, 500
CANDIDATES, SEED = 4_000, 0
PICTURES, UNSEEN, NUM_VIEWS = 41_000, 1_000, 25
PEERS = Path(os.environ.get("AIGC_PEERS", "/tmp/peers/bin/python"))  # noqa: S108 - where the install line below puts it
INSTALL = f"python -m venv {PEERS.parent.parent} && {PEERS.parent}/pip install faiss-cpu scikit-learn numpy"
RESULT = Path(__file__).parent / "results" / "neighbours.json"
LIMITS = {"times_faiss": 1.2, "peak_mb": 500}
Search = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def main() -> None:
    """Measure all finders and print a table; `--child finder k folder` is one run in its own process."""
    if "--child" in sys.argv:
        measure(sys.argv[-3], int(sys.argv[-2]), Path(sys.argv[-1]))
        return
    import torch

    from aigc_pipeline.training.devices import device_name

    finders = {"ours": sys.executable, "scikit-learn": sys.executable, "faiss": python_with_faiss()}
    if finders["faiss"] is None:
        print(f"faiss is missing and left out; to install: {INSTALL}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for k in NEIGHBOURS:
            rows += compared({name: python for name, python in finders.items() if python}, k, Path(folder))
        near_copies = copies_compared(finders, Path(folder)) if "AIGC_DATA" in os.environ else "AIGC_DATA is not set"
    report: dict[str, Any] = {
        "queries": QUERIES, "rows": ROWS, "dimensions": SIZE, "threads": 1, "repeats": REPEATS, "limits": LIMITS,
        "machine": {"cores": os.cpu_count(), "processor": device_name(torch.device("cpu")), "load": os.getloadavg()},
        "faiss": "measured" if finders["faiss"] else f"not installed; {INSTALL}",
        "results": rows, "near_copies": near_copies, "scoring": scoring(),
    }  # fmt: skip
    print(f"scoring {CANDIDATES} digits: {report['scoring']['samples_per_second']:,.0f} samples/s")
    RESULT.write_text(json.dumps(report, indent=1) + "\n")


def compared(finders: dict[str, str], k: int, folder: Path) -> list[dict[str, Any]]:
    """Return one row per finder: medians over interleaved runs, and how many neighbors agree with float64."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in finders}
    for _ in range(REPEATS):
        for name, python in finders.items():
            runs[name].append(run(python, name, k, folder))
    expected, rows = truth(k), []
    for name, own in runs.items():
        row = {"finder": name, "version": own[0]["version"], "k": k}
        row |= {key: median(each[key] for each in own) for key in ("cpu_s", "wall_s", "peak_mb")}
        row["all_cpu_s"] = [each["cpu_s"] for each in own]
        if "faiss" in runs:
            pairs = zip(own, runs["faiss"], strict=True)
            row["times_faiss"] = median(each["cpu_s"] / peer["cpu_s"] for each, peer in pairs)
        row["equal_to_float64"] = float((np.load(folder / f"{name}.npy") == expected).all(1).mean())
        print(f"k={k} " + " ".join(f"{key} {show(value)}" for key, value in row.items() if key != "k"))
        rows.append(row)
    return rows


def copies_compared(finders: dict[str, str | None], folder: Path) -> dict[str, Any]:
    """Return CPU seconds for near copies of pictures, ours beside faiss, and whether both find the same distances."""
    from PIL import Image

    from aigc_pipeline.modalities.image.views import shifted_views

    files = sorted(Path(os.environ["AIGC_DATA"]).glob("*/*"))
    chosen = np.random.default_rng(SEED).permutation(len(files))[: PICTURES + UNSEEN]
    pixels = np.stack([np.asarray(Image.open(files[i]).convert("RGB")) for i in chosen])
    np.save(folder / "reference.npy", next(shifted_views(pixels[:PICTURES], ())))
    np.save(folder / "views.npy", np.stack(list(shifted_views(pixels[PICTURES:], ()))))
    runs = {name: run(python, name, 1, folder) for name in ("ours", "faiss") if (python := finders[name])}
    found: dict[str, Any] = {"pictures": PICTURES, "unseen": UNSEEN, "views": NUM_VIEWS, "runs": runs}
    if "faiss" in runs:
        ours, theirs = (np.load(folder / f"{name}-distances.npy") for name in ("ours", "faiss"))
        found["times_faiss"] = runs["ours"]["cpu_s"] / runs["faiss"]["cpu_s"]
        found["largest_relative_difference"] = float((np.abs(ours - theirs) / theirs).max())
    print("near copies " + " ".join(f"{key} {value}" for key, value in found.items()))
    return found


def run(python: str, finder: str, k: int, folder: Path) -> dict[str, Any]:
    """Return seconds and megabytes of one run."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [python, __file__, "--child", finder, str(k), str(folder)]
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def measure(finder: str, k: int, folder: Path) -> None:
    """Search once; print what it took and save which rows the first queries found."""
    search, number = FINDERS[finder]()
    if (folder / "views.npy").exists():
        queries, reference = np.load(folder / "views.npy"), np.load(folder / "reference.npy")
        search = over_views if finder == "ours" else any_view(search)
    else:
        queries, reference = data()
        search(queries[:100], reference[:1_000], k)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before, wall, cpu = resident_mb("VmRSS"), time.monotonic(), time.process_time()
    distance, index = search(queries, reference, k)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    peak = resident_mb("VmHWM") - before
    np.save(folder / f"{finder}.npy", index[:CHECKED])
    np.save(folder / f"{finder}-distances.npy", distance)
    print(json.dumps({"version": number, "cpu_s": cpu, "wall_s": wall, "peak_mb": peak}))


def data() -> tuple[np.ndarray, np.ndarray]:
    """Return clustered queries and rows in float32; unit deviation about centers three times as wide."""
    generator = np.random.default_rng(SEED)
    centers = 3 * generator.standard_normal((CLUSTERS, SIZE), np.float32)

    def draw(number: int) -> np.ndarray:
        rows = generator.standard_normal((number, SIZE), np.float32)
        rows += centers[generator.integers(0, CLUSTERS, number)]
        return rows

    return draw(QUERIES), draw(ROWS)


def truth(k: int) -> np.ndarray:
    """Return the neighbors of the first queries by subtraction in float64."""
    queries, reference = data()
    wide = reference.astype(np.float64)
    found = (np.argsort(np.square(wide - query).sum(1), kind="stable")[:k] for query in queries[:CHECKED].astype(float))
    return np.stack(list(found))


def with_ours() -> tuple[Search, str]:
    """Return our search."""
    import torch

    from aigc_pipeline.features.neighbours import nearest

    torch.set_num_threads(1)
    return nearest, version("torch")


def over_views(views: np.ndarray, reference: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG001 - 1
    """Return our near-copy search, over views `[v, m, d]`."""
    from aigc_pipeline.features.neighbours import nearest_over_views

    return nearest_over_views([list(views)], reference)


def any_view(search: Search) -> Search:
    """Return a search over views `[v, m, d]` that asks for every one of them."""

    def searched(views: np.ndarray, reference: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        distance, rows = search(views.reshape(-1, views.shape[2]), reference, k)
        distance, rows = distance.reshape(len(views), -1), rows.reshape(len(views), -1)
        best = distance.argmin(0)[None]
        found = np.take_along_axis(distance, best, 0)[0] / np.float32(np.sqrt(views.shape[2]))
        return found, np.take_along_axis(rows, best, 0)[0]

    return searched


def with_scikit_learn() -> tuple[Search, str]:
    """Return scikit-learn's brute force."""
    from sklearn.neighbors import NearestNeighbors

    def search(queries: np.ndarray, reference: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        found = NearestNeighbors(n_neighbors=k, algorithm="brute", n_jobs=1).fit(reference).kneighbors(queries)
        return found[0], found[1]

    return search, version("scikit-learn")


def with_faiss() -> tuple[Search, str]:
    """Return faiss's exact index."""
    import faiss  # type: ignore[import-not-found, unused-ignore]

    faiss.omp_set_num_threads(1)

    def search(queries: np.ndarray, reference: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        index = faiss.IndexFlatL2(reference.shape[1])
        index.add(reference)
        squared, rows = index.search(queries, k)
        return np.sqrt(squared), rows

    return search, version("faiss-cpu")


FINDERS = {"ours": with_ours, "scikit-learn": with_scikit_learn, "faiss": with_faiss}


def python_with_faiss() -> str | None:
    """Return an interpreter that can import faiss: this one, or the one AIGC_PEERS names."""
    if importlib.util.find_spec("faiss"):
        return sys.executable
    if not PEERS.exists():
        return None
    found = subprocess.run([str(PEERS), "-c", "import faiss"], capture_output=True, check=False)
    return str(PEERS) if found.returncode == 0 else None


def scoring() -> dict[str, float]:
    """Return how fast all scorers judge digits against 1,000 training digits, set columns included."""
    import pyarrow as pa
    import torch
    from sklearn.datasets import load_digits

    from aigc_pipeline.data.loader import LabelledCells
    from aigc_pipeline.data.shards import cells_from_numpy
    from aigc_pipeline.features import Classifier, RandomNetwork
    from aigc_pipeline.features.views import first_view
    from aigc_pipeline.generators import R3GAN
    from aigc_pipeline.modalities import ImageSpec, modality_of
    from aigc_pipeline.scorers import Bench, TrainReference, add_set_columns, score_batch
    from aigc_pipeline.training.loop import Hooks

    torch.set_num_threads(1)
    spec, loaded = ImageSpec(height=8, width=8, channels=1), load_digits()
    pixels = np.clip(loaded.images * 16, 0, 255).astype(np.uint8)[..., None]
    labels = loaded.target.astype(np.int64)
    train = LabelledCells([f"train-{i}" for i in range(1_000)], labels[:1_000], cells_from_numpy(pixels[:1_000]))
    fitting: dict[str, Any] = {
        "spec": spec,
        "num_classes": 10,
        "seed": SEED,
        "device": torch.device("cpu"),
        "hooks": Hooks(),
    }
    encoder = Classifier(total_samples=6_400).fit(train, train, **fitting)
    judge = RandomNetwork().fit(train, train, **fitting)
    family = R3GAN()
    networks = family.networks(spec, 10, seed=SEED)

    def d_logit(cells: pa.Array, labels: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            x = modality_of(spec).to_tensor(cells, spec)
            return family.d_logit(networks, x, torch.from_numpy(labels)).numpy()  # type: ignore[union-attr]

    reference = TrainReference(
        train.ids, first_view(train.cells, spec), encoder.encode(train.cells), judge.encode(train.cells)
    )
    bench = Bench(encoder, judge, d_logit, reference)
    generator = np.random.default_rng(SEED)
    rows = generator.integers(1_000, len(pixels), CANDIDATES)
    noisy = np.clip(pixels[rows] + generator.normal(0, 20, (CANDIDATES, 8, 8, 1)), 0, 255).astype(np.uint8)
    cells, state = cells_from_numpy(noisy), placeholder_state(reference.features.shape[1])
    started, cpu = time.monotonic(), time.process_time()
    batch = bench.prepare(
        cells, labels=labels[rows], parents=np.full(CANDIDATES, -1, np.int64),
        is_classic=np.zeros(CANDIDATES, bool),
        ids=[str(i) for i in range(CANDIDATES)], run_seed=SEED,
    )  # fmt: skip
    table = pa.table({"label": pa.array(batch.labels), **score_batch(batch, state, reference)})
    table = add_set_columns(table, cells, spec, state)
    wall, cpu = time.monotonic() - started, time.process_time() - cpu
    return {
        "candidates": len(table), "train": len(train), "columns": table.num_columns, "wall_s": wall, "cpu_s": cpu,
        "samples_per_second": len(table) / cpu,
    }  # fmt: skip


def placeholder_state(num_features: int) -> Any:
    """Return a judge of the real shapes; its values do not change the time it takes."""
    from aigc_pipeline.scorers import JudgeState
    from aigc_pipeline.scorers.calibrators import Platt

    ten, holdout = np.zeros(10), np.linspace(0, 1, 400)
    return JudgeState(
        critic_weights=np.zeros(num_features + 1), critic_bias=0.0, critic_reals=np.ones(10, np.int64),
        uses_d_logit=True, d_offset=ten, d_scale=1.0,
        calibrator=Platt().kind, calibration=np.array([1.0, 0.0]), class_calibration=np.zeros((10, 2)),
        class_share=ten, log_mean_ratio=ten, acceptance_constant=ten + 1, acceptance_peak=ten,
        acceptance_rule="optimal", min_p_real=0.0, filters_by_probability=True, holdout_logits=holdout,
        temperature=1.0, holdout_distances=holdout, holdout_outlyingness=holdout,
        copy_threshold=0.03, distinct_threshold=0.01, repeat_threshold=0.008, class_have=np.full(10, 100),
    )  # fmt: skip


def resident_mb(field: str) -> float:
    """Return a memory figure of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def show(value: object) -> str:
    """Return a value for the table."""
    if isinstance(value, list):
        return "/".join(show(each) for each in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
