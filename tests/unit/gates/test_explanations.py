"""Every filter gate says in one sentence what it read and its limit, also where nothing is known."""

from typing import get_args

import pytest

from aigc_pipeline.gates import AnyFilterGate, ClassQuota

ROW = {
    "label": 3,
    "class_name": "three",
    "parent_ids": [],
    "class_want": 40,
    "class_have": 120,
    "label_predicted": 8,
    "label_probability": 0.1234,
    "ood_p": 0.0042,
    "train_distance": 0.0567,
    "train_distance_quantile": 0.02,
    "copy_threshold": 0.0789,
    "nearest_earlier_distance": 0.0312,
    "distinct_threshold": 0.0456,
    "p_real": 0.321,
    "log_density_ratio": -0.654,
    "accept_probability": 0.4321,
    "accept_coin": 0.8765,
}
SAYS = {
    "label_agreement": ("class 8", "requested was 3", "0.123", "25"),
    "in_distribution": ("0.0042", "0.01"),
    "not_memorised": ("0.0567", "0.0789", "0.02"),
    "distinct": ("0.0312", "0.0456"),
    "rejection_sampling": ("0.876", "0.432"),
    "metropolis_hastings": ("-0.654", "0.876", "chain of 4"),
    "top_share": ("-0.654", "50%"),
    "min_p_real": ("0.321", "0.5"),
    "class_quota": ("40", "three"),
}
GATES = {gate.kind: gate for gate in (*(member() for member in get_args(get_args(AnyFilterGate)[0])), ClassQuota())}


def test_every_gate_is_covered():
    assert set(GATES) == set(SAYS)


@pytest.mark.parametrize("kind", sorted(SAYS))
def test_a_gate_names_its_numbers_and_its_limit(kind):
    sentence = GATES[kind].explain(ROW)

    for number in SAYS[kind]:
        assert number in sentence
    assert "\n" not in sentence


def test_repeats_of_a_varied_sample_are_told_what_a_repeat_is_among_them():
    assert "made from a real one, which are near each other on purpose" in GATES["distinct"].explain(
        ROW | {"parent_ids": ["a"]}
    )


@pytest.mark.parametrize(
    "kind", ["in_distribution", "rejection_sampling", "metropolis_hastings", "top_share", "min_p_real"]
)
def test_what_passes_for_want_of_a_number_is_held_against_no_limit(kind):
    sentence = GATES[kind].explain(
        ROW | {"ood_p": None, "p_real": None, "log_density_ratio": None, "accept_probability": None}
    )

    assert sentence.endswith("and it passes")


@pytest.mark.parametrize("kind", sorted(SAYS))
def test_what_is_null_is_said_in_words(kind):
    sentence = GATES[kind].explain(dict.fromkeys(ROW))

    assert "None" not in sentence
    assert "not known" in sentence
