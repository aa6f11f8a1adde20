"""Reference statistics of one source with one model: made from frames, kept as JSON.

A reference holds a section a condition, because a night is no drifted day. `day` and `night`
sections are made from frames of which the condition is known; `all` holds everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.monitoring.drift.statistics import correlation_time, floor_of

ALL = "all"  # section that holds whatever the condition
SUFFIX = ".drift.json"
BINS = 20  # of equal shares of the reference
LEAST_FRAMES = 100  # fewer are no reference
MAX_BYTES = 4_000_000
# What hardly varies in the reference may vary a little: shares come in steps, one drop in a sweep
# is no rain, and a white wall in the sun no other camera.
_FLOORS = (("_share", 0.002), ("dull_cells", 0.002), ("saturated", 0.01))
_KEPT_VALUES = 200_000  # of one quantity


@dataclass(frozen=True, kw_only=True)
class QuantityReference:
    """What is known of one number (a score, a distance, a brightness) in good times."""

    edges: tuple[float, ...]  # inner edges of the bins, ascending; the outer bins are open
    counts: tuple[int, ...]  # one more than edges
    mean: float
    spread: float = parameter(low=0.0)  # standard deviation
    median: float
    tau: float = parameter(low=1.0)  # integrated autocorrelation time, samples

    def __post_init__(self) -> None:
        """Refuse what is no histogram, and numbers that are none."""
        edges, counts = np.array(self.edges, float), np.array(self.counts)
        if len(counts) != len(edges) + 1 or (counts < 0).any() or not counts.sum():
            raise ConfigurationError(
                f"counts: expected {len(edges) + 1} of at least 0, got {self.counts}"
            )
        if not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
            raise ConfigurationError(f"edges: expected ascending numbers, got {self.edges}")
        if not np.isfinite([self.mean, self.spread, self.median, self.tau]).all():
            raise ConfigurationError("mean, spread, median, tau: expected finite numbers")

    @property
    def samples(self) -> int:
        """Values behind it."""
        return sum(self.counts)


@dataclass(frozen=True, kw_only=True)
class Section:
    """Reference of one condition."""

    frames: int = parameter(low=1)
    quantities: Mapping[str, QuantityReference] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)  # objects of each class
    classes_tau: float = parameter(1.0, low=1.0)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Reference of one source with one model."""

    schema_version: int = parameter(low=1, high=1)
    source: str
    modality: str
    model: str
    model_sha256: str  # of the model file; a manifest may hold the reference itself
    made_from: tuple[str, ...] = ()  # names of recordings
    sections: Mapping[str, Section]

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True), encoding="utf-8")


def read_reference(path: Path) -> Reference:
    """Read a reference.

    Raises:
        ConfigurationError: it is missing, too large or broken; the file and field are named.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: expected a drift reference: {error}") from error
    return parse_reference(data, str(path))


def parse_reference(data: bytes, where: str) -> Reference:
    """Return the reference of a file.

    Raises:
        ConfigurationError: it is too large or broken; `where` and the field are named.
    """
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{where}: expected at most {MAX_BYTES} bytes")
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: expected a drift reference: {error}") from error
    try:
        return decode(Reference, parsed, "reference")
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


class SectionBuilder:
    """Collects frames of one condition."""

    def __init__(self) -> None:
        self.frames = 0
        self._values: dict[str, list[NDArray]] = {}
        self._classes: dict[str, int] = {}
        self._with_objects: list[float] = []

    def add(
        self, values: Mapping[str, Sequence[float] | NDArray], classes: Iterable[str] = ()
    ) -> None:
        """Take what one frame gave."""
        self.frames += 1
        for name, items in values.items():
            array = np.asarray(items, np.float64)
            self._values.setdefault(name, []).append(array[np.isfinite(array)])
        found = list(classes)
        self._with_objects.append(float(len(found)))
        for name in found:
            self._classes[name] = self._classes.get(name, 0) + 1

    def section(self) -> Section:
        """Return the reference of what was collected.

        Raises:
            ConfigurationError: too few frames.
        """
        if self.frames < LEAST_FRAMES:
            raise ConfigurationError(
                f"expected at least {LEAST_FRAMES} frames for a reference, got {self.frames}"
            )
        made = {name: _quantity(name, frames) for name, frames in sorted(self._values.items())}
        many = correlation_time(np.array(self._with_objects)) if self._with_objects else 1.0
        each = max(float(np.mean(self._with_objects)), 1.0) if self._with_objects else 1.0
        return Section(
            frames=self.frames,
            quantities={name: item for name, item in made.items() if item is not None},
            classes=dict(sorted(self._classes.items())),
            classes_tau=max(many * each, 1.0),
        )


def _quantity(name: str, frames: list[NDArray]) -> QuantityReference | None:
    """Return the reference of a quantity; None: too few frames had it."""
    filled = [items for items in frames if len(items)]
    if len(filled) < LEAST_FRAMES // 2:
        return None
    values = np.concatenate(filled)
    if len(values) > _KEPT_VALUES:
        values = values[:: -(-len(values) // _KEPT_VALUES)]
    mean, spread = float(values.mean()), float(values.std())
    least = max((least for end, least in _FLOORS if name.endswith(end)), default=0.0)
    floor = max(floor_of(mean, 0.0), least)
    edges = _apart(np.unique(np.quantile(values, np.arange(1, BINS) / BINS)), floor)
    if len(edges) < 2:  # practically constant: is it this value, or above or below it?
        edges = np.array([edges[0] - 2.0 * floor, edges[0] + 2.0 * floor])
    counts = histogram(values, edges)
    # The values of one frame resemble each other too: a frame counts as one sample of its mean,
    # unless they scatter within the frame as much as between frames.
    means = np.array([items.mean() for items in filled])
    each = len(values) / len(filled)
    within = float(means.var()) / max(float(values.var()), 1e-18)
    tau = max(correlation_time(means) * each * min(within, 1.0), _histogram_tau(filled, edges))
    return QuantityReference(
        edges=tuple(map(float, edges)),
        counts=tuple(map(int, counts)),
        mean=mean,
        spread=max(spread, floor),
        median=float(np.median(values)),
        tau=tau,
    )


def _histogram_tau(frames: list[NDArray], edges: NDArray) -> float:
    """Return how many values of a histogram count as one, at least 1.

    Three objects that stay in view give their three lengths again and again: the mean of a frame
    hardly moves, and still the drive has seen three lengths and not three hundred. So it is how
    the counts of all bins vary together, against counts of independent values.
    """
    counts = np.array([histogram(items, edges) for items in frames], np.float64)
    each = counts.sum(axis=1, keepdims=True)
    share = counts.sum(axis=0) / each.sum()
    independent = float(each.sum()) * (1.0 - float((share**2).sum()))
    if independent <= 0.0:
        return 1.0
    off = counts - each * share
    return max(1.0, float((off**2).sum()) / independent * correlation_time(off))


def _apart(edges: NDArray, gap: float) -> NDArray:
    """Leave out edges nearer than `gap` to the one before."""
    kept = [edges[0]]
    for edge in edges[1:]:
        if edge - kept[-1] >= gap:
            kept.append(edge)
    return np.array(kept)


def histogram(values: NDArray, edges: NDArray) -> NDArray[np.int64]:
    """Count values in the bins between edges; the outer bins are open. NaN is left out."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    found = np.searchsorted(edges, values, side="right")
    return np.bincount(found, minlength=len(edges) + 1)
