import numpy as np
import pytest
import torch
from prdc import compute_prdc
from torchmetrics.image.fid import FrechetInceptionDistance

from aigc_pipeline.features.stored import LabelledFeatures
from aigc_pipeline.metrics.fidelity import compare, compare_per_class
from aigc_pipeline.metrics.frechet import diagonal_frechet_distance, frechet_distance
from aigc_pipeline.metrics.kernel import cubic, unbiased_mmd
from aigc_pipeline.metrics.memorisation import copying, wilson_interval
from aigc_pipeline.metrics.prdc import prdc


@pytest.fixture
def sets() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    mixing = generator.standard_normal((16, 16))
    return generator.standard_normal((400, 16)) @ mixing, generator.standard_normal((350, 16)) @ mixing * 1.1 + 0.3


class Identity(torch.nn.Module):
    """Features in, features out."""

    num_features = 16

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_frechet_equals_torchmetrics_to_1e_6(sets):
    a, b = sets
    metric = FrechetInceptionDistance(feature=Identity()).set_dtype(torch.float64)
    metric.update(torch.from_numpy(a), real=True)
    metric.update(torch.from_numpy(b), real=False)

    assert frechet_distance(a, b) == pytest.approx(float(metric.compute()), rel=1e-6)


def test_the_diagonal_distance_is_the_full_one_of_independent_dimensions_and_blind_to_correlation():
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((100_000, 3)), generator.standard_normal((100_000, 3)) * [1, 2, 3] + 1
    rotated = b @ np.linalg.qr(generator.standard_normal((3, 3)))[0]

    assert diagonal_frechet_distance(a, b) == pytest.approx(3 + 0 + 1 + 4, rel=0.02)
    assert diagonal_frechet_distance(a, b) == pytest.approx(frechet_distance(a, b), rel=1e-3)
    assert diagonal_frechet_distance(a, rotated) < 0.95 * frechet_distance(a, rotated)


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


NAMES = ("zero", "one", "two")


def labelled(counts: list[int], seed: int, shift: float = 0.0, d: int = 4) -> LabelledFeatures:
    labels = np.repeat(np.arange(3), counts)
    noise = np.random.default_rng(seed).standard_normal((len(labels), d))
    return LabelledFeatures((noise + shift + 3 * labels[:, None]).astype(np.float32), labels.astype(np.int64))


def test_every_pool_gets_every_metric_at_the_n_and_class_mix_that_all_can_give():
    pools = {
        "before": labelled([80, 90, 30], 1, 0.5),
        "after": labelled([50, 60, 20], 2),
        "real": labelled([99] * 3, 3),
    }
    found = compare(labelled([70, 40, 90], 0), pools, num_classes=3, num_draws=4, seed=0)
    metrics = {"frechet_distance", "kid", "mmd_rbf", "vendi", "precision", "recall", "density", "coverage"}

    assert {key for key in found if not key.startswith("frechet_z")} == {f"{m}/{p}" for m in metrics for p in pools}
    assert {each.n for each in found.values()} == {50 + 40 + 20}
    assert all(each.ci_low <= each.value <= each.ci_high for each in found.values())
    assert found["kid/before"].value > found["kid/real"].value
    assert found["mmd_rbf/before"].value > found["mmd_rbf/real"].value


def test_draws_of_everything_there_is_give_the_metric_of_the_whole_sets():
    reference, pool = labelled([40] * 3, 0), labelled([40] * 3, 1, 1.0)
    found = compare(reference, {"after": pool}, num_classes=3, num_draws=2, seed=0)

    kernels = {"kid": cubic(reference.features.shape[1])}
    expected = unbiased_mmd(kernels, reference.features, pool.features)["kid"]
    assert found["kid/after"].value == pytest.approx(expected, rel=1e-6)
    assert found["frechet_distance/after"].value == pytest.approx(
        frechet_distance(reference.features, pool.features), rel=1e-6
    )


def test_the_z_score_counts_standard_deviations_of_the_real_draws():
    pools = {"before": labelled([60] * 3, 1, 1.0), "after": labelled([60] * 3, 2), "real": labelled([200] * 3, 3)}
    found = compare(labelled([100] * 3, 0), pools, num_classes=3, num_draws=10, seed=0)
    distance = {name: found[f"frechet_distance/{name}"].value for name in pools}

    assert {key for key in found if key.startswith("frechet_z")} == {"frechet_z/before", "frechet_z/after"}
    assert found["frechet_z/before"].value > 10 > 5 > abs(found["frechet_z/after"].value)
    assert (distance["before"] - distance["real"]) / (distance["after"] - distance["real"]) == pytest.approx(
        found["frechet_z/before"].value / found["frechet_z/after"].value
    )


def test_the_spread_of_the_real_draws_is_that_of_a_sample():
    pools = {"before": labelled([60] * 3, 1, 1.0), "real": labelled([200] * 3, 3)}
    found = compare(labelled([100] * 3, 0), pools, num_classes=3, num_draws=2, seed=0)
    real, before = found["frechet_distance/real"], found["frechet_distance/before"]
    deviation = (real.ci_high - real.ci_low) / 0.95 / np.sqrt(2)  # of two draws

    assert found["frechet_z/before"].value == pytest.approx((before.value - real.value) / deviation)


def test_there_is_no_z_score_where_the_real_draws_do_not_differ():
    pools = {"after": labelled([60] * 3, 2), "real": labelled([60] * 3, 3)}

    assert "frechet_z/after" not in compare(labelled([60] * 3, 0), pools, num_classes=3, num_draws=5, seed=0)
    assert "frechet_z/after" not in compare(
        labelled([60] * 3, 0), {"after": pools["after"]}, num_classes=3, num_draws=5, seed=0
    )


def test_swapped_labels_show_per_class_and_not_in_the_whole_set():
    reference, real = labelled([60] * 3, 0), labelled([60] * 3, 1)
    whole = labelled([60] * 3, 2)
    swapped = LabelledFeatures(whole.features, (whole.labels + 1) % 3)
    pools = {"before": swapped, "after": whole, "real": real}
    rows = compare_per_class(reference, pools, class_names=NAMES, seed=0)
    mean = {name: np.mean([row["precision"] for row in rows if row["set"] == name]) for name in pools}

    assert [(row["class"], row["set"]) for row in rows] == [(name, pool) for name in NAMES for pool in pools]
    assert mean["before"] < 0.1 < 0.6 < mean["after"]
    assert compare(reference, pools, num_classes=3, num_draws=2, seed=0)["precision/before"].value > 0.6


def test_per_class_covariance_is_diagonal_under_5_d_samples_and_sparse_classes_have_no_row():
    reference, pool = labelled([40, 19, 10], 0), labelled([30, 30, 30], 1)
    rows = compare_per_class(reference, {"after": pool, "real": labelled([20, 10, 30], 2)}, class_names=NAMES, seed=0)

    assert [(row["class"], row["set"], row["n"], row["covariance"]) for row in rows] == [
        ("zero", "after", 20, "full"),
        ("zero", "real", 20, "full"),
        ("one", "after", 19, "diagonal"),
    ]
    assert all(0 <= row["coverage"] <= 1 and row["frechet_distance"] > 0 for row in rows)
