"""Sliding windows of histograms in constant memory: a ring of parts, the oldest leaves as one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_perception.monitoring.drift.reference import histogram


class HistogramWindow:
    """Counts, sum and number of the values of the last `parts` parts."""

    def __init__(self, edges: NDArray, parts: int) -> None:
        self._edges = np.asarray(edges, np.float64)
        self._counts = np.zeros((parts, len(self._edges) + 1), np.int64)
        self._sums = np.zeros(parts)
        self._part = 0

    def add(self, values: NDArray) -> None:
        """Count values in the newest part; NaN and Inf are left out."""
        values = np.asarray(values, np.float64)
        values = values[np.isfinite(values)]
        self._counts[self._part] += histogram(values, self._edges)
        self._sums[self._part] += values.sum()

    def turn(self) -> None:
        """Begin a new part; the oldest one leaves."""
        self._part = (self._part + 1) % len(self._sums)
        self._counts[self._part] = 0
        self._sums[self._part] = 0.0

    def clear(self) -> None:
        """Forget everything."""
        self._counts[:] = 0
        self._sums[:] = 0.0

    @property
    def counts(self) -> NDArray[np.int64]:
        """Counts of each bin."""
        return np.asarray(self._counts.sum(axis=0))

    @property
    def mean(self) -> float:
        """Mean of the values; NaN without any."""
        count = int(self._counts.sum())
        return float(self._sums.sum()) / count if count else float("nan")

    def median(self) -> tuple[str, float]:
        """Return the median, interpolated in its bin; NaN without values.

        The outer bins are open: there it is `below` or `above` the number, an empty text else.
        """
        counts = self.counts
        total = int(counts.sum())
        if not total:
            return "", float("nan")
        cumulative = np.cumsum(counts)
        at = int(np.searchsorted(cumulative, total / 2.0))
        if at == 0:
            return "below ", float(self._edges[0])
        if at == len(self._edges):
            return "above ", float(self._edges[-1])
        low, high = self._edges[at - 1], self._edges[at]
        share = (total / 2.0 - (cumulative[at] - counts[at])) / max(int(counts[at]), 1)
        return "", float(low + (high - low) * share)


class ClassWindow:
    """Counts of known classes, and of all others together."""

    def __init__(self, names: tuple[str, ...], parts: int) -> None:
        self._index = {name: at for at, name in enumerate(names)}
        self._counts = np.zeros((parts, len(names) + 1), np.int64)
        self._part = 0

    def add(self, names: tuple[str, ...]) -> None:
        """Count objects."""
        for name in names:
            self._counts[self._part, self._index.get(name, -1)] += 1

    def turn(self) -> None:
        """Begin a new part; the oldest one leaves."""
        self._part = (self._part + 1) % len(self._counts)
        self._counts[self._part] = 0

    def clear(self) -> None:
        """Forget everything."""
        self._counts[:] = 0

    @property
    def counts(self) -> NDArray[np.int64]:
        """Counts by class, the others last."""
        return np.asarray(self._counts.sum(axis=0))
