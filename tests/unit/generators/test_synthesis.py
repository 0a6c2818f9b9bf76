"""What the synthesizer takes from a family, whoever wrote it."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.generators import Classic, Synthesis, built_in
from aigc_pipeline.generators.contract import make_synthesizer
from aigc_pipeline.modalities import ImageSpec

SPEC = ImageSpec(height=8, width=8, channels=1)
COUNTING = pa.proxy_memory_pool(pa.default_memory_pool())
"""It must outlive what is allocated in it."""
VAE = next(family for family in built_in() if family.model_fields["kind"].default == "vae")


def make_family(change):
    class Changed(VAE):
        def sample(self, networks, seeds, labels, *, spec, parents=None):
            return change(super().sample(networks, seeds, labels, spec=spec, parents=parents).x)

    return Changed(size="tiny")


class Same(Classic):
    """Gives its parents back."""

    def sample(self, *_, parents=None, **__):
        return Synthesis(parents)


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


def test_parents_of_both_kinds_keep_their_order_and_only_they_are_copied():
    """A chunk that copies all real samples takes twice their memory on every thread."""
    synthesizer, cells = make_synthesizer(Same(), SPEC), np.arange(40_000 * 64, dtype=np.int64) // 64 % 251
    pictures = cells_from_numpy(cells.astype(np.uint8).reshape(-1, 8, 8, 1))
    ids, labels = [str(row) for row in range(40_000)], np.zeros(40_000, np.int64)
    parts = [LabelledCells(ids[part], labels[part], pictures[part]) for part in (slice(30_000), slice(30_000, 40_000))]
    both = replace(synthesizer, train=parts[0], held_back=parts[1])
    orders = both.orders({0: 150}, "x", root=0, from_held_back=True)
    usual = pa.default_memory_pool()
    pa.set_memory_pool(COUNTING)
    made = both.make(orders)[0].flatten().to_pylist()[::64]
    pa.set_memory_pool(usual)

    assert made == [order.parent % 251 for order in orders]
    assert {order.parent >= 30_000 for order in orders} == {True, False}
    assert COUNTING.max_memory() < pictures.nbytes / 4


def test_networks_in_training_may_give_what_is_not_finite():
    synthesizer = replace(make_synthesizer(make_family(with_nan), SPEC), is_training=True)

    cells, _ = synthesizer.make(synthesizer.orders({0: 5}, "x", root=0))

    assert len(cells) == 5


def test_finite_samples_whose_sum_is_not_are_taken():
    synthesizer = make_synthesizer(make_family(lambda x: Synthesis(torch.full_like(x, 3e38))), SPEC)

    cells, _ = synthesizer.make(synthesizer.orders({0: 5}, "x", root=0))

    assert cells.flatten().unique().to_pylist() == [255]


def test_candidates_have_parents_among_all_real_samples_and_everything_else_in_the_training_split():
    """A class of five samples must not have all its varied rows from the three that generator and encoder saw."""
    synthesizer = make_synthesizer(Classic(), SPEC)
    train = synthesizer.train
    held_back = LabelledCells(["c0", "s0"], np.array([0, 1]), train.cells.slice(0, 2))
    both = replace(synthesizer, held_back=held_back)
    own = [i for i, label in zip(train.ids, train.labels, strict=True) if label == 0]
    orders = both.orders({0: 2 * (len(own) + 1)}, "x", root=0, from_held_back=True)
    parents = [both.parent_ids[order.parent] for order in orders]

    assert sorted(parents) == sorted(2 * [*own, "c0"])
    assert both.orders({0: 9}, "x", root=0) == synthesizer.orders({0: 9}, "x", root=0)
    assert len(both.make(orders)[0]) == len(orders)


def test_a_held_back_parent_is_the_one_that_is_varied():
    synthesizer = make_synthesizer(Same(), SPEC)
    white = cells_from_numpy(np.full((1, 8, 8, 1), 255, np.uint8))
    both = replace(synthesizer, held_back=LabelledCells(["white"], np.array([7]), white))
    cells, _ = both.make(both.orders({7: 3}, "x", root=0, from_held_back=True))

    assert cells.flatten().unique().to_pylist() == [255]
