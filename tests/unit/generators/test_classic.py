import json

import torch

from aigc_pipeline.generators import R3GAN, Classic
from aigc_pipeline.generators.contract import make_train
from aigc_pipeline.generators.synthesis import Synthesizer
from aigc_pipeline.modalities import ImageSpec, modality_of

SPEC = ImageSpec(height=8, width=8, channels=1)


def angles(generator: Classic | R3GAN) -> list[float]:
    networks = generator.networks(SPEC, 2, seed=0)
    synthesizer = Synthesizer(generator, networks, SPEC, make_train(SPEC), frozenset({0, 1}), torch.device("cpu"))
    _, transforms = synthesizer.make(synthesizer.orders({0: 30, 1: 30}, "x", root=0))
    return [json.loads(transform)["angle_deg"] for transform in transforms if transform]


def test_stored_variation_goes_half_as_far_by_default_beside_another_family_too():
    alone, beside = angles(Classic()), angles(R3GAN())

    assert alone == beside
    assert 4 < max(map(abs, alone)) <= 5


def test_its_strength_is_a_setting():
    assert 8 < max(map(abs, angles(Classic(strength=1.0)))) <= 10


def test_stored_variation_loses_as_little_detail_as_can_be():
    parents = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    draw = modality_of(SPEC).draw_variation(1, torch.Generator().manual_seed(7), SPEC, strength=0.5)

    made = Classic().sample({}, [7], torch.zeros(1, dtype=torch.long), spec=SPEC, parents=parents).x

    assert torch.equal(made, modality_of(SPEC).vary(parents, draw, SPEC, is_sharp=True))
