import copy
import shutil

import pytest
import torch

from aigc_pipeline.generators import parse_generator
from aigc_pipeline.generators.contract import make_synthesizer
from aigc_pipeline.generators.weights import compile_networks, place
from aigc_pipeline.modalities import ImageSpec, modality_of
from aigc_pipeline.training.loop import LoopSettings, TrainingData, train
from aigc_pipeline.training.samplers import ClassPower

SPEC = ImageSpec(height=8, width=8, channels=1)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch.compile's own imports
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.parametrize("kind", ["flow_matching", "r3gan", "dcgan"])
def test_compiled_networks_train_to_the_same_weights_under_the_same_names(kind):
    family = parse_generator({"kind": kind, "size": "tiny", "batch_size": 8})
    real = make_synthesizer(family, SPEC).train
    labels = torch.from_numpy(real.labels)
    data = TrainingData(modality_of(SPEC).to_tensor(real.cells, SPEC), labels, ClassPower(labels, 0.5))
    plain = family.networks(SPEC, 2, seed=1)
    compiled = copy.deepcopy(plain)
    compile_networks(compiled)

    phases, settings = family.phases(SPEC, len(real)), LoopSettings(24, 8, 0, 1e5)
    expected = train(plain, phases, data, settings).networks
    found = train(compiled, phases, data, settings).networks

    for name, network in expected.items():
        weights = found[name].state_dict()
        assert weights.keys() == network.state_dict().keys()
        for key, value in network.state_dict().items():
            torch.testing.assert_close(weights[key], value, atol=1e-4, rtol=1e-3)


def test_convolutions_are_placed_channels_last():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 5))
    place({"network": network}, torch.device("cpu"))

    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not network[0].weight.is_contiguous()
