"""What the synthesizer takes from a family, whoever wrote it."""

from dataclasses import replace

import pytest
import torch

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.generators import Synthesis, built_in
from aigc_pipeline.generators.contract import make_synthesizer
from aigc_pipeline.modalities import ImageSpec

SPEC = ImageSpec(height=8, width=8, channels=1)
VAE = next(family for family in built_in() if family.model_fields["kind"].default == "vae")


def make_family(change):
    class Changed(VAE):
        def sample(self, networks, seeds, labels, *, spec, parents=None):
            return change(super().sample(networks, seeds, labels, spec=spec, parents=parents).x)

    return Changed(size="tiny")


def with_nan(x):
    return Synthesis(torch.where(torch.arange(len(x))[:, None, None, None] == 3, torch.nan, x))


def with_infinities(x):
    x = x.clone()
    x[3], x[5] = torch.inf, -torch.inf
    return Synthesis(x)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: Synthesis(x[:, 0]), r"returned a tensor of shape \[64, 8, 8\] in a Synthesis"),
        (lambda x: Synthesis(x[:-1]), r"returned a tensor of shape \[63, 1, 8, 8\] in a Synthesis"),
        (lambda x: Synthesis(x.numpy()), "returned a ndarray in a Synthesis"),
        (lambda x: x, r"returned a tensor of shape \[64, 1, 8, 8\], not Synthesis"),
        (with_nan, "returned values that are not finite in 1 of 64 samples"),
        (with_infinities, "returned values that are not finite in 2 of 64 samples"),
    ],
)
def test_samples_that_no_cell_can_hold_are_refused_by_what_they_are(change, said):
    synthesizer = make_synthesizer(make_family(change), SPEC)

    with pytest.raises(ConfigError, match=f"'vae' {said}"):
        synthesizer.make(synthesizer.orders({0: 5}, "x", root=0))


def test_networks_in_training_may_give_what_is_not_finite():
    synthesizer = replace(make_synthesizer(make_family(with_nan), SPEC), is_training=True)

    cells, _ = synthesizer.make(synthesizer.orders({0: 5}, "x", root=0))

    assert len(cells) == 5


def test_finite_samples_whose_sum_is_not_are_taken():
    synthesizer = make_synthesizer(make_family(lambda x: Synthesis(torch.full_like(x, 3e38))), SPEC)

    cells, _ = synthesizer.make(synthesizer.orders({0: 5}, "x", root=0))

    assert cells.flatten().unique().to_pylist() == [255]
