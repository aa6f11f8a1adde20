"""The values of the metrics, in bounded memory."""

from __future__ import annotations

import bisect
import itertools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_perception.observe.metrics.metric import Kind, Metric

Labels = tuple[str, ...]
_MOST_CHARACTERS = 64  # of a label's value
_MOST_ADMISSIONS = 4096
REFUSED = "metrics_refused_values"


@dataclass(kw_only=True)
class Distribution:
    """A histogram's counts."""

    counts: list[int]  # by bucket, the last one takes what is above all bounds
    sum: float = 0.0


@dataclass(kw_only=True)
class Series:
    """All values of one metric, by the values of its labels."""

    metric: Metric
    numbers: dict[Labels, float] = field(default_factory=dict)
    distributions: dict[Labels, Distribution] = field(default_factory=dict)
    attributes: dict[Labels, Labels] = field(default_factory=dict)  # of an info


class Board:
    """Takes values; a name that is not in the list is a KeyError. From any thread under `lock`."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.lock = threading.RLock()
        self._series = {metric.name: Series(metric=metric) for metric in metrics}
        self._admissions: dict[tuple[str, Labels], Labels] = {}  # those that were looked at
        self._known: dict[str, set[str]] = {}  # values by label that may be any
        for metric in metrics:
            self._begin(metric)

    def _begin(self, metric: Metric) -> None:
        """Let counters begin at 0: the first event is an increase only then."""
        if metric.kind is Kind.COUNTER and all(label.values for label in metric.labels):
            for labels in itertools.product(*(label.values for label in metric.labels)):
                self._series[metric.name].numbers[labels] = 0.0

    @property
    def series(self) -> tuple[Series, ...]:
        """Everything, in the order of the list."""
        return tuple(self._series.values())

    def total(self, name: str) -> float:
        """Return the sum of a metric's values."""
        return sum(self._series[name].numbers.values())

    def add(self, name: str, *labels: str, by: float = 1.0) -> None:
        """Count."""
        series = self._series[name]
        if (key := self._admitted(series.metric, labels)) is not None:
            series.numbers[key] = series.numbers.get(key, 0.0) + by

    def put(self, name: str, *labels: str, value: float) -> None:
        """Set a gauge, or a counter that another process counts; NaN: not known, it goes."""
        series = self._series[name]
        if (key := self._admitted(series.metric, labels)) is None:
            return
        if math.isnan(value):
            series.numbers.pop(key, None)
        else:
            series.numbers[key] = float(value)

    def choose(self, name: str, *labels: str, chosen: str) -> None:
        """Set the gauges of a metric whose last label says what is the case now."""
        for value in self._series[name].metric.labels[-1].values:
            self.put(name, *labels, value, value=value == chosen)

    def observe(self, name: str, *labels: str, value: float) -> None:
        """Add to a histogram; NaN: not measured."""
        series = self._series[name]
        if math.isnan(value) or (key := self._admitted(series.metric, labels)) is None:
            return
        found = series.distributions.get(key)
        if found is None:
            found = Distribution(counts=[0] * (len(series.metric.buckets) + 1))
            series.distributions[key] = found
        # A negative duration comes from two clocks; a sum that falls would look like a restart.
        value = max(value, 0.0)
        found.counts[bisect.bisect_left(series.metric.buckets, value)] += 1
        if math.isfinite(value):
            found.sum += value

    def inform(self, name: str, key: str, *attributes: str) -> None:
        """Set an info: one set of attributes a key."""
        series = self._series[name]
        if (labels := self._admitted(series.metric, (key,))) is not None:
            series.attributes[labels] = tuple(map(_clipped, attributes))

    def forget(self, *names: str) -> None:
        """Drop all values of metrics."""
        for name in names:
            series = self._series[name]
            series.numbers.clear()
            series.attributes.clear()

    def _admitted(self, metric: Metric, labels: Labels) -> Labels | None:
        """Return the labels as they are shown; None where there are too many."""
        shown = self._admissions.get((metric.name, labels))
        if shown is None and (shown := self._admit(metric, labels)) is not None:
            if len(self._admissions) >= _MOST_ADMISSIONS:  # long texts that are shown as one
                self._admissions.clear()
            self._admissions[metric.name, labels] = shown
        return shown

    def _admit(self, metric: Metric, labels: Labels) -> Labels | None:
        if len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name}: expected {metric.label_names}, got {labels}")
        shown = tuple(map(_clipped, labels))
        for label, value in zip(metric.labels, shown, strict=True):
            if label.values:
                if value not in label.values:
                    raise ValueError(f"{metric.name}: {label.name} has no '{value}'")
                continue
            known = self._known.setdefault(label.name, set())
            if value in known:
                continue
            if len(known) >= label.most:
                self.add(REFUSED, label.name)
                return None
            known.add(value)
        return shown


def _clipped(value: str) -> str:
    return value if len(value) <= _MOST_CHARACTERS else value[: _MOST_CHARACTERS - 1] + "…"
