"""Samples per second from checkpoint to Arrow shard, as a share of the bare network forward at the same batch.

`shard` is what the synthesize stage does per shard: latents from seeds, network, cells, a file on disk. `bare` is the
network alone on latents that are there already, one batch after the other on all threads. The stage makes batches side by side
on a CPU, so a share can be over 100 %. Rounds alternate; the share is the median over rounds.

    python benchmarks/synthesis.py [--threads 2] [--rounds 7] [--device cuda] [--families r3gan ...] [--sizes "64 px RGB"]

Writes benchmarks/results/synthesis.json, where rows of other families and sizes stay. Goal: 85 % on a CPU, 70 % on a GPU.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import write_table
from aigc_pipeline.generators import DCGAN, R3GAN, VAE, FlowMatching
from aigc_pipeline.generators.base import latents
from aigc_pipeline.generators.synthesis import CHUNK_SIZE, Synthesizer
from aigc_pipeline.generators.weights import place
from aigc_pipeline.modalities import ImageSpec, modality_of
from aigc_pipeline.training.devices import device_name, keep_freed_memory

RESULT = Path(__file__).parent / "results" / "synthesis.json"
SPECS = {
    "32 px RGB": ImageSpec(height=32, width=32, channels=3),
    "64 px RGB": ImageSpec(height=64, width=64, channels=3),
}
AnyLatent = FlowMatching | R3GAN | DCGAN | VAE
FAMILIES: dict[str, AnyLatent] = {
    "flow_matching": FlowMatching(), "r3gan": R3GAN(), "r3gan resnext": R3GAN(backbone="resnext"), "dcgan": DCGAN(), "vae": VAE(),
}  # fmt: skip
NUM_CLASSES, CHUNKS = 10, 16


def measure(family: AnyLatent, spec: ImageSpec, device: torch.device, num_rounds: int) -> dict[str, Any]:
    """Return samples per second of both, and the share per round."""
    networks = family.networks(spec, NUM_CLASSES, seed=0)
    place(networks, device)
    for module in networks.values():
        module.eval().requires_grad_(False)
    none = LabelledCells([], np.zeros(0, np.int64), modality_of(spec).from_tensor(torch.zeros(0, *spec.shape), spec))
    synthesizer = Synthesizer(family, networks, spec, none, frozenset(), device)
    total = CHUNKS * CHUNK_SIZE
    orders = synthesizer.orders(dict.fromkeys(range(NUM_CLASSES), total // NUM_CLASSES + 1), "x", root=0)[:total]
    z = [latents(range(i, i + CHUNK_SIZE), family.num_latents(spec), device) for i in range(0, total, CHUNK_SIZE)]
    labels = torch.arange(CHUNK_SIZE, device=device) % NUM_CLASSES

    @torch.no_grad()
    def bare() -> None:
        for each in z:
            family.decode(networks, each, labels)
        if device.type == "cuda":
            torch.cuda.synchronize()

    def shard(folder: Path) -> None:
        cells, _ = synthesizer.make(orders)
        write_table(folder / "shard.arrow", pa.table({"cell": cells}))

    speeds: dict[str, list[float]] = {"bare": [], "shard": []}
    with tempfile.TemporaryDirectory() as temporary:
        bare()
        shard(Path(temporary))
        for _ in range(num_rounds):
            for name, act in (("bare", bare), ("shard", lambda: shard(Path(temporary)))):
                started = time.monotonic()
                act()
                speeds[name].append(total / (time.monotonic() - started))
    shares = [ours / alone for ours, alone in zip(speeds["shard"], speeds["bare"], strict=True)]
    return {
        "samples_per_second": {name: statistics.median(values) for name, values in speeds.items()},
        "share": [min(shares), statistics.median(shares), max(shares)],
    }


def main() -> None:
    """Measure every family at every size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--families", nargs="*", choices=sorted(FAMILIES), default=sorted(FAMILIES))
    parser.add_argument("--sizes", nargs="*", default=[], help=f"of {', '.join(SPECS)}; all by default")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # as every stage does
    device = torch.device(arguments.device)
    rows: list[dict[str, Any]] = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
    for size, spec in (each for each in SPECS.items() if not arguments.sizes or each[0] in arguments.sizes):
        for name in arguments.families:
            family = FAMILIES[name]
            row = {
                "family": name,
                "size": size,
                "device": device_name(device),
                "threads": arguments.threads,
                **measure(family, spec, device, arguments.rounds),
            }
            low, middle, high = (f"{share:.0%}" for share in row["share"])
            print(f"{name:14} {size:10} {middle} ({low} to {high}) {row['samples_per_second']}", flush=True)
            rows = [each for each in rows if (each["family"], each["size"]) != (name, size)] + [row]
            RESULT.write_text(json.dumps({"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
