"""What trains, samples, encodes and predicts on a GPU keeps its tensors there: on a pretended one."""

import numpy as np
import pytest
import torch

from aigc_pipeline.core.context import RuntimeConfig
from aigc_pipeline.features import Classifier
from aigc_pipeline.generators import built_in
from aigc_pipeline.generators.contract import make_train
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.generators.weights import place
from aigc_pipeline.loading import discriminate
from aigc_pipeline.metrics.downstream import Arm, Budget, fit_downstream, predict
from aigc_pipeline.modalities import ImageSpec, VectorSpec, modality_of
from aigc_pipeline.training.checkpoint import Checkpointer
from aigc_pipeline.training.devices import resident, training_device
from aigc_pipeline.training.loop import Hooks, LoopSettings, TrainingData, train
from aigc_pipeline.training.strength import Adaptation
from aigc_pipeline.training.team import Team
from tests.unit.training.pretended_gpu import GPU, pretended_gpu

SPECS = (ImageSpec(height=18, width=18, channels=1), VectorSpec(num_values=2, scale=1.5))
CASES = [
    pytest.param(family, spec, id=f"{family.model_fields['kind'].default}-{spec.kind}")
    for family in built_in()
    for spec in SPECS
    if family.is_trained and spec.kind in family.handles
]


@pytest.fixture
def gpu():
    with pretended_gpu() as memory:
        yield memory


@pytest.mark.usefixtures("gpu")
def test_the_pretended_gpu_refuses_what_cuda_refuses():
    x, index = torch.ones(3).to("cuda"), torch.tensor([0, 1])

    assert x.device == (x * 2).device == GPU
    assert x[index].device == GPU
    for mixture in (lambda: x + torch.ones(3), lambda: torch.ones(3)[index.to(x)], x.numpy):
        with pytest.raises((RuntimeError, TypeError, IndexError), match=r"device|indices"):
            mixture()


@pytest.mark.parametrize(("family", "spec"), CASES)
def test_a_family_trains_resumes_and_samples_on_a_gpu(family, spec, gpu, tmp_path):
    family = family(size="tiny", batch_size=4)
    device = training_device(RuntimeConfig(device="cuda", threads=1), Team())
    cells = make_train(spec)
    labels = torch.from_numpy(cells.labels).to(device)
    data = TrainingData(
        resident(modality_of(spec).to_tensor(cells.cells, spec), device), labels, family.sampler(labels)
    )
    for total in (4, 8):
        networks = family.networks(spec, 2, seed=0)
        place(networks, device)
        settings = LoopSettings(total, 4, seed=1, ema_half_life_samples=4, checkpoint_every_samples=4)
        trained = train(
            networks, family.phases(spec, len(cells)), data, settings, checkpointer=Checkpointer(tmp_path),
            adaptation=Adaptation(lambda _: 0.5, 0, 1, start=0.5),
        )  # fmt: skip

    synthesizer = Synthesizer(family, trained.networks, spec, cells, frozenset({1}), device)
    made, _ = synthesizer.make(synthesizer.orders({0: 2, 1: 1}, "x", root=0))
    discriminate(synthesizer, made, np.zeros(3, np.int64))

    assert all(gpu.holds(weight) for module in trained.networks.values() for weight in module.parameters())


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_encoder_and_downstream_network_work_on_a_gpu(spec, is_large, gpu):
    device = training_device(RuntimeConfig(device="cuda", threads=1), Team())
    cells = make_train(spec)
    few, budget = cells.take(np.arange(2, 40, 3)), Budget(8, 8, 0, device)

    encoder = Classifier(total_samples=8, batch_size=4, num_features=4).fit(
        cells, few, spec=spec, num_classes=2, seed=0, device=device, hooks=Hooks()
    )
    encoder.encode_with_logits(cells.cells)
    for arm in (Arm("smote", "balanced_softmax", is_oversampled=True), Arm("mixed", "class_weights", 0.5)):
        network = fit_downstream(
            arm, few, cells, spec=spec, num_classes=2, budget=budget,
            build=lambda: modality_of(spec).network(spec, 2, is_large=is_large),
            importance=np.ones(len(cells), np.float32),
        )  # fmt: skip
        assert len(predict(network, few, spec, device)) == len(few)

    assert all(gpu.holds(weight) for weight in [*encoder.network.parameters(), *network.parameters()])
