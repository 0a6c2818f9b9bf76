"""What every generator family must keep, as functions that a test calls: ours, and those of families elsewhere.

from aigc_pipeline.generators.contract import check_family
check_family(MyFamily(), folder)
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.generators.base import Generator
from aigc_pipeline.generators.conditions import Conditions
from aigc_pipeline.generators.synthesis import CHUNK_SIZE, Synthesizer
from aigc_pipeline.generators.weights import load_networks, save_networks
from aigc_pipeline.modalities import ImageSpec, VectorSpec, modality_of
from aigc_pipeline.training.loop import LoopSettings, TrainingData, train

SPECS: tuple[SampleSpec, ...] = (
    ImageSpec(height=8, width=8, channels=1),
    ImageSpec(height=32, width=32, channels=3, symmetries=("horizontal",)),
    ImageSpec(height=28, width=28, channels=1),
    VectorSpec(num_values=2, scale=1.5),
)
NUM_SAMPLES, NUM_CLASSES = 40, 2
_CPU = torch.device("cpu")
_STEPS = 6
_TOLERANCE = 1e-5
Check = Callable[[Generator, SampleSpec, Path], None]


def check_family(family: Generator, folder: Path) -> None:
    """Run every check on every kind of sample that the family handles.

    Args:
        folder: an empty folder to write weights into.

    Raises:
        AssertionError: naming what is broken.
        ConfigError: if samples have another shape than the spec's, or are not finite.
    """
    for spec in SPECS:
        if family.can_handle(spec.kind):
            for check in CHECKS:
                check(family, spec, folder)


def check_samples(family: Generator, spec: SampleSpec, _folder: Path) -> None:
    """Samples have the spec's shape and finite values, or `make` raises; distinct seeds give distinct samples."""
    synthesizer = make_synthesizer(family, spec)
    orders = synthesizer.orders({0: 5, 1: 3}, "x", root=0)
    x = modality_of(spec).to_tensor(synthesizer.make(orders)[0], spec)
    assert len({order.seed for order in orders}) == len(orders), "two orders share a seed"
    assert len({tuple(row.flatten().tolist()) for row in x}) == len(orders), "distinct seeds gave equal samples"


def check_independence(family: Generator, spec: SampleSpec, _folder: Path) -> None:
    """A sample depends neither on its neighbours in a chunk, nor on how many there are, nor on chunks made beside it."""
    synthesizer = make_synthesizer(family, spec)
    orders = synthesizer.orders({0: CHUNK_SIZE, 1: 30}, "x", root=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(max(threads, 2))  # with one, no chunk would be made beside another
    try:
        together, _ = synthesizer.make(orders)
    finally:
        torch.set_num_threads(threads)
    places = (70, 3, 93)
    alone, _ = synthesizer.make([orders[i] for i in places])
    assert alone.to_pylist() == [together[i].as_py() for i in places], "a sample changed with its neighbours"


def check_repeatable(family: Generator, spec: SampleSpec, _folder: Path) -> None:
    """The same orders give the same bytes, and more orders change no earlier one."""
    synthesizer = make_synthesizer(family, spec)
    few, many = (synthesizer.orders({1: n}, "x", root=0) for n in (4, 9))
    assert many[:4] == few, "more orders changed an earlier one"
    assert synthesizer.make(few)[0] == synthesizer.make(many)[0][:4], "the same orders gave other samples"


def check_weights(family: Generator, spec: SampleSpec, folder: Path) -> None:
    """Weights go through safetensors and back, and settings alone rebuild the networks."""
    networks = family.networks(spec, NUM_CLASSES, seed=1)
    file = folder / "weights.safetensors"
    sha256 = save_networks(networks, file)
    loaded = load_networks(family, file, spec=spec, num_classes=NUM_CLASSES, sha256=sha256, device=_CPU)
    for name, module in networks.items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, loaded[name].state_dict()[key]), f"{name}.{key} came back changed"


