import numpy as np
import pytest

from aigc_pipeline.metrics.vendi import vendi_score


@pytest.mark.parametrize(("n", "d"), [(40, 8), (5, 8)])
def test_identical_samples_are_worth_one(n, d):
    assert vendi_score(np.tile(np.random.default_rng(0).standard_normal(d), (n, 1))) == pytest.approx(1)


@pytest.mark.parametrize("d", [6, 30])
def test_orthogonal_samples_are_worth_their_number_at_any_length(d):
    lengths = np.arange(1, 7)[:, None]

    assert vendi_score(np.eye(6, d) * lengths) == pytest.approx(6)


def test_two_orthogonal_groups_of_unequal_size_are_worth_the_exponential_of_their_entropy():
    features = np.repeat(np.eye(2, 3), [30, 10], axis=0)

    assert vendi_score(features) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))


def test_the_short_way_for_many_samples_equals_the_definition():
    features = np.random.default_rng(0).standard_normal((200, 7))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    shares = np.linalg.eigvalsh(unit @ unit.T / 200)
    shares = shares[shares > 1e-12]

    assert vendi_score(features) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-9)


def test_rows_of_zeros_are_like_each_other_and_unlike_the_rest():
    assert vendi_score(np.zeros((4, 3))) == pytest.approx(1)
    assert vendi_score(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])) == pytest.approx(2)


def test_no_sample_has_no_score():
    with pytest.raises(ValueError, match="at least one sample"):
        vendi_score(np.zeros((0, 3)))
