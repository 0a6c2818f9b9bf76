"""Images per second of our training beside the peers' own code: same networks, batch and device, one run.

DCGAN: the classes and the loop body of the PyTorch examples' `dcgan/main.py`, read from a checkout at run time, against
the same two networks in our loop. R3GAN: the authors' networks and trainer, from a checkout, against our `r3gan` with
the `resnext` backbone of the same widths. On a CPU their custom operators take their reference versions. Data is random
and in memory; only steps are timed. Each side runs in a process of its own, as its users run it; one more row gives the
authors' code the allocator setting that our train stage makes. Both sides compute in float32, but for the row `bfloat16` (our
`runtime.precision=bfloat16`, which the example's script does not offer). Rounds alternate; a ratio is the median over rounds.

    git clone https://github.com/pytorch/examples; git clone https://github.com/brownvc/R3GAN
    python benchmarks/train_speed.py --examples examples --r3gan R3GAN [--threads 2] [--rounds 5] [--device cuda]

Writes benchmarks/results/train_speed.json.
"""

import argparse
import ast
import contextlib
import io
import json
import multiprocessing
import statistics
import sys
import time
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from packaging import version
from torch import Tensor, nn

from aigc_pipeline.generators.adversarial import Objective
from aigc_pipeline.generators.losses import LOSSES
from aigc_pipeline.generators.r3gan import R3GAN
from aigc_pipeline.generators.weights import compile_networks, place
from aigc_pipeline.modalities import ImageSpec
from aigc_pipeline.training.devices import device_name, keep_freed_memory
from aigc_pipeline.training.loop import LoopSettings, Phase, TrainingData, train
from aigc_pipeline.training.samplers import ClassPower
from aigc_pipeline.training.schedule import constant

RESULT = Path(__file__).parent / "results" / "train_speed.json"
NUM_CLASSES, NUM_IMAGES = 10, 1_024
DCGAN_PX, DCGAN_BATCH, DCGAN_LATENT = 64, 64, 100
R3GAN_PX, R3GAN_BATCH = 32, 64
R3GAN_WIDTHS = {"small": (256, 256, 192, 128), "medium": (512, 512, 384, 256)}
R3GAN_BLOCKS = {"small": 1, "medium": 2}
GOALS = {"dcgan": 1.3, "r3gan": 1.5}
Steps = Callable[[int], None]


def images(px: int, device: torch.device) -> Tensor:
    """Return random pictures in [-1, 1]."""
    return torch.rand(NUM_IMAGES, 3, px, px, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1


class Unlabelled(nn.Module):
    """A peer's network behind our calling convention: labels are ignored, latents get the peer's shape."""

    def __init__(self, network: nn.Module, latent_size: int | None = None) -> None:
        super().__init__()
        self.network, self.latent_size = network, latent_size

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Call the network."""
        del labels
        if self.latent_size is not None:
            x = nn.functional.pad(x, (0, self.latent_size - x.shape[1]))[:, :, None, None]
        found: Tensor = self.network(x)
        return found


def examples_parts(root: Path) -> tuple[dict[str, object], list[ast.stmt]]:
    """Return the namespace of the example's classes and the statements of one step, up to its print."""
    tree = ast.parse((root / "dcgan" / "main.py").read_text())
    kept = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef) or _is_loss(node)]
    names: dict[str, object] = {"nn": nn, "torch": torch, "nz": DCGAN_LATENT, "ngf": 64, "ndf": 64, "nc": 3}
    exec(compile(ast.Module(kept, []), "dcgan/main.py", "exec"), names)  # noqa: S102 - the peer's own code, from a checkout
    epochs = next(node for node in tree.body if isinstance(node, ast.For))
    batches = next(node for node in epochs.body if isinstance(node, ast.For))
    until_print = next(i for i, node in enumerate(batches.body) if "print" in ast.unparse(node)[:6])
    return names, batches.body[:until_print]


