"""One source, watched: conditions from its frames, drift from what its model makes of them."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.conditions import NOT_KNOWN, Conditions
from edge_perception.core.parameter import parameter
from edge_perception.core.types import DetectedObject, Feature, Geometry, ImageObject, SoundEvent
from edge_perception.monitoring.condition_state import ConditionState
from edge_perception.monitoring.drift.detector import (
    DRIFT_NONE,
    DRIFT_NOT_KNOWN,
    NO_REFERENCE,
    DriftDetector,
    QuantityFigure,
)
from edge_perception.monitoring.drift.reference import ALL, Reference, Section
from edge_perception.monitoring.drift.statistics import floor_of
from edge_perception.monitoring.scores import rising

INPUT = "input."  # prefix of the quantities of frames
_SAMPLE = 4096  # values of a tensor looked at
_MOST_TENSORS = 8


class FrameStatistics(Protocol):
    """Follows the frames of one source; each modality has its own. One thread uses it."""

    def of(self, frame: Any, geometry: Geometry) -> Mapping[str, float]:
        """Return cheap statistics of a frame by name; NaN: not known."""
        ...

    def scores(self, seen: Mapping[str, float]) -> Mapping[str, float]:
        """Return what they say of each condition that the modality tells, 0 to 1 or NaN."""
        ...


@dataclass(frozen=True, kw_only=True)
class MonitorOptions:
    """What is watched beside the model."""

    conditions: bool = parameter(True, "tell light, weather, lens and place from the frames")
    period_s: float = parameter(
        0.2, "between frames that are looked at", unit="s", low=0.0, high=60.0
    )
    drift_reference: str = parameter(
        "",
        "reference statistics of `edge-perception drift reference`; empty: drift.json of the "
        "bundle, and where there is none drift is not known",
    )


class SourceMonitor:
    """Watches one source; `see` is called by its inference thread."""

    def __init__(
        self,
        source: str,
        statistics: FrameStatistics | None,
        options: MonitorOptions,
        *,
        reference: Reference | None = None,
        why_none: str = NO_REFERENCE,
    ) -> None:
        """Start.

        Args:
            source: its name.
            statistics: of its frames; None: the modality has none.
            options: what is watched.
            reference: of this source with the model that serves; None: drift is not known.
            why_none: why not.
        """
        self._source, self._statistics, self._options = source, statistics, options
        self._reference = reference
        self._lock = threading.Lock()
        self._state = ConditionState()
        self._detector = DriftDetector(source, reference, why_none=why_none)
        self._last_ns = 0
        self._seen: Mapping[str, float] = {}

    @property
    def conditions(self) -> Conditions:
        """As this source sees them."""
        return self._state.now if self._options.conditions else NOT_KNOWN

    def go_on_from(self, before: SourceMonitor) -> None:
        """Take over the conditions of the monitor of another model: the weather stays."""
        self._state, self._last_ns = before._state, before._last_ns

    def wants(self, stamp_ns: int) -> bool:
        """Whether the frame of this stamp is to be looked at."""
        return is_due(stamp_ns, self._last_ns, self._options.period_s)

    def see(self, frame: Any, geometry: Geometry, feature: Feature, *, own: bool = True) -> None:
        """Look at a frame and at what became of it.

        Args:
            frame: of the modality.
            geometry: where the sensor sits.
            feature: of the frame; one that is not valid tells of conditions only.
            own: whether the model of the reference made it, from this frame; else the same.
        """
        stamp_ns = feature.stamp_ns
        self._last_ns = stamp_ns
        seen = self._statistics.of(frame, geometry) if self._statistics is not None else {}
        with self._lock:
            if self._statistics is not None and self._options.conditions:
                scores = dict(self._statistics.scores(seen))
                scores["unfamiliar"] = self._unfamiliar(seen)
                self._state.step(scores, stamp_ns)
            if not feature.valid or not own:
                return
            self._detector.set_condition(self._state.now.light)
            self._detector.add(stamp_ns, quantities(seen, feature), classes(feature))

    def _unfamiliar(self, seen: Mapping[str, float]) -> float:
        """Return the score of frames unlike any of the reference; NaN: without one not known.

        The root mean square of how far each statistic is from the reference, in its spreads: near
        1 for the frames of the reference itself.
        """
        section = self._section()
        if section is None:
            return float("nan")
        squares = []
        for name, value in seen.items():
            known = section.quantities.get(INPUT + name)
            if known is not None and math.isfinite(value):
                z = (value - known.mean) / floor_of(known.mean, known.spread)
                squares.append(min(z * z, 400.0))
        if len(squares) < 3:
            return float("nan")
        return rising(math.sqrt(sum(squares) / len(squares)), 4.0, 2.0)

    def _section(self) -> Section | None:
        if self._reference is None:
            return None
        sections = self._reference.sections
        return sections.get(self._state.now.light) or sections.get(ALL)

    def describe(self) -> dict[str, str]:
        """Return what diagnostics say: values by name."""
        with self._lock:
            unknown = self._detector.unknown
            said = {
                "conditions": self.conditions.text,
                "drift": f"{DRIFT_NOT_KNOWN}: {unknown}" if unknown else DRIFT_NONE,
            }
            if self._detector.alerts:
                said["drift"] = ", ".join(alert.quantity for alert in self._detector.alerts)
            if not unknown and self._detector.not_judged:
                said["drift_not_judged"] = ", ".join(self._detector.not_judged)
            for name, look in sorted(self._detector.looks.items()):
                if math.isfinite(look.psi):
                    said[f"drift.{name}"] = f"psi {look.psi:.2f} ks {look.ks:.2f} z {look.z:.1f}"
            return said

    def figures(self) -> tuple[QuantityFigure, ...]:
        """Return what the reference and the window hold of each quantity."""
        with self._lock:
            return self._detector.figures

    def history(self) -> tuple[str, ...]:
        """Return the drift that was said since the start, over or not: the newest, a line each."""
        with self._lock:
            return (
                *(alert.text for alert in self._detector.book.history),
                *self._held_back(),
            )

    def findings(self) -> tuple[str, ...]:
        """Return the drift that is to be said, a line each."""
        with self._lock:
            return (*(alert.text for alert in self._detector.alerts), *self._held_back())

    def _held_back(self) -> tuple[str, ...]:
        held_back = self._detector.book.held_back
        return (f"{self._source}: {held_back} more have drifted",) if held_back else ()


def is_due(stamp_ns: int, last_ns: int, period_s: float) -> bool:
    """Whether a frame is to be looked at: a period has passed, or stamps went back."""
    passed_s = (stamp_ns - last_ns) / 1e9
    return passed_s >= period_s or passed_s < 0.0


def quantities(seen: Mapping[str, float], feature: Feature) -> dict[str, list[float]]:
    """Return what drift is looked for in: numbers of the frame, its features and decisions."""
    values = {INPUT + name: [value] for name, value in seen.items()}
    scored = _decisions(feature)
    values["score"] = [item.score for item in scored]
    values["objects"] = [float(len(feature.objects) + len(feature.image_objects))]
    if scored:
        values["confidence"] = [max(item.score for item in scored)]
    values["distance_m"] = [math.hypot(*item.center_m[:2]) for item in feature.objects]
    values["length_m"] = [item.size_m[0] for item in feature.objects]
    values["height_px"] = [item.y_max - item.y_min for item in feature.image_objects]
    for name, tensor in list(feature.tensors.items())[:_MOST_TENSORS]:
        sample = _sample(tensor)
        if sample is not None:
            values[f"feature.{name}.mean"] = [float(sample.mean())]
            values[f"feature.{name}.spread"] = [float(sample.std())]
    latency = feature.latency
    total_s = latency.preprocess_s + latency.inference_s + latency.postprocess_s
    if total_s > 0.0:
        values["latency"] = [math.log(total_s)]  # its tail is long: shares count, not seconds
    return values


def classes(feature: Feature) -> list[str]:
    """Return the class of each decision of a feature."""
    return [item.class_name for item in _decisions(feature)]


def _decisions(feature: Feature) -> list[DetectedObject | ImageObject | SoundEvent]:
    return [*feature.objects, *feature.image_objects, *feature.sound_events]


def _sample(tensor: NDArray) -> NDArray[np.float32] | None:
    if not np.issubdtype(tensor.dtype, np.floating) or tensor.size < 16:
        return None
    flat = tensor.reshape(-1)
    return np.asarray(flat[:: max(1, flat.size // _SAMPLE)], np.float32)
