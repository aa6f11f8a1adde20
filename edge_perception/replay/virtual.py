"""Virtual time of a replay: its clock, and how long each stage takes on it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.core.types import FrameLatency, Instant

NS = 1_000_000_000
FUSION = "fusion"
_FIXED, _MEASURED = "fixed:", "measured:"


class StageClock:
    """For the stages inside a frame: the node's hand follows the replay, the steady one is real.

    So the real time of preprocessing, inference and postprocessing is measured on the way; what
    the fused view carries is virtual and set by the scheduler.
    """

    def __init__(self) -> None:
        self.node_ns = 0

    def now(self) -> Instant:
        """Return the present moment."""
        return Instant(node_ns=self.node_ns, steady_ns=time.perf_counter_ns())


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """How long one frame of a source takes, seconds."""

    preprocess_s: float = parameter(0.0, unit="s", low=0.0, high=60.0)
    inference_s: float = parameter(0.0, unit="s", low=0.0, high=60.0)
    postprocess_s: float = parameter(0.0, unit="s", low=0.0, high=60.0)

    @property
    def total_ns(self) -> int:
        """All three, ns."""
        return round((self.preprocess_s + self.inference_s + self.postprocess_s) * NS)

    def onto(self, latency: FrameLatency) -> FrameLatency:
        """Return a latency with these stages."""
        return replace(
            latency,
            preprocess_s=self.preprocess_s,
            inference_s=self.inference_s,
            postprocess_s=self.postprocess_s,
        )


@dataclass(frozen=True, kw_only=True)
class LatencyModel:
    """Declared latency of every source and of fusion; drawn in turn, so it is repeatable."""

    name: str = "zero"
    times: Mapping[str, Sequence[StageTimes]] = field(default_factory=dict)  # by source or fusion
    default: StageTimes = StageTimes()

    def of(self, name: str, index: int) -> StageTimes:
        """Return the times of the frame number `index` of a source, or of fusion."""
        times = self.times.get(name)
        return times[index % len(times)] if times else self.default


@dataclass(frozen=True, kw_only=True)
class MeasuredLatency:
    """A device's latencies as `validate` writes them."""

    schema: str
    device: str
    stages: Mapping[str, tuple[StageTimes, ...]]


LATENCY_SCHEMA = "edge_perception/latency/1"


def parse_latency(text: str) -> LatencyModel:
    """Read `zero`, `fixed:30ms`, `fixed:camera=45ms,fusion=5ms` or `measured:latency.json`.

    Raises:
        ConfigurationError: the text has another form, or the file is no measurement.
    """
    if text == "zero":
        return LatencyModel()
    if text.startswith(_FIXED):
        return _fixed(text)
    if text.startswith(_MEASURED):
        path = Path(text[len(_MEASURED) :])
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path}: expected measured latencies: {error}") from error
        measured = decode(MeasuredLatency, data, path.name)
        if measured.schema != LATENCY_SCHEMA:
            raise ConfigurationError(
                f"{path}: schema: expected {LATENCY_SCHEMA}, got '{measured.schema}'"
            )
        return LatencyModel(name=f"measured on {measured.device}", times=measured.stages)
    raise ConfigurationError(
        "latency: expected zero, fixed:30ms, fixed:camera=45ms,fusion=5ms or measured:FILE, "
        f"got '{text}'"
    )


def _fixed(text: str) -> LatencyModel:
    times: dict[str, tuple[StageTimes, ...]] = {}
    default = StageTimes()
    for part in text[len(_FIXED) :].split(","):
        name, _, value = part.rpartition("=")
        stage = decode(StageTimes, {"inference_s": parse_seconds(value, "latency")}, "latency")
        if name:
            times[name.strip()] = (stage,)
        else:
            default = stage
    return LatencyModel(name=text, times=times, default=default)


def parse_seconds(text: str, what: str) -> float:
    """Read `120ms`, `0.12s` or `0.12`.

    Raises:
        ConfigurationError: no number, or another unit.
    """
    stripped = text.strip()
    scale = 1.0
    if stripped.endswith("ms"):
        stripped, scale = stripped[:-2], 1e-3
    elif stripped.endswith("s"):
        stripped = stripped[:-1]
    try:
        seconds = float(stripped) * scale
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ConfigurationError(f"{what}: expected a time as 120ms or 0.12s, got '{text}'")
    return seconds