def _is_loss(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in {"criterion", "real_label", "fake_label"}


def peer_dcgan(root: Path, device: torch.device) -> Steps:
    """Return the example's own step on random pictures."""
    names, body = examples_parts(root)
    netG, netD = (names[name](1).to(device) for name in ("Generator", "Discriminator"))  # type: ignore[operator]  # noqa: N806 - their names
    for net in (netG, netD):
        net.apply(names["weights_init"])
    adam: dict[str, Any] = {"lr": 2e-4, "betas": (0.5, 0.999)}
    names |= {
        "netG": netG, "netD": netD, "device": device,
        "optimizerD": torch.optim.Adam(netD.parameters(), **adam), "optimizerG": torch.optim.Adam(netG.parameters(), **adam),
    }  # fmt: skip
    step, x = compile(ast.Module(body, []), "dcgan/main.py", "exec"), images(DCGAN_PX, device)

    def run(num_steps: int) -> None:
        for i in range(num_steps):
            start = i * DCGAN_BATCH % NUM_IMAGES
            names["data"] = [x[start : start + DCGAN_BATCH]]
            exec(step, names)  # noqa: S102 - the peer's own code, from a checkout

    return run


def our_dcgan(root: Path, device: torch.device, precision: torch.dtype = torch.float32) -> Steps:
    """Return our loop on the example's networks; D without its sigmoid, which our loss contains."""
    names, _ = examples_parts(root)
    generator, discriminator = (names[name](1) for name in ("Generator", "Discriminator"))  # type: ignore[operator]
    for net in (generator, discriminator):
        net.apply(names["weights_init"])
    discriminator.main = discriminator.main[:-1]
    networks: dict[str, nn.Module] = {
        "generator": Unlabelled(generator, DCGAN_LATENT),
        "discriminator": Unlabelled(discriminator),
    }
    objective, rate = Objective(LOSSES["non_saturating"]), constant(2e-4)
    phases = [
        Phase("discriminator", ("discriminator",), objective.discriminator, rate, 0.5),
        Phase("generator", ("generator",), objective.generator, rate, 0.5),
    ]
    return looping(networks, phases, DCGAN_PX, DCGAN_BATCH, device, precision)


def looping(
    networks: dict[str, nn.Module],
    phases: list[Phase],
    px: int,
    batch_size: int,
    device: torch.device,
    precision: torch.dtype = torch.float32,
) -> Steps:
    """Return our loop over random pictures."""
    place(networks, device)
    labels = torch.arange(NUM_IMAGES, device=device) % NUM_CLASSES
    x = images(px, device).contiguous(memory_format=torch.channels_last)  # as the train stage lays it out
    data = TrainingData(x, labels, ClassPower(labels, 0.5))

    def run(num_steps: int) -> None:
        settings = LoopSettings(num_steps * batch_size, batch_size, seed=0, precision=precision)
        train(networks, phases, data, settings)

    return run


def peer_r3gan(root: Path, size: str, device: torch.device) -> Steps:
    """Return the authors' step: D, then G, each with Adam."""
    sys.path.insert(0, str(root))
    old_name = types.ModuleType("pkg_resources")  # gone from setuptools; they only compare versions with it
    old_name.parse_version = version.parse  # type: ignore[attr-defined]
    sys.modules.setdefault("pkg_resources", old_name)
    with contextlib.redirect_stdout(io.StringIO()):
        from R3GAN import FusedOperators, Networks, Resamplers, Trainer  # type: ignore[import-not-found]
    if device.type == "cpu":
        Networks.BiasedActivation = FusedOperators.BiasedActivationReference
        Networks.InterpolativeUpsampler = Resamplers.InterpolativeUpsamplerReference
        Networks.InterpolativeDownsampler = Resamplers.InterpolativeDownsamplerReference
    widths = list(R3GAN_WIDTHS[size])
    groups, blocks = [2 * width // 16 for width in widths], [R3GAN_BLOCKS[size]] * len(widths)
    G = Networks.Generator(64, widths, groups, blocks, 2, NUM_CLASSES, 64).to(device)  # noqa: N806 - their names
    D = Networks.Discriminator(widths[::-1], groups[::-1], blocks, 2, NUM_CLASSES, widths[0]).to(device)  # noqa: N806
    trainer = Trainer.AdversarialTraining(G, D)
    adam: dict[str, Any] = {"lr": 2e-4, "betas": (0.0, 0.99), "eps": 1e-8}
    optimizers = {name: torch.optim.Adam(net.parameters(), **adam) for name, net in (("G", G), ("D", D))}
    x = images(R3GAN_PX, device)
    y = nn.functional.one_hot(torch.arange(NUM_IMAGES, device=device) % NUM_CLASSES, NUM_CLASSES).float()

    def run(num_steps: int) -> None:
        for i in range(num_steps):
            part = slice(i * R3GAN_BATCH % NUM_IMAGES, i * R3GAN_BATCH % NUM_IMAGES + R3GAN_BATCH)
            for name in ("D", "G"):  # their loop clears and freezes per phase, as here
                D.requires_grad_(name == "D")
                G.requires_grad_(name == "G")
                noise = torch.randn(R3GAN_BATCH, 64, device=device)
                optimizers[name].zero_grad(set_to_none=True)
                if name == "D":
                    trainer.AccumulateDiscriminatorGradients(noise, x[part], y[part], 0.05)
                else:
                    trainer.AccumulateGeneratorGradients(noise, x[part], y[part])
                optimizers[name].step()

    return run


def our_r3gan(size: str, device: torch.device, *, is_compiled: bool) -> Steps:
    """Return our default family on the paper's backbone."""
    family = R3GAN(backbone="resnext", size=size, augment_probability=0.0, gamma=0.05, batch_size=R3GAN_BATCH)
    spec = ImageSpec(height=R3GAN_PX, width=R3GAN_PX, channels=3)
    networks = family.networks(spec, NUM_CLASSES, seed=0)
    place(networks, device)
    if is_compiled:
        compile_networks(networks)
    return looping(networks, family.phases(spec, NUM_IMAGES), R3GAN_PX, R3GAN_BATCH, device)


@dataclass(frozen=True)
class Side:
    """One of those compared, in a process of its own, as its users run it."""

    make: Callable[[], Steps]
    keeps_memory: bool
    """Our training stage tells glibc to keep what is freed; the peers' scripts do not."""


def serve(pipe: Connection, side: Side, num_threads: int) -> None:
    """Build one side, then answer each number of steps with the seconds they took; 0 ends it."""
    torch.set_num_threads(num_threads)
    if side.keeps_memory:
        keep_freed_memory()
    steps = side.make()
    steps(2)
    pipe.send(0.0)
    while num_steps := pipe.recv():
        started = time.monotonic()
        steps(num_steps)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        pipe.send(time.monotonic() - started)


def speeds(
    sides: Mapping[str, Side], batch_size: int, num_steps: int, num_rounds: int, num_threads: int
) -> dict[str, list[float]]:
    """Return images per second per round; rounds alternate between the sides, only one of which works at a time."""
    spawn = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for name, side in sides.items():
        pipes[name], theirs = spawn.Pipe()
        spawn.Process(target=serve, args=(theirs, side, num_threads), daemon=True).start()
        pipes[name].recv()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(num_rounds):
        for name, pipe in pipes.items():
            pipe.send(num_steps)
            found[name].append(num_steps * batch_size / pipe.recv())
    for pipe in pipes.values():
        pipe.send(0)
    return found


def report(name: str, found: Mapping[str, list[float]]) -> dict[str, object]:
    """Print and return medians and the ratio of each of our sides to the peer."""
    peer = found["peer"]
    row: dict[str, object] = {"images_per_second": {side: statistics.median(values) for side, values in found.items()}}
    for side, values in found.items():
        if side != "peer":
            ratios = [ours / theirs for ours, theirs in zip(values, peer, strict=True)]
            row[f"ratio_{side}"] = [min(ratios), statistics.median(ratios), max(ratios)]
            print(
                f"{name:6} {side:20} {statistics.median(values):8.1f} images/s, peer {statistics.median(peer):8.1f}: "
                f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f}; goal {GOALS[name]})"
            )
    return row


