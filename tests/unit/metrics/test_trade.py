import numpy as np
import pytest

from aigc_pipeline.metrics.trade import Pilot, choose_budget, min_class_share, trims_diversity
from aigc_pipeline.records import TradePoint


def point(share: float, precision: float, recall: float, coverage: float = 0.9) -> TradePoint:
    return TradePoint(
        keep_share=share, precision=precision, recall=recall, density=1.0, coverage=coverage, min_class_share=1.0
    )


@pytest.mark.parametrize(
    ("after", "trims"),
    [
        (point(0.5, 0.8, 0.9), False),
        (point(0.5, 0.8, 0.7), True),  # too much recall lost
        (point(0.5, 0.8, 0.9, coverage=0.7), True),
        (point(0.5, 0.7, 0.85), True),  # recall lost, no precision gained
        (point(0.5, 0.76, 0.85), False),  # a fair price
    ],
)
def test_a_budget_trims_diversity_when_it_costs_too_much_or_buys_nothing(after, trims):
    assert trims_diversity(point(1.0, 0.7, 0.9), after) is trims


@pytest.fixture
def clouds() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.standard_normal((600, 4)).astype(np.float32), generator.standard_normal((1_200, 4)).astype(
        np.float32
    )


def with_coins(features: np.ndarray) -> Pilot:
    n = len(features)
    return Pilot(features, np.random.default_rng(1).random(n), np.zeros(n, np.int64))


def test_a_filter_that_only_trims_the_edge_is_relaxed_and_the_record_says_from_where(clouds):
    real, pilot = clouds
    radius = np.linalg.norm(pilot, axis=1)

    def keep(share: float) -> np.ndarray:
        return (radius <= np.quantile(radius, share)).astype(float)

    pilot = with_coins(pilot)
    trade = choose_budget(real, pilot, keep, configured=0.35, relaxes=True, seed=0)

    assert trade.relaxed_from == 0.35
    assert trade.keep_share == pytest.approx(0.35 * 1.5**2)
    assert choose_budget(real, pilot, keep, configured=0.35, relaxes=False, seed=0).keep_share == 0.35


def test_a_filter_that_removes_what_is_not_real_is_left_alone(clouds):
    real, pilot = clouds
    is_off = np.arange(len(pilot)) < 500
    pilot = pilot + np.where(is_off, 6, 0)[:, None].astype(np.float32)

    def keep(share: float) -> np.ndarray:
        order = np.argsort(is_off, kind="stable")
        mask = np.zeros(len(pilot), bool)
        mask[order[: int(share * len(pilot))]] = True
        return mask.astype(float)

    trade = choose_budget(real, with_coins(pilot), keep, configured=0.5, relaxes=True, seed=0)

    assert (trade.keep_share, trade.relaxed_from) == (0.5, None)
    everything, half = (next(p for p in trade.points if p.keep_share == share) for share in (1.0, 0.5))
    assert half.precision > everything.precision + 0.2
    assert half.recall > everything.recall - 0.1


def test_budgets_are_compared_at_equal_numbers(clouds):
    """More fakes cover more: a filter that draws at random must not look as if it trimmed diversity."""
    real, pilot = clouds
    trade = choose_budget(
        real, with_coins(pilot), lambda share: np.full(len(pilot), share), configured=0.2, relaxes=True, seed=0
    )

    coverage = [point.coverage for point in trade.points]
    assert max(coverage) - min(coverage) < 0.08
    assert trade.relaxed_from is None


def test_the_starved_class_shows_and_a_class_with_its_own_budget_does_not():
    probability = np.repeat([0.6, 0.2, 0.01], 10)
    labels = np.repeat([0, 1, -1], 10)

    assert min_class_share(probability, labels) == pytest.approx(0.5)
    assert min_class_share(probability[20:], labels[20:]) == 1
