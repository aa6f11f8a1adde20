"""A calibration that is plausible and wrong: two sensors see the same objects in other directions.

A camera that was turned since it was calibrated still gives sharp images and sure boxes; only the
LiDAR knows better. The median over many pairs is far more exact than any single box.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from edge_perception.core.types import DetectedObject, Feature
from edge_perception.fusion.classes import COMMON_NAMES, group_of

REFERENCE = "lidar"  # the modality whose directions are believed
KEPT, NEEDED = 200, 40  # pairs of each source
MIN_SCORE = 0.3
MIN_RANGE_M = 6.0  # nearer, a box of some metres has no direction
RANGE_FACTOR = 1.3  # ranges of one object may differ by so much: a camera is no good at them
MAX_ANGLE_RAD = 0.2  # further apart is another object, and more is no wrong calibration but none


class CalibrationCheck:
    """Collects by how much each source's objects lie beside those of the LiDAR. One thread adds."""

    def __init__(self) -> None:
        self._angles: dict[str, deque[float]] = {}

    def add(self, features: Mapping[str, Feature]) -> None:
        """Look at the features of one cycle; their own boxes, not the fused ones."""
        known = [
            _seen(box)
            for feature in features.values()
            if feature.modality == REFERENCE
            for box in feature.objects
            if _counts(box)
        ]
        if not known:
            return
        for name, feature in features.items():
            if feature.modality == REFERENCE or feature.geometry.intrinsics is None:
                continue
            kept = self._angles.setdefault(name, deque(maxlen=KEPT))
            for box in filter(_counts, feature.objects):
                angle = _beside(box, known)
                if angle is not None:
                    kept.append(angle)

    def offsets_deg(self) -> dict[str, tuple[float, int]]:
        """Return the median angle (positive: to the left) and its pairs, of sources with enough."""
        return {
            name: (math.degrees(statistics.median(kept)), len(kept))
            for name, angles in list(self._angles.items())
            if len(kept := list(angles)) >= NEEDED
        }


def _counts(box: DetectedObject) -> bool:
    return box.score >= MIN_SCORE and math.hypot(*box.center_m[:2]) >= MIN_RANGE_M


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """Where a box is, as pairs are judged by it."""

    group: str
    range_m: float
    bearing_rad: float
    center_m: tuple[float, ...]


def _seen(box: DetectedObject) -> _Seen:
    x, y = box.center_m[:2]
    return _Seen(
        group=group_of(COMMON_NAMES.get(box.class_name, box.class_name)),
        range_m=math.hypot(x, y),
        bearing_rad=math.atan2(y, x),
        center_m=(x, y),
    )


def _beside(box: DetectedObject, known: list[_Seen]) -> float | None:
    """Return the angle from the nearest known object of the group that may be the same one."""
    own = _seen(box)
    best, best_m = None, math.inf
    for other in known:
        if other.group != own.group:
            continue
        share = own.range_m / other.range_m
        turned = own.bearing_rad - other.bearing_rad
        angle = math.atan2(math.sin(turned), math.cos(turned))
        distance_m = math.dist(own.center_m, other.center_m)
        near = 1.0 / RANGE_FACTOR < share < RANGE_FACTOR and abs(angle) < MAX_ANGLE_RAD
        if near and distance_m < best_m:
            best, best_m = angle, distance_m
    return best
