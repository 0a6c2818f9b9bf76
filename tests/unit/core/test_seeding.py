import numpy as np
from scipy.stats import kstest

from aigc_pipeline.core.seeding import coin, seed_for


def test_seed_depends_on_every_part_of_its_name():
    seeds = {seed_for(0, "a", 1), seed_for(0, "a", 2), seed_for(0, "b", 1), seed_for(1, "a", 1), seed_for(0, "a", "1")}

    assert len(seeds) == 5


def test_seed_does_not_depend_on_when_it_is_asked():
    first = [seed_for(7, "sample", i) for i in range(20)]
    second = [seed_for(7, "sample", i) for i in reversed(range(20))]

    assert first == second[::-1]


def test_seed_fits_a_signed_64_bit_column():
    assert all(0 <= seed_for(0, i) < 2**63 for i in range(1000))


def test_coins_are_uniform():
    coins = [coin(3, f"sample-{i}") for i in range(5000)]

    assert kstest(coins, "uniform").pvalue > 0.001


def test_coins_of_two_runs_are_independent():
    a, b = ([coin(run, f"sample-{i}") for i in range(5000)] for run in (1, 2))

    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05
