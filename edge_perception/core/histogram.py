"""Latencies as counts in buckets: any number of them in constant memory.

The buckets are those of HdrHistogram (Tene): every power of two is cut into the same number of
parts, here 32, so that a value is known to 1/64 of itself, from 64 microseconds to two minutes.
Shorter ones are known to half a microsecond.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_LINEAR_BITS = 6  # below 64 us every microsecond has a bucket
_HALF = 32  # buckets of every power of two above
_POWERS = 21  # the last bucket ends at 64 * 2**21 us = 134 s
_BUCKETS = 2 * _HALF + _HALF * _POWERS
PERCENTS = (50.0, 90.0, 95.0, 99.0, 99.9)
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class LatencyStatistics:
    """What is known of the durations of one stage, seconds; NaN without any."""

    count: int = 0
    mean_s: float = NAN
    p50_s: float = NAN
    p90_s: float = NAN
    p95_s: float = NAN
    p99_s: float = NAN
    p999_s: float = NAN
    max_s: float = NAN


class LatencyHistogram:
    """Durations of the last `window` to `2 * window` samples."""

    def __init__(self, window: int = 1000) -> None:
        self._window = window
        self._now = _Half()
        self._before = _Half()

    def add(self, seconds: float) -> None:
        """Record one duration; NaN (not measured) is ignored, a negative one counts as zero."""
        if seconds != seconds:
            return
        if self._now.count >= self._window:
            self._now, self._before = self._before, self._now
            self._now.clear()
        self._now.add(seconds)

    def __len__(self) -> int:
        return self._now.count + self._before.count

    def percentile(self, *percents: float) -> tuple[float, ...]:
        """Return percentiles (0 to 100) in seconds, to 1/64 of their value; NaN without samples."""
        total = len(self)
        if not total:
            return (NAN,) * len(percents)
        cumulative = np.cumsum(self._now.counts + self._before.counts)
        ranks = np.maximum(np.ceil(np.asarray(percents) / 100.0 * total), 1)
        found = np.searchsorted(cumulative, ranks)
        top = max(self._now.max_s, self._before.max_s)
        return tuple(min(middle_s(int(bucket)), top) for bucket in found)

    def statistics(self) -> LatencyStatistics:
        """Return count, mean, percentiles and maximum."""
        count = len(self)
        if not count:
            return LatencyStatistics()
        p50, p90, p95, p99, p999 = self.percentile(*PERCENTS)
        return LatencyStatistics(
            count=count,
            mean_s=(self._now.sum_s + self._before.sum_s) / count,
            p50_s=p50,
            p90_s=p90,
            p95_s=p95,
            p99_s=p99,
            p999_s=p999,
            max_s=max(self._now.max_s, self._before.max_s),
        )


class _Half:
    def __init__(self) -> None:
        self.counts = np.zeros(_BUCKETS, np.int64)
        self.clear()

    def clear(self) -> None:
        self.counts[:] = 0
        self.count = 0
        self.sum_s = self.max_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bucket_of(seconds)] += 1
        self.count += 1
        self.sum_s += seconds
        self.max_s = max(self.max_s, seconds)


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration; the last one takes all that is longer."""
    microseconds = int(min(max(seconds, 0.0), 1e4) * 1e6)
    power = max(microseconds.bit_length() - _LINEAR_BITS, 0)
    if power == 0:
        return microseconds
    return min(power * _HALF + (microseconds >> power), _BUCKETS - 1)


def middle_s(bucket: int) -> float:
    """Return the middle of a bucket, seconds."""
    if bucket < 2 * _HALF:
        return (bucket + 0.5) * 1e-6
    power = bucket // _HALF - 1
    part = bucket - power * _HALF
    return (part + 0.5) * (1 << power) * 1e-6


class LatencyBoard:
    """Histograms by name of the stage, and their statistics, made anew once a period."""

    def __init__(self, period_s: float = 1.0) -> None:
        self._period_ns = round(period_s * 1e9)
        self._histograms: dict[str, LatencyHistogram] = {}
        self._made_ns: int | None = None
        self._statistics: dict[str, LatencyStatistics] = {}

    def add(self, stage: str, seconds: float) -> None:
        """Record one duration of a stage; NaN is ignored."""
        histogram = self._histograms.get(stage)
        if histogram is None:
            histogram = self._histograms[stage] = LatencyHistogram()
        histogram.add(seconds)

    def statistics(self, steady_ns: int) -> Mapping[str, LatencyStatistics]:
        """Return the statistics by stage, at most a period old."""
        if self._made_ns is None or steady_ns - self._made_ns >= self._period_ns:
            self._made_ns = steady_ns
            self._statistics = {
                name: histogram.statistics() for name, histogram in self._histograms.items()
            }
        return self._statistics
