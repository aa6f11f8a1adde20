"""The board as text, written without the objects of Prometheus' library.

The library makes an object and a sorted dictionary of every sample and escapes every label anew at
every scrape: seven eighths of what a scrape costs. Here the front of each line is kept. A test
holds the text against the library's, byte by byte.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from edge_perception.core.extras import extra
from edge_perception.observe.metrics.board import Distribution, Labels, Series
from edge_perception.observe.metrics.metric import PREFIX, Kind, Metric
from edge_perception.observe.metrics.state import PipelineState

with extra("observe"):
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.openmetrics import exposition as openmetrics
    from prometheus_client.utils import floatToGoString

_open_text: Callable[[CollectorRegistry], bytes] = openmetrics.generate_latest
_go_number: Callable[[float], str] = floatToGoString
PROCESS = f"{PREFIX}_metrics"  # namespace of what this process costs
_PLAIN_DIGITS = 7  # of a number's text; the library shortens longer ones to exponents
_Pairs = Iterable[tuple[str, str]]


class PipelineText:
    """Writes the metrics of a pipeline and of this process. From any thread."""

    def __init__(self, state: PipelineState, steady_ns: Callable[[], int]) -> None:
        self._state, self._steady_ns = state, steady_ns
        self._process = CollectorRegistry()
        ProcessCollector(namespace=PROCESS, registry=self._process)
        # Fronts of lines by labels, by metric; as bounded as the labels are.
        self._fronts: dict[str, dict[Labels, tuple[str, ...]]] = {}
        self._headers: dict[tuple[str, bool], str] = {}

    def write(self, *, is_open: bool) -> bytes:
        """Return the text, as OpenMetrics or as Prometheus has it."""
        parts: list[str] = []
        board = self._state.board
        with board.lock:
            self._state.refresh(self._steady_ns())
            for series in board.series:
                if series.numbers or series.distributions or series.attributes:
                    parts.append(self._header(series.metric, is_open))
                    self._add(parts, series)
        text = "".join(parts).encode()
        if is_open:
            return text + _open_text(self._process)
        return text + generate_latest(self._process)

    def _header(self, metric: Metric, is_open: bool) -> str:
        key = (metric.name, is_open)
        if key not in self._headers:
            self._headers[key] = _header(metric, is_open)
        return self._headers[key]

    def _add(self, parts: list[str], series: Series) -> None:
        metric = series.metric
        fronts = self._fronts.setdefault(metric.name, {})
        if metric.kind is Kind.HISTOGRAM:
            for key, found in series.distributions.items():
                if key not in fronts:
                    fronts[key] = _histogram_fronts(metric, key)
                values = _histogram_values(found)
                parts.extend(map(str.__add__, fronts[key], map(_line_end, values)))
        elif metric.kind is Kind.INFO:
            names = (metric.labels[0].name, *metric.attributes)
            for key, attributes in series.attributes.items():
                pairs = zip(names, (key[0], *attributes), strict=True)
                parts.append(f"{_front(metric.series, pairs)}1.0\n")
        else:
            for key, value in series.numbers.items():
                if key not in fronts:
                    pairs = zip(metric.label_names, key, strict=True)
                    fronts[key] = (_front(metric.series, pairs),)
                parts.append(fronts[key][0] + _line_end(value))


def _header(metric: Metric, is_open: bool) -> str:
    text = metric.text.replace("\\", r"\\").replace("\n", r"\n")
    if not is_open:
        kind = Kind.GAUGE if metric.kind is Kind.INFO else metric.kind
        return f"# HELP {metric.series} {text}\n# TYPE {metric.series} {kind.value}\n"
    text = text.replace('"', r"\"")
    unit = f"# UNIT {metric.family} {metric.unit}\n" if metric.unit else ""
    return f"# HELP {metric.family} {text}\n# TYPE {metric.family} {metric.kind.value}\n{unit}"


def _histogram_fronts(metric: Metric, key: Labels) -> tuple[str, ...]:
    pairs = tuple(zip(metric.label_names, key, strict=True))
    bounds = [*(f"{bound:g}" for bound in metric.buckets), "+Inf"]
    buckets = [_front(f"{metric.series}_bucket", (*pairs, ("le", bound))) for bound in bounds]
    return (*buckets, *(_front(f"{metric.series}_{end}", pairs) for end in ("count", "sum")))


def _histogram_values(found: Distribution) -> Sequence[float]:
    counts = list(itertools.accumulate(found.counts))
    return (*counts, counts[-1], found.sum)


def _front(name: str, pairs: _Pairs) -> str:
    labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(pairs))
    return f"{name}{{{labels}}} " if labels else f"{name} "


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _line_end(value: float) -> str:
    text = repr(float(value))
    if len(text) > _PLAIN_DIGITS or not text[-1].isdigit():  # long, or no finite number
        text = _go_number(value)
    return f"{text}\n"