def main() -> None:
    """Time both pairs and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=Path, required=True)
    parser.add_argument("--r3gan", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--size", choices=tuple(R3GAN_WIDTHS), default="small")
    parser.add_argument("--compiled", action="store_true", help="also time our compiled networks")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    examples, authors, size = arguments.examples, arguments.r3gan, arguments.size
    dcgan = {
        "peer": Side(partial(peer_dcgan, examples, device), keeps_memory=False),
        "ours": Side(partial(our_dcgan, examples, device), keeps_memory=True),
        "bfloat16": Side(partial(our_dcgan, examples, device, torch.bfloat16), keeps_memory=True),
    }
    r3gan = {
        "peer": Side(partial(peer_r3gan, authors, size, device), keeps_memory=False),
        "peer, our allocator": Side(partial(peer_r3gan, authors, size, device), keeps_memory=True),
        "ours": Side(partial(our_r3gan, size, device, is_compiled=False), keeps_memory=True),
    }
    if arguments.compiled:
        r3gan["compiled"] = Side(partial(our_r3gan, size, device, is_compiled=True), keeps_memory=True)
    rest = arguments.steps, arguments.rounds, arguments.threads
    result = {
        "device": device_name(device), "threads": arguments.threads, "torch": torch.__version__, "size": size,
        "dcgan": report("dcgan", speeds(dcgan, DCGAN_BATCH, *rest)),
        "r3gan": report("r3gan", speeds(r3gan, R3GAN_BATCH, *rest)),
    }  # fmt: skip
    RESULT.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
