"""What every generator family must keep, whichever modality it handles."""

import numpy as np
import pytest
import torch

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.generators import Generator, built_in
from aigc_pipeline.generators.synthesis import CHUNK_SIZE, Synthesizer
from aigc_pipeline.generators.weights import load_networks, save_networks
from aigc_pipeline.modalities import ImageSpec, VectorSpec, modality_of
from aigc_pipeline.training.loop import LoopSettings, TrainingData, train

FAMILIES = built_in()
SPECS: list[SampleSpec] = [
    ImageSpec(height=8, width=8, channels=1),
    ImageSpec(height=32, width=32, channels=3, symmetries=("horizontal",)),
    ImageSpec(height=28, width=28, channels=1),
    VectorSpec(num_values=2, scale=1.5),
]
CASES = [
    pytest.param(family(), spec, id=f"{family().kind}-{spec.kind}{spec.shape}")
    for family in FAMILIES
    for spec in SPECS
    if family.can_handle(spec.kind)
]
CPU = torch.device("cpu")


def make_train(spec: SampleSpec, n: int = 40) -> LabelledCells:
    x = torch.randn(n, *spec.shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    return LabelledCells(
        [f"t{i}" for i in range(n)], np.arange(n, dtype=np.int64) % 2, modality_of(spec).from_tensor(x, spec)
    )


def make_synthesizer(family: Generator, spec: SampleSpec) -> Synthesizer:
    networks = family.networks(spec, 2, seed=1)
    for module in networks.values():
        module.eval()
    return Synthesizer(family, networks, spec, make_train(spec), frozenset(), CPU)


@pytest.mark.parametrize(("family", "spec"), CASES)
def test_samples_have_the_specs_shape_and_distinct_seeds_give_distinct_samples(family, spec):
    synthesizer = make_synthesizer(family, spec)
    orders = synthesizer.orders({0: 5, 1: 3}, "x", root=0)
    cells, _ = synthesizer.make(orders)
    x = modality_of(spec).to_tensor(cells, spec)

    assert x.shape == (8, *spec.shape)
    assert torch.isfinite(x).all()
    assert len({order.seed for order in orders}) == 8
    assert len({tuple(row.flatten().tolist()) for row in x}) == 8


@pytest.mark.parametrize(("family", "spec"), CASES)
def test_a_sample_depends_neither_on_its_neighbours_nor_on_how_many_there_are(family, spec):
    synthesizer = make_synthesizer(family, spec)
    orders = synthesizer.orders({0: CHUNK_SIZE, 1: 30}, "x", root=0)
    together, _ = synthesizer.make(orders)
    chosen = [orders[i] for i in (70, 3, 93)]

    alone, _ = synthesizer.make(chosen)

    assert alone.to_pylist() == [together[i].as_py() for i in (70, 3, 93)]


@pytest.mark.parametrize(("family", "spec"), CASES)
def test_the_same_orders_give_the_same_bytes_and_more_orders_change_no_earlier_one(family, spec):
    synthesizer = make_synthesizer(family, spec)
    few, many = (synthesizer.orders({1: n}, "x", root=0) for n in (4, 9))

    assert many[:4] == few
    assert synthesizer.make(few)[0] == synthesizer.make(many)[0][:4]


@pytest.mark.parametrize(("family", "spec"), CASES)
def test_weights_round_trip_through_safetensors_alone(family, spec, tmp_path):
    networks = family.networks(spec, 2, seed=1)
    sha256 = save_networks(networks, tmp_path / "weights.safetensors")
    loaded = load_networks(
        family, tmp_path / "weights.safetensors", spec=spec, num_classes=2, sha256=sha256, device=CPU
    )

    for name, module in networks.items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, loaded[name].state_dict()[key])


@pytest.mark.parametrize(("family", "spec"), CASES)
def test_training_moves_the_weights_keeps_them_finite_and_repeats_exactly(family, spec):
    phases = family.phases(spec, 40)
    if not phases:
        assert family.networks(spec, 2, seed=1) == {}
        return
    cells = make_train(spec)
    labels = torch.from_numpy(cells.labels)
    data = TrainingData(modality_of(spec).to_tensor(cells.cells, spec), labels, family.sampler(labels))
    settings = LoopSettings(6 * family.batch_size, family.batch_size, seed=2, ema_half_life_samples=1_000)
    runs = [train(family.networks(spec, 2, seed=1), phases, data, settings).networks for _ in range(2)]
    fresh = family.networks(spec, 2, seed=1)

    for name, module in runs[0].items():
        values = module.state_dict()
        assert all(torch.isfinite(value).all() for value in values.values())
        assert all(torch.equal(value, runs[1][name].state_dict()[key]) for key, value in values.items())
        assert any(not torch.equal(value, fresh[name].state_dict()[key]) for key, value in values.items())


@pytest.mark.parametrize(("family", "spec"), CASES)
def test_a_logit_does_not_depend_on_the_batch(family, spec):
    synthesizer = make_synthesizer(family, spec)
    x = modality_of(spec).to_tensor(make_train(spec).cells, spec)
    labels = torch.arange(40) % 2
    together = family.d_logit(synthesizer.networks, x, labels)
    if together is None:
        assert "discriminator" not in synthesizer.networks
        return
    alone = family.d_logit(synthesizer.networks, x[7:8], labels[7:8])

    assert torch.allclose(together[7:8], alone, atol=1e-5)


def test_varied_samples_name_each_parent_equally_often():
    spec = VectorSpec(num_values=2, scale=1.0)
    classic = next(family() for family in FAMILIES if family().origin == "classic")
    orders = make_synthesizer(classic, spec).orders({0: 45}, "x", root=0)
    uses = np.bincount([order.parent for order in orders], minlength=40)

    assert set(uses[0::2]) <= {2, 3}
    assert uses[1::2].sum() == 0
