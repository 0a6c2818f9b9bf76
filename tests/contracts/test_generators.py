"""What every generator family must keep, whichever modality it handles: the checks of `generators/contract.py`."""

import numpy as np
import pytest

from aigc_pipeline.generators import built_in, parse_generator
from aigc_pipeline.generators.contract import CHECKS, SPECS, make_synthesizer
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
