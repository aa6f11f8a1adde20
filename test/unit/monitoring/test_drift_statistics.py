"""Statistics of drift held against scipy."""

import numpy as np
import pytest
from scipy import special, stats

from edge_perception.monitoring.drift.reference import histogram
from edge_perception.monitoring.drift.statistics import (
    PageHinkley,
    correlation_time,
    ks,
    ks_of_chance,
    psi,
    psi_of_chance,
    shares,
    z_score,
)


@pytest.mark.parametrize("seed", range(5))
def test_psi_is_the_sum_of_both_relative_entropies(seed):
    rng = np.random.default_rng(seed)
    before, now = rng.integers(0, 50, (2, 10))
    p, q = shares(before), shares(now)
    assert psi(before, now) == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p))


def test_psi_of_empty_bins_is_finite_and_falls_with_smoothing():
    before, now = np.array([100, 0]), np.array([0, 100])
    assert 1.0 < psi(before, now, 5.0) < psi(before, now) < 20.0


@pytest.mark.parametrize("seed", range(5))
def test_ks_is_scipys_on_values_of_the_bins(seed):
    rng = np.random.default_rng(seed)
    edges = np.linspace(-2, 2, 19)
    before, now = rng.standard_normal(400), rng.standard_normal(300) + 0.2 * seed
    binned = [np.searchsorted(edges, item, side="right") for item in (before, now)]
    expected = stats.ks_2samp(*binned).statistic
    assert ks(histogram(before, edges), histogram(now, edges)) == pytest.approx(expected)


def test_ks_of_nothing_is_not_known():
    assert np.isnan(ks(np.array([1, 2]), np.zeros(2, int)))


@pytest.mark.parametrize("count", [50, 200, 5000])
def test_limit_of_ks_is_kolmogorovs(count):
    expected = special.kolmogi(1e-6) / np.sqrt(count / 2)
    assert ks_of_chance(count, count) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("bins", [3, 10, 20])
def test_limit_of_psi_is_a_far_quantile_of_chi_squared(bins):
    quantile = psi_of_chance(bins, 1e12, 1000.0) * 1000.0
    assert 1e-7 < stats.chi2.sf(quantile, bins - 1) < 1.3e-6


def test_z_is_that_of_the_mean_of_a_sample():
    values = np.random.default_rng(1).normal(0.3, 1.0, 400)
    expected = (values.mean() - 0.0) / stats.sem(np.r_[-1.0, 1.0].repeat(200), ddof=0)
    got = z_score(0.0, 1.0, values.mean(), reference=1e12, effective=400)
    assert got == pytest.approx(expected, rel=1e-5)


def test_z_of_a_constant_has_a_floor():
    assert abs(z_score(5.0, 0.0, 5.001, reference=1e6, effective=1)) < 0.1


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_correlation_time_of_a_known_process(phi):
    rng = np.random.default_rng(3)
    values = np.zeros(60_000)
    noise = rng.standard_normal(len(values))
    for at in range(1, len(values)):
        values[at] = phi * values[at - 1] + noise[at]
    assert correlation_time(values) == pytest.approx((1 + phi) / (1 - phi), rel=0.15)


def test_correlation_time_of_a_constant_is_one():
    assert correlation_time(np.full(1000, 0.1)) == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_page_hinkley_in_blocks_is_the_recursion_one_by_one(seed):
    rng = np.random.default_rng(seed)
    values = np.r_[rng.normal(0, 1, 500), rng.normal(1.5, 1, 60)]
    stamps = np.arange(len(values)) + 1
    test = PageHinkley(mean=0.0, spread=1.0, tau=100.0, down=False)
    for part in np.array_split(np.arange(len(values)), 37):
        test.add(values[part], stamps[part])
    level = 0.0
    began = 0
    for stamp, value in zip(stamps, values, strict=True):
        began = began if level > 0.0 else stamp
        level = max(0.0, level + min(max(value, -4.0), 4.0) - test.allowance)
    assert test.value == pytest.approx(level)
    assert test.began_ns == began


def test_page_hinkley_hears_a_fall_only_where_it_counts():
    values, stamps = np.full(500, -2.0), np.arange(500)
    for down in (True, False):
        test = PageHinkley(mean=0.0, spread=1.0, tau=1.0, down=down)
        test.add(values, stamps)
        assert (test.value > test.limit) is down
