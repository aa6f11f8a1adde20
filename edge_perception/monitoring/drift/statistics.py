"""The statistics of drift, on histograms and running sums: constant memory, NumPy only.

Samples of a drive resemble the ones before them, so that n of them say as much as n / tau
independent ones, tau being the integrated autocorrelation time (Sokal 1997). Every limit here is
one of effective samples; without that, the textbook limits raise alarms in every clean minute.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 0.5  # added to every bin: the prior of Jeffreys (1946), so that none is empty


def shares(counts: NDArray, smoothing: float = SMOOTHING) -> NDArray[np.float64]:
    """Return counts as smoothed shares that sum to 1."""
    filled = np.asarray(counts, np.float64) + smoothing
    return np.asarray(filled / filled.sum())


def psi(reference: NDArray, now: NDArray, smoothing: float = SMOOTHING) -> float:
    """Return the population stability index of two histograms of the same bins.

    The sum of (p - q) ln(p / q): Jeffreys' divergence. Below 0.1 little, above 0.25 much.
    """
    p, q = shares(reference, smoothing), shares(now, smoothing)
    return float(((p - q) * np.log(p / q)).sum())


def psi_of_chance(bins: int, reference: float, now: float) -> float:
    """Return what PSI reaches by chance once in a million looks or so.

    Without a shift, PSI over (1/n + 1/m) follows a chi-squared of `bins` - 1 degrees of freedom
    (Yurdakul 2018); its far quantile is taken by the cube of Wilson and Hilferty (1931).

    Args:
        bins: of the histograms.
        reference: effective samples of the reference.
        now: effective samples of the window.
    """
    free = max(bins - 1, 1)
    spread = 2.0 / (9.0 * free)
    quantile = free * (1.0 - spread + 4.75 * math.sqrt(spread)) ** 3
    return quantile * (1.0 / max(reference, 1.0) + 1.0 / max(now, 1.0))


def ks(reference: NDArray, now: NDArray) -> float:
    """Return the Kolmogorov-Smirnov distance at the edges of the bins, 0 to 1."""
    a, b = np.cumsum(reference, dtype=np.float64), np.cumsum(now, dtype=np.float64)
    if not a[-1] or not b[-1]:
        return float("nan")
    return float(np.abs(a / a[-1] - b / b[-1]).max())


def ks_of_chance(reference: float, now: float, alpha: float = 1e-6) -> float:
    """Return the distance that chance exceeds with probability `alpha` (Smirnov's limit)."""
    effective = 1.0 / (1.0 / max(reference, 1.0) + 1.0 / max(now, 1.0))
    return math.sqrt(-0.5 * math.log(alpha / 2.0) / effective)


def floor_of(mean: float, spread: float) -> float:
    """Return the least spread that is believed: a constant quantity may move by a percent."""
    return max(spread, 0.01 * abs(mean), 1e-6)


def z_score(mean: float, spread: float, now: float, *, reference: float, effective: float) -> float:
    """Return the shift of a mean in its standard errors.

    Args:
        mean: of the reference.
        spread: of the reference; standard deviation, with its floor.
        now: mean of the window.
        reference: effective samples of the reference.
        effective: effective samples of the window.
    """
    error = floor_of(mean, spread) * math.sqrt(
        1.0 / max(effective, 1.0) + 1.0 / max(reference, 1.0)
    )
    return (now - mean) / error


def correlation_time(values: NDArray) -> float:
    """Return the integrated autocorrelation time of a series, in samples, at least 1.

    A series of vectors (samples x parts) is taken as one: its products are those of the vectors.

    Sokal's window: the sum stops at the first lag beyond five times itself.
    """
    series = np.asarray(values, np.float64)
    size = len(series)
    if size < 8 or not series.std() > 1e-12 * (1.0 + abs(float(series.mean()))):
        return 1.0
    series = (series - series.mean(axis=0)).reshape(size, -1)
    power = sum(np.abs(np.fft.rfft(part, 2 * size)) ** 2 for part in series.T)
    correlation = np.fft.irfft(power)[:size]
    total = 1.0
    for lag in range(1, size // 2):
        total += 2.0 * float(correlation[lag] / correlation[0])
        if lag >= 5.0 * total:
            break
    return float(np.clip(total, 1.0, size / 2.0))


class PageHinkley:
    """The test of Page (1954) and Hinkley (1971) for a mean that has moved and stays there.

    Standardised by the reference, cut at four spreads, so that single outliers cannot raise it.
    """

    def __init__(
        self, *, mean: float, spread: float, tau: float, up: bool = True, down: bool = True
    ) -> None:
        """Start.

        Args:
            mean: of the reference.
            spread: of the reference.
            tau: correlation time of the reference, samples.
            up: a rise counts.
            down: a fall counts.
        """
        self._mean, self._spread = mean, floor_of(mean, spread)
        self._signs = [sign for sign, wanted in ((1.0, up), (-1.0, down)) if wanted]
        # Half a spread is let pass. With that, chance exceeds x with exp(-2 * 0.5 * x / tau):
        # 20 tau is once in 5e8 samples.
        self.allowance, self.limit = 0.5, 20.0 * max(tau, 1.0)
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._sums = [0.0] * len(self._signs)
        self._began: list[int | None] = [None] * len(self._signs)

    @property
    def value(self) -> float:
        """The larger of the sums; above `limit`: the mean has moved."""
        return max(self._sums)

    @property
    def began_ns(self) -> int | None:
        """Stamp from which on the larger sum has risen."""
        return self._began[int(np.argmax(self._sums))]

    def add(self, values: NDArray, stamps_ns: NDArray) -> None:
        """Take samples in their order; NaN is left out."""
        valid = np.isfinite(values)
        scaled = np.clip((values[valid] - self._mean) / self._spread, -4.0, 4.0)
        if not len(scaled):
            return
        stamps = stamps_ns[valid]
        for index, sign in enumerate(self._signs):
            walk = self._sums[index] + np.cumsum(sign * scaled - self.allowance)
            lowest = np.minimum.accumulate(np.minimum(walk, 0.0))
            excess = walk - lowest
            at_zero = np.flatnonzero(excess <= 0.0)
            if len(at_zero):
                after = at_zero[-1] + 1
                self._began[index] = int(stamps[after]) if after < len(stamps) else None
            elif self._began[index] is None:
                self._began[index] = int(stamps[0])
            # Bounded: what lasts for hours must not take hours to be over.
            self._sums[index] = min(float(excess[-1]), 2.0 * self.limit)
