"""Latencies in buckets, against NumPy's percentiles of all values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_perception.core.histogram import (
    LatencyBoard,
    LatencyHistogram,
    bucket_of,
    middle_s,
)


@given(st.floats(1e-6, 130.0))
def test_a_bucket_knows_its_values_to_a_share(seconds):
    error = abs(middle_s(bucket_of(seconds)) - seconds)
    assert error <= max(seconds / 64, 1e-6) * 1.02


@given(st.floats(1e-7, 200.0), st.floats(1e-7, 200.0))
def test_buckets_are_in_order(one, other):
    low, high = sorted((one, other))
    assert bucket_of(low) <= bucket_of(high)


def test_percentiles_are_those_of_the_values():
    values = np.random.default_rng(3).lognormal(-4, 1, 900)
    histogram = LatencyHistogram(window=1000)
    for value in values:
        histogram.add(value)
    found = histogram.statistics()
    assert found.count == 900
    assert found.mean_s == pytest.approx(values.mean())
    assert found.max_s == values.max()
    exact = np.percentile(values, (50, 90, 95, 99, 99.9), method="inverted_cdf")
    got = (found.p50_s, found.p90_s, found.p95_s, found.p99_s, found.p999_s)
    np.testing.assert_allclose(got, exact, rtol=1 / 60)


def test_old_values_leave_the_window():
    histogram = LatencyHistogram(window=10)
    for _ in range(10):
        histogram.add(5.0)
    for _ in range(20):
        histogram.add(0.001)
    assert histogram.statistics().max_s == 0.001
    assert 10 <= len(histogram) <= 20


def test_nan_counts_nowhere_and_nothing_is_nan():
    histogram = LatencyHistogram()
    histogram.add(math.nan)
    assert len(histogram) == 0
    assert math.isnan(histogram.percentile(50)[0])
    assert math.isnan(histogram.statistics().p999_s)


def test_absurd_values_are_kept_in_the_last_and_first_bucket():
    histogram = LatencyHistogram()
    for value in (-1.0, math.inf, 1e9):
        histogram.add(value)
    low, high = histogram.percentile(1, 99)
    assert low < 1e-5
    assert 100 < high < 135


def test_statistics_are_made_anew_once_a_period():
    board = LatencyBoard(period_s=1.0)
    board.add("wait", 0.1)
    first = board.statistics(0)
    board.add("wait", 0.2)
    assert board.statistics(999_999_999) is first
    assert board.statistics(1_000_000_000)["wait"].count == 2
