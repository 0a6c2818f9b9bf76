"""A small training of one family that says each step it has done: `python -m tests.e2e.killable KIND FOLDER`."""

import sys
from pathlib import Path

import numpy as np
import torch

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.generators import parse_generator
from aigc_pipeline.generators.weights import place, save_networks
from aigc_pipeline.modalities import ImageSpec, modality_of
from aigc_pipeline.training.checkpoint import Checkpointer
from aigc_pipeline.training.loop import Hooks, LoopSettings, TrainingData, train

SPEC = ImageSpec(height=20, width=20, channels=1)
NUM_STEPS, NUM_SAMPLES = 150, 40


def make_samples() -> LabelledCells:
    x = torch.randn(NUM_SAMPLES, *SPEC.shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    labels = np.arange(NUM_SAMPLES, dtype=np.int64) % 2
    return LabelledCells([str(i) for i in range(NUM_SAMPLES)], labels, modality_of(SPEC).from_tensor(x, SPEC))


def main(kind: str, folder: Path) -> None:
    torch.set_num_threads(1)
    family = parse_generator({"kind": kind})
    cells = make_samples()
    labels = torch.from_numpy(cells.labels)
    data = TrainingData(modality_of(SPEC).to_tensor(cells.cells, SPEC), labels, family.sampler(labels))
    networks, phases = family.networks(SPEC, 2, seed=1), family.phases(SPEC, NUM_SAMPLES)
    place(networks, torch.device("cpu"))
    step = family.batch_size * max(phase.repeats for phase in phases)
    settings = LoopSettings(
        NUM_STEPS * step, family.batch_size, seed=2, ema_half_life_samples=family.ema_half_life_samples,
        checkpoint_every_samples=3 * step,
    )  # fmt: skip
    hooks = Hooks(progress=lambda done, _total: print(done // step, flush=True))
    trained = train(networks, phases, data, settings, checkpointer=Checkpointer(folder / "states"), hooks=hooks)
    save_networks(trained.networks, folder / "weights.safetensors")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
