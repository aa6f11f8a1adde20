"""How a metric is described, after the naming conventions of Prometheus.

https://prometheus.io/docs/practices/naming/: base units, the unit at the end of the name, `_total`
at the end of a counter.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from edge_perception.core.errors import ConfigurationError

PREFIX = "edge_perception"
UNITS = (
    "", "seconds", "hertz", "ratio", "meters_per_second", "bytes", "celsius", "watts", "joules",
)  # fmt: skip


class Kind(Enum):
    """What may be done with a metric's values."""

    COUNTER = "counter"  # only grows, and begins at 0 with the process that counts
    GAUGE = "gauge"
    HISTOGRAM = "histogram"  # fixed buckets
    INFO = "info"  # always 1; its labels are the information


@dataclass(frozen=True, kw_only=True)
class Label:
    """A label with a bounded number of values."""

    name: str
    values: tuple[str, ...] = ()  # all there are; empty: those that come, up to `most`
    most: int = 0

    def __post_init__(self) -> None:
        """Refuse a label without a bound."""
        if bool(self.values) == bool(self.most):
            raise ConfigurationError(f"label {self.name}: expected values or their greatest number")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One entry of the list."""

    name: str  # without the prefix and without `_total`
    kind: Kind
    text: str  # help
    source: str  # which field of which message it is made of
    unit: str = ""
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()  # upper bounds, of a histogram
    attributes: tuple[str, ...] = ()  # labels of an info that its first label decides

    def __post_init__(self) -> None:
        """Refuse a name that the conventions do not allow."""
        if self.unit not in UNITS:
            raise ConfigurationError(f"{self.name}: expected a unit of {UNITS}, got '{self.unit}'")
        if self.unit and not self.name.endswith(f"_{self.unit}"):
            raise ConfigurationError(f"{self.name}: expected its unit {self.unit} at the end")
        if (self.kind is Kind.HISTOGRAM) != bool(self.buckets):
            raise ConfigurationError(f"{self.name}: a histogram, and nothing else, has buckets")

    @property
    def family(self) -> str:
        """Full name, without the ending of a counter or an info."""
        return f"{PREFIX}_{self.name}"

    @property
    def series(self) -> str:
        """Name in queries; of a histogram `_bucket`, `_sum` and `_count` follow."""
        ending = {Kind.COUNTER: "_total", Kind.INFO: "_info"}.get(self.kind, "")
        return self.family + ending

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of all its labels."""
        return (*(label.name for label in self.labels), *self.attributes)
