"""The board through Prometheus' own library: what the text of ours is held against."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

from edge_perception.observe.metrics.board import Distribution, Series
from edge_perception.observe.metrics.exposition import PROCESS
from edge_perception.observe.metrics.metric import Kind
from edge_perception.observe.metrics.state import PipelineState


class PipelineCollector:
    """What a registry asks at every scrape."""

    def __init__(self, state: PipelineState, steady_ns: Callable[[], int]) -> None:
        self._state, self._steady_ns = state, steady_ns

    def collect(self) -> Iterable[Any]:
        """Return all families that have a value."""
        with self._state.board.lock:
            self._state.refresh(self._steady_ns())
            return [
                _family(series)
                for series in self._state.board.series
                if series.numbers or series.distributions or series.attributes
            ]


def registry_of(state: PipelineState, steady_ns: Callable[[], int]) -> CollectorRegistry:
    """Return a registry of the pipeline's metrics, and of what this process costs."""
    registry = CollectorRegistry()
    registry.register(PipelineCollector(state, steady_ns))
    ProcessCollector(namespace=PROCESS, registry=registry)
    return registry


def _family(series: Series) -> Any:
    metric = series.metric
    name, text, labels = metric.family, metric.text, metric.label_names
    family: Any
    if metric.kind is Kind.HISTOGRAM:
        family = HistogramMetricFamily(name, text, labels=labels, unit=metric.unit)
        for key, found in series.distributions.items():
            family.add_metric(key, *_cumulative(metric.buckets, found))
        return family
    if metric.kind is Kind.INFO:
        family = InfoMetricFamily(name, text, labels=labels[:1])
        for key, values in series.attributes.items():
            family.add_metric(key, dict(zip(metric.attributes, values, strict=True)))
        return family
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(name, text, labels=labels, unit=metric.unit)
    for key, value in series.numbers.items():
        family.add_metric(key, value)
    return family


def _cumulative(
    bounds: tuple[float, ...], found: Distribution
) -> tuple[list[tuple[str, float]], float]:
    names = [*(f"{bound:g}" for bound in bounds), "+Inf"]
    counts = itertools.accumulate(found.counts)
    return [(name, float(count)) for name, count in zip(names, counts, strict=True)], found.sum
