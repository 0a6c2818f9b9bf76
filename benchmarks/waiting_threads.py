"""Training speed alone and two at once, with OpenMP threads that spin (the default) and that sleep while they wait.

Prints the ratio that `import aigc_pipeline` buys by setting OMP_WAIT_POLICY=PASSIVE, and what it costs on a quiet
machine; writes benchmarks/results/waiting_threads.json. Run it on an otherwise idle machine.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 8.0
SIDES = (8, 32)
RESULT = Path(__file__).parent / "results" / "waiting_threads.json"


def measure(side: int) -> float:
    """Return samples per second of R3GAN training on random pictures of `side` pixels, for about `SECONDS`."""
    import torch

    from aigc_pipeline.generators import R3GAN
    from aigc_pipeline.modalities import ImageSpec
    from aigc_pipeline.training.loop import LoopSettings, TrainingData, train
    from aigc_pipeline.training.samplers import ClassPower

    spec = ImageSpec(height=side, width=side, channels=1)
    labels = torch.arange(500) % 10
    data = TrainingData(torch.randn(500, *spec.shape), labels, ClassPower(labels, 0.5))
    family = R3GAN()
    networks, phases = family.networks(spec, 10, seed=0), family.phases(spec, 500)
    settings = LoopSettings(10 * family.batch_size, family.batch_size, seed=1, ema_half_life_samples=1e5)
    seen, started = 0, time.monotonic()
    while time.monotonic() - started < SECONDS:
        seen += train(networks, phases, data, settings).samples_seen
    return seen / (time.monotonic() - started)


def run(policy: str, side: int, at_once: int) -> float:
    """Return the mean speed of `at_once` processes under a wait policy."""
    environment = os.environ | {"OMP_WAIT_POLICY": policy}
    command = [sys.executable, __file__, "--child", str(side)]
    children = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(at_once)]
    return sum(float(child.communicate()[0]) for child in children) / at_once


def main() -> None:
    """Measure every combination and print one line each."""
    if "--child" in sys.argv:
        print(measure(int(sys.argv[-1])))
        return
    rows = []
    for side in SIDES:
        for at_once in (1, 2):
            spinning, sleeping = (run(policy, side, at_once) for policy in ("ACTIVE", "PASSIVE"))
            rows.append({"side_px": side, "at_once": at_once, "active": spinning, "passive": sleeping})
            print(
                f"{side} px, {at_once} at once: passive/active = {sleeping / spinning:.2f} ({sleeping:,.0f} / {spinning:,.0f} samples/s)"
            )
    RESULT.write_text(json.dumps({"cores": os.cpu_count(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
