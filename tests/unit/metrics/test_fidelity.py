import numpy as np
import pytest
import torch
from prdc import compute_prdc
from torchmetrics.image.fid import _compute_fid

from aigc_pipeline.metrics.frechet import frechet_distance
from aigc_pipeline.metrics.memorisation import copying, wilson_interval
from aigc_pipeline.metrics.prdc import prdc


@pytest.fixture
def sets() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    mixing = generator.standard_normal((16, 16))
    return generator.standard_normal((400, 16)) @ mixing, generator.standard_normal((350, 16)) @ mixing * 1.1 + 0.3


def test_frechet_equals_torchmetrics_to_1e_6(sets):
    a, b = sets
    moments = [torch.from_numpy(v) for x in (a, b) for v in (x.mean(0), np.cov(x, rowvar=False))]
    expected = float(_compute_fid(moments[0], moments[1], moments[2], moments[3]))

    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_of_two_gaussians_approaches_the_closed_form():
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((200_000, 3)), 2 * generator.standard_normal((200_000, 3)) + 1

    assert frechet_distance(a, b) == pytest.approx(3 * 1 + 3 * (2 - 1) ** 2, rel=0.02)


def test_prdc_equals_the_authors_package(sets, capsys):
    a, b = (x.astype(np.float32) for x in sets)
    expected = compute_prdc(a, b, nearest_k=5)
    capsys.readouterr()
    ours = prdc(a, b, 5)

    for name, value in expected.items():
        assert getattr(ours, name) == pytest.approx(value, rel=1e-6)


def test_a_dropped_mode_costs_recall_and_coverage_but_not_precision():
    generator = np.random.default_rng(0)
    centers = np.array([[0, 0], [50, 0], [0, 50], [50, 50]])
    real = (centers[np.arange(800) % 4] + generator.standard_normal((800, 2))).astype(np.float32)
    fake = (centers[np.arange(600) % 3] + generator.standard_normal((600, 2))).astype(np.float32)
    result = prdc(real, fake)

    assert result.precision > 0.95
    assert result.recall == pytest.approx(0.75, abs=0.03)
    assert result.coverage == pytest.approx(0.75, abs=0.03)


def test_copies_stand_out_and_unseen_reals_do_not():
    generator = np.random.default_rng(0)
    holdout = generator.gamma(9, 1, 300)

    assert copying(holdout * 0.1, holdout).nearer_share > 0.99
    assert copying(holdout * 0.1, holdout).z < -10
    assert abs(copying(generator.gamma(9, 1, 300), holdout).z) < 3
    assert copying(generator.gamma(9, 1, 300), holdout).nearer_share == pytest.approx(0.5, abs=0.08)


def test_wilson_interval_matches_a_published_value():
    low, high = wilson_interval(8, 10)

    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-3)
    assert wilson_interval(0, 0) == (0.0, 1.0)
