"""Intervals over sources, compared with the bootstrap of scipy and with normal distributions."""

from inspect import signature

import numpy as np
import pytest
from scipy.stats import bootstrap

from iris_cli.evaluation.bootstrap import Resampling


def test_one_view_each_gives_the_interval_of_scipy():
    values = np.random.default_rng(0).lognormal(size=80)
    found = Resampling.of([f"g{i}" for i in range(80)], resamples=20_000).summary(values[:, None])
    dice = {"rng" if "rng" in signature(bootstrap).parameters else "random_state": np.random.default_rng(1)}
    expected = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", **dice)
    assert found.low[0] == pytest.approx(expected.confidence_interval.low, rel=0.01)
    assert found.high[0] == pytest.approx(expected.confidence_interval.high, rel=0.01)
    assert found.mean[0] == pytest.approx(values.mean()) and found.median[0] == pytest.approx(np.median(values))


def test_equal_views_of_one_galaxy_do_not_narrow_the_interval():
    """Sixteen equal views a galaxy: as wide as with one, four times as wide as if they were independent."""
    values = np.random.default_rng(2).normal(size=50)
    sources = [f"g{i}" for i in range(50)]
    one = Resampling.of(sources).summary(values[:, None])
    many = Resampling.of(np.repeat(sources, 16).tolist()).summary(np.repeat(values, 16)[:, None])
    assert (many.low[0], many.high[0]) == pytest.approx((one.low[0], one.high[0]))
    independent = Resampling.of([str(i) for i in range(800)]).summary(np.repeat(values, 16)[:, None])
    ratio = (many.high[0] - many.low[0]) / (independent.high[0] - independent.low[0])
    assert ratio == pytest.approx(4.0, rel=0.1)


def test_galaxies_count_by_their_views():
    values = np.array([1.0, 1.0, 1.0, 5.0])
    assert Resampling.of(["a", "a", "a", "b"]).summary(values[:, None]).mean[0] == 2.0
    means = Resampling.of(["a", "a", "a", "b"], resamples=500).means(values[:, None])
    assert set(np.round(means[:, 0], 9)) == {1.0, 2.0, 5.0}  # both from a, one from each, both from b


def test_the_interval_contains_the_truth_at_its_nominal_rate():
    dice, hits = np.random.default_rng(3), 0
    for _ in range(100):
        values = np.repeat(dice.normal(size=60), 2) + 0.1 * dice.normal(size=120)
        found = Resampling.of([f"g{i // 2}" for i in range(120)], resamples=400).summary(values[:, None])
        hits += int(found.low[0] <= 0.0 <= found.high[0])
    assert 0.88 <= hits / 100 <= 0.99


def test_undefined_numbers_and_intervals_are_nan():
    values = np.array([[1.0, np.nan, np.nan], [3.0, np.nan, 7.0], [np.nan, np.nan, np.nan]])
    found = Resampling.of(["a", "b", "c"]).summary(values)
    np.testing.assert_array_equal(found.mean, [2.0, np.nan, 7.0])
    assert found.pairs.tolist() == [2, 0, 1]
    found = Resampling.of(["a", "a"]).summary(np.array([[1.0], [2.0]]))  # a single source has no interval
    assert found.mean[0] == 1.5 and np.isnan(found.low[0]) and np.isnan(found.high[0])


def test_the_same_seed_draws_the_same():
    values = np.random.default_rng(4).random((30, 3))
    one, other = (Resampling.of([f"g{i}" for i in range(30)], seed=7).summary(values) for _ in range(2))
    assert np.array_equal(one.low, other.low)