def check_training(family: Generator, spec: SampleSpec, _folder: Path) -> None:
    """Training moves the weights, keeps them finite, and repeats exactly."""
    phases = family.phases(spec, NUM_SAMPLES)
    if not phases:
        parameters = [p for module in family.networks(spec, NUM_CLASSES, seed=1).values() for p in module.parameters()]
        assert not parameters, "parameters without a phase that trains them"
        assert not family.is_trained, "a family without phases is not trained"
        return
    cells = make_train(spec)
    labels = torch.from_numpy(cells.labels)
    data = TrainingData(modality_of(spec).to_tensor(cells.cells, spec), labels, family.sampler(labels))
    settings = LoopSettings(_STEPS * family.batch_size, family.batch_size, seed=2, ema_half_life_samples=1_000)
    first, second = (
        train(family.networks(spec, NUM_CLASSES, seed=1), phases, data, settings).networks for _ in range(2)
    )
    fresh = family.networks(spec, NUM_CLASSES, seed=1)
    for name, module in first.items():
        values = module.state_dict()
        again, before = second[name].state_dict(), fresh[name].state_dict()
        assert all(torch.isfinite(value).all() for value in values.values()), f"{name} is not finite"
        assert all(torch.equal(value, again[key]) for key, value in values.items()), f"{name} trains unrepeatably"
        assert any(not torch.equal(value, before[key]) for key, value in values.items()), f"{name} did not move"


def check_logits(family: Generator, spec: SampleSpec, _folder: Path) -> None:
    """A logit does not depend on the batch; a family without a discriminator has none."""
    synthesizer = make_synthesizer(family, spec)
    x: Tensor = modality_of(spec).to_tensor(make_train(spec).cells, spec)
    labels = torch.arange(NUM_SAMPLES) % NUM_CLASSES
    together = family.d_logit(synthesizer.networks, x, labels)
    if together is None:
        assert "discriminator" not in synthesizer.networks, "a discriminator without logits"
        assert not family.adapts_augmentation, "adaptive augmentation needs a discriminator"
        return
    alone = family.d_logit(synthesizer.networks, x[7:8], labels[7:8])
    assert alone is not None, "a logit for many but none for one"
    assert torch.allclose(together[7:8], alone, atol=_TOLERANCE), "a logit changed with its batch"


def check_untold(family: Generator, spec: SampleSpec, _folder: Path) -> None:
    """A generator that is told nothing has one condition, and makes samples of any class from it."""
    networks = family.networks(spec, 1, seed=1)
    for module in networks.values():
        module.eval()
    train = make_train(spec)
    conditions = Conditions.fit((), train.labels, [{}] * len(train), NUM_CLASSES)
    synthesizer = Synthesizer(family, networks, spec, train, frozenset(), _CPU, conditions)
    orders = synthesizer.orders({0: 3, 1: 4}, "x", root=0)
    assert [order.label for order in orders] == [0] * 3 + [1] * 4, "orders lost their class"
    assert len(synthesizer.make(orders)[0]) == len(orders), "a generator that is told nothing lost samples"


CHECKS: tuple[Check, ...] = (
    check_samples,
    check_independence,
    check_repeatable,
    check_weights,
    check_training,
    check_logits,
    check_untold,
)


def make_train(spec: SampleSpec) -> LabelledCells:
    """Return 40 random samples of two classes."""
    x = torch.randn(NUM_SAMPLES, *spec.shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    labels = np.arange(NUM_SAMPLES, dtype=np.int64) % NUM_CLASSES
    return LabelledCells([f"t{i}" for i in range(NUM_SAMPLES)], labels, modality_of(spec).from_tensor(x, spec))


def make_synthesizer(family: Generator, spec: SampleSpec) -> Synthesizer:
    """Return a synthesizer of fresh networks."""
    networks = family.networks(spec, NUM_CLASSES, seed=1)
    for module in networks.values():
        module.eval()
    return Synthesizer(family, networks, spec, make_train(spec), frozenset(), _CPU)
