import math

import pytest

from edge_perception.core.latency import LatencyWindow
from edge_perception.core.rate import RateMeter

SECOND = 1_000_000_000


def test_rate_of_a_steady_source():
    meter = RateMeter(window_s=2.0)
    for index in range(100):
        meter.add(index * SECOND // 10)
    assert meter.rate_hz(99 * SECOND // 10) == pytest.approx(10.0, abs=0.6)


def test_rate_falls_to_zero_by_itself():
    meter = RateMeter(window_s=2.0)
    for index in range(20):
        meter.add(index * SECOND // 10)
    assert meter.rate_hz(10 * SECOND) == 0.0


def test_rate_before_the_window_is_full_counts_intervals():
    meter = RateMeter(window_s=2.0)
    assert meter.rate_hz(SECOND) == 0.0
    meter.add(SECOND)
    meter.add(SECOND + SECOND // 10)
    assert meter.rate_hz(SECOND + SECOND // 10) == pytest.approx(10.0)


def test_rate_beyond_the_capacity():
    meter = RateMeter(window_s=2.0, capacity=16)
    for index in range(1000):
        meter.add(index * SECOND // 100)
    assert meter.rate_hz(999 * SECOND // 100) == pytest.approx(100.0, rel=0.05)


def test_percentiles_of_the_last_values_only():
    window = LatencyWindow(capacity=10)
    for value in range(100):
        window.add(float(value))
    window.add(math.nan)
    assert window.percentile(0, 100) == (90.0, 99.0)


def test_percentiles_of_nothing_are_unknown():
    assert math.isnan(LatencyWindow().percentile(50)[0])
