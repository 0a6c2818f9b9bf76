"""What every generator family must keep, whichever modality it handles: the checks of `generators/contract.py`."""

import contextlib
import threading

import numpy as np
import pytest
import torch

from aigc_pipeline.generators import built_in, parse_generator
from aigc_pipeline.generators.contract import CHECKS, SPECS, check_independence, make_synthesizer
from aigc_pipeline.modalities import VectorSpec

FAMILIES = [parse_generator({"kind": each.model_fields["kind"].default}) for each in built_in() if each.model_fields["kind"].default != "weights_file"]  # fmt: skip
CASES = [
    pytest.param(family, spec, check, id=f"{family.kind}-{spec.kind}{spec.shape}-{check.__name__}")
    for family in FAMILIES
    for spec in SPECS
    if family.can_handle(spec.kind)
    for check in CHECKS
]


@pytest.mark.parametrize(("family", "spec", "check"), CASES)
def test_every_family_keeps_the_contract(family, spec, check, tmp_path):
    check(family, spec, tmp_path)


def test_a_broken_family_is_caught(tmp_path):
    class Constant(type(FAMILIES[0])):
        def sample(self, networks, seeds, labels, *, spec, parents=None):
            made = super().sample(networks, seeds, labels, spec=spec, parents=parents)
            return type(made)(made.x * 0)

    with pytest.raises(AssertionError, match="distinct seeds gave equal samples"):
        CHECKS[0](Constant(), SPECS[0], tmp_path)


def test_a_family_that_keeps_state_is_caught_on_one_thread_too(tmp_path):
    both_have_drawn, draws = threading.Barrier(2), []

    class Stateful(type(next(family for family in FAMILIES if family.kind == "vae"))):
        def sample(self, networks, seeds, labels, *, spec, parents=None):
            draws.append(seeds)
            with contextlib.suppress(threading.BrokenBarrierError):  # a chunk alone waits in vain
                both_have_drawn.wait(1)
            return super().sample(networks, draws[-1], labels, spec=spec, parents=parents)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pytest.raises(AssertionError, match="changed with its neighbours"):
            check_independence(Stateful(size="tiny"), SPECS[0], tmp_path)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def test_every_family_says_when_to_choose_it_and_where_it_comes_from():
    for family in FAMILIES:
        assert family.choose_when.endswith(".")
        assert len(family.paper) > 10


def test_varied_samples_name_each_parent_equally_often():
    classic = next(family for family in FAMILIES if family.origin == "classic")
    orders = make_synthesizer(classic, VectorSpec(num_values=2, scale=1.0)).orders({0: 45}, "x", root=0)
    uses = np.bincount([order.parent for order in orders], minlength=40)

    assert set(uses[0::2]) <= {2, 3}
    assert uses[1::2].sum() == 0
