import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel
from torchmetrics.image.kid import KernelInceptionDistance

from aigc_pipeline.metrics import kernel
from aigc_pipeline.metrics.kernel import cubic, gaussian, median_squared_distance, unbiased_mmd


class Identity(torch.nn.Module):
    """Features in, features out."""

    num_features = 16

    def forward(self, x):
        return x


@pytest.fixture
def sets() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.standard_normal((300, 16)), 1.1 * generator.standard_normal((300, 16)) + 0.2


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all")
@pytest.mark.parametrize("block_entries", [1 << 21, 10_000])
def test_kid_equals_torchmetrics_to_1e_6_whatever_the_block(sets, block_entries, monkeypatch):
    monkeypatch.setattr(kernel, "_BLOCK_ENTRIES", block_entries)
    real, fake = sets
    metric = KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=300).set_dtype(torch.float64)
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(fake), real=False)

    assert unbiased_mmd({"kid": cubic(16)}, real, fake)["kid"] == pytest.approx(float(metric.compute()[0]), rel=1e-6)


def test_a_gaussian_kernel_equals_the_sum_over_sklearns_kernel_matrix(sets):
    real, fake = sets[0], sets[1][:200]
    variance = float(np.median(euclidean_distances(real, squared=True)[np.triu_indices(300, 1)]))
    within, across = rbf_kernel(real, gamma=0.5 / variance), rbf_kernel(real, fake, gamma=0.5 / variance)
    other = rbf_kernel(fake, gamma=0.5 / variance)
    expected = (within.sum() - 300) / (300 * 299) + (other.sum() - 200) / (200 * 199) - 2 * across.mean()

    assert median_squared_distance(real) == pytest.approx(variance, rel=1e-9)
    assert unbiased_mmd({"rbf": gaussian(variance)}, real, fake)["rbf"] == pytest.approx(expected, rel=1e-6)


def test_the_gaussian_discrepancy_of_two_gaussians_is_the_closed_form():
    generator = np.random.default_rng(0)
    found = [
        unbiased_mmd(
            {"rbf": gaussian(1.0)}, generator.standard_normal((500, 1)), generator.standard_normal((500, 1)) + 1
        )["rbf"]
        for _ in range(100)
    ]
    # the kernel of variance v averages N(m, 2) differences to sqrt(v / (v + 2)) exp(-m^2 / (2 (v + 2))); here v = 1
    expected = 2 * np.sqrt(1 / 3) * (1 - np.exp(-1 / 6))

    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / 10)
    assert np.mean(found) == pytest.approx(expected, rel=0.07)


def test_two_sets_of_one_distribution_scatter_around_zero_and_copies_fall_below():
    generator = np.random.default_rng(0)
    both = {"kid": cubic(8), "rbf": gaussian(16.0)}
    found = [unbiased_mmd(both, *generator.standard_normal((2, 100, 8))) for _ in range(40)]
    points = generator.standard_normal((100, 8))

    for name in both:
        values = np.array([each[name] for each in found])
        assert abs(values.mean()) < 3 * values.std(ddof=1) / np.sqrt(len(values))
        assert values.min() < 0 < values.max()
        assert unbiased_mmd(both, points, points)[name] < values.min()


def test_the_median_of_many_rows_comes_from_a_part_of_them():
    points = np.random.default_rng(0).standard_normal((20_000, 4))

    assert median_squared_distance(points) == pytest.approx(2 * 3.357, rel=0.06)  # 3.357: median of chi^2 with 4 dof


def test_one_sample_is_too_few_for_an_unbiased_estimate():
    with pytest.raises(ValueError, match="not 1 real and 5 synthetic"):
        unbiased_mmd({"kid": cubic(4)}, np.ones((1, 4)), np.ones((5, 4)))
