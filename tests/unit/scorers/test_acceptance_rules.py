"""Samplers against theory on two Gaussians: budgets are exact, and each rule brings fakes nearer to reals, in theory's order."""

import numpy as np
import pyarrow as pa
import pytest

from aigc_pipeline.gates import InDistribution, MetropolisHastings, TopShare
from aigc_pipeline.scorers.acceptance import (
    acceptance_probability,
    discriminator_probability,
    solve_acceptance,
    solve_discriminator,
)

N = 200_000


@pytest.fixture(scope="module")
def fakes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fakes from N(0.8, 1.2^2), true log ratio against N(0, 1), and coins."""
    generator = np.random.default_rng(0)
    x = generator.normal(0.8, 1.2, N)
    log_ratio = -(x**2) / 2 + (x - 0.8) ** 2 / (2 * 1.44) + np.log(1.2)
    return x, log_ratio, generator.random(N)


def total_variation(x: np.ndarray) -> float:
    """Histogram distance to N(0, 1)."""
    edges = np.linspace(-5, 5, 81)
    reference = np.random.default_rng(9).standard_normal(1_000_000)
    return float(np.abs(np.histogram(x, edges)[0] / len(x) - np.histogram(reference, edges)[0] / 1e6).sum() / 2)


def scored(log_ratio: np.ndarray, coins: np.ndarray, labels: np.ndarray | None = None) -> pa.Table:
    return pa.table(
        {
            "label": np.zeros(len(coins), np.int64) if labels is None else labels,
            "log_density_ratio": log_ratio,
            "accept_probability": np.ones(len(coins)),
            "accept_coin": coins,
        }
    )


@pytest.mark.parametrize("keep_share", [0.1, 0.5, 0.9])
def test_both_rules_meet_their_budget_exactly(fakes, keep_share):
    _, log_ratio, _ = fakes
    c = solve_acceptance(np.exp(log_ratio), keep_share)
    gamma = solve_discriminator(log_ratio, keep_share, log_ratio.max(), allowed=np.ones(N, bool))
    optimal = acceptance_probability(np.exp(log_ratio), np.full(N, c))
    discriminator = discriminator_probability(log_ratio, np.full(N, gamma), np.full(N, log_ratio.max()))

    assert optimal.mean() == pytest.approx(keep_share, abs=1e-9)
    assert discriminator.mean() == pytest.approx(keep_share, abs=1e-9)
    order = np.argsort(log_ratio)
    assert (np.diff(discriminator[order]) >= -1e-12).all()
    assert (np.diff(optimal[order]) >= -1e-12).all()


def test_the_budget_is_filled_from_the_allowed_rows_as_far_as_they_go(fakes):
    _, log_ratio, _ = fakes
    peak, allowed = np.full(N, log_ratio.max()), log_ratio > 0.2

    def kept(keep_share: float) -> float:
        gamma = solve_discriminator(log_ratio, keep_share, log_ratio.max(), allowed=allowed)
        return float((allowed * discriminator_probability(log_ratio, np.full(N, gamma), peak)).mean())

    assert kept(0.3) == pytest.approx(0.3, abs=1e-9)
    assert kept(0.9) == pytest.approx(allowed.mean())


def test_a_discriminator_budget_of_one_keeps_everything(fakes):
    _, log_ratio, _ = fakes
    gamma = solve_discriminator(log_ratio, 1.0, log_ratio.max(), allowed=np.ones(N, bool))

    assert discriminator_probability(log_ratio, np.full(N, gamma), np.full(N, log_ratio.max())).min() == 1


def test_optimal_rejection_comes_nearest_then_the_discriminator_rule_then_the_top_share(fakes):
    x, log_ratio, coins = fakes
    c = solve_acceptance(np.exp(log_ratio), 0.5)
    gamma = solve_discriminator(log_ratio, 0.5, log_ratio.max(), allowed=np.ones(N, bool))
    distance = {
        "none": total_variation(x),
        "optimal": total_variation(x[coins < acceptance_probability(np.exp(log_ratio), np.full(N, c))]),
        "discriminator": total_variation(
            x[coins < discriminator_probability(log_ratio, np.full(N, gamma), np.full(N, log_ratio.max()))]
        ),
        "top": total_variation(x[TopShare(keep_share=0.5).judge(scored(log_ratio, coins))]),
    }

    assert distance["optimal"] < 0.05
    assert distance["optimal"] <= distance["discriminator"] + 0.002 < distance["top"] < distance["none"]


def test_the_ends_of_long_chains_follow_the_real_distribution(fakes):
    x, log_ratio, coins = fakes
    kept = MetropolisHastings(chain_length=50).judge(scored(log_ratio, coins))
    short = MetropolisHastings(chain_length=2).judge(scored(log_ratio, coins))

    assert kept.sum() == N // 50
    assert x[kept].mean() == pytest.approx(0, abs=0.05)
    assert x[kept].std() == pytest.approx(1, abs=0.05)
    assert abs(x[short].mean()) < abs(x.mean())


@pytest.mark.parametrize(("coin", "kept"), [(0.49, [False, True]), (0.51, [True, False])])
def test_a_chain_moves_with_the_ratio_of_the_density_ratios(coin, kept):
    table = scored(np.log([1.0, 0.5]), np.array([0.0, coin]))

    assert MetropolisHastings(chain_length=2).judge(table).tolist() == kept


def test_chains_hold_candidates_of_one_class():
    table = scored(np.array([0.0, 9.0, 1.0, 9.0]), np.zeros(4), np.array([0, 1, 0, 1]))

    assert MetropolisHastings(chain_length=2).judge(table).tolist() == [False, False, True, True]


def test_the_top_share_is_taken_from_every_class():
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [90, 11])
    log_ratio = generator.normal(0, 1, 101) - 5 * labels
    mask = TopShare(keep_share=0.5).judge(scored(log_ratio, generator.random(101), labels))

    assert [int(mask[labels == k].sum()) for k in (0, 1)] == [45, 6]
    assert log_ratio[mask & (labels == 0)].min() >= log_ratio[~mask & (labels == 0)].max()


@pytest.mark.parametrize("gate", [MetropolisHastings(), TopShare(keep_share=0.1)])
def test_without_a_trusted_critic_samplers_let_everything_pass(gate):
    table = scored(np.zeros(5), np.zeros(5)).set_column(2, "accept_probability", pa.nulls(5, pa.float64()))

    assert gate.judge(table).all()


def test_outliers_are_refused_and_without_a_hold_out_none():
    table = pa.table({"ood_p": pa.array([0.005, 0.01, 0.5, None], pa.float64())})

    assert InDistribution().judge(table).tolist() == [False, True, True, True]
