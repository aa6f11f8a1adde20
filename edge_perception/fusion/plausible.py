"""What a feature may hold: numbers that can be true, names that can be read, tensors that fit.

A second look after the encoder's, at whatever the network brings: no value of any field may end a
cycle, and none that cannot be true may become an object.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from edge_perception.core.bounds import MOST_NAME, clipped
from edge_perception.core.finite import all_finite
from edge_perception.core.types import (
    DetectedObject,
    Feature,
    Geometry,
    ImageObject,
    LateEvidence,
    SoundEvent,
)
from edge_perception.fusion.decision import OBSTACLE_POINTS

MOST_REACH_M = 1e5  # from the base to an object, a point or a sensor
MOST_SIZE_M = 1e4
MOST_SPEED_MPS = 1e4
MOST_PX = 1e6
MOST_ANGLE_RAD = 1e3  # some models do not wrap headings
MOST_SCORE = 1.0 + 1e-3  # rounding of half precision
MOST_STAMP_NS = 2**31 * 1_000_000_000  # a message holds 32 bits of seconds
_SHOWN = 40  # characters of a foreign name in a text
_UPRIGHT = np.eye(3)
_ROTATION = 1e-2  # how far rows of a rotation may be from unit length and right angles


class Decided(Protocol):
    """What holds decisions: a feature, late evidence, or an adapter's answer."""

    @property
    def objects(self) -> tuple[DetectedObject, ...]:
        """Boxes in the base frame."""
        ...

    @property
    def image_objects(self) -> tuple[ImageObject, ...]:
        """Boxes in the image."""
        ...

    @property
    def sound_events(self) -> tuple[SoundEvent, ...]:
        """Sounds."""
        ...


def implausible(feature: Feature) -> str:
    """Name the first part of a feature that cannot be true; empty: none."""
    return next(_findings(feature), "")


def implausible_decisions(decided: Decided) -> str:
    """Name the first part of what a model decided that cannot be true; empty: none."""
    return next(_findings_of_decisions(decided), "")


def _findings_of_decisions(decided: Decided) -> Iterator[str]:
    yield from _too_long(_names_of_decisions(decided))
    yield from _decisions(decided)


def implausible_evidence(late: LateEvidence) -> str:
    """Name the first part of late evidence that cannot be true; empty: none."""
    return next(_findings_of_evidence(late), "")


def _findings_of_evidence(late: LateEvidence) -> Iterator[str]:
    named = {"tier": (late.tier,), "modality": (late.modality,), **_decision_names(late)}
    yield from _too_long(named)
    yield from _decisions(late)
    yield from _windows(late)
    if not all(0.0 <= bits <= 1.0 for bits in (late.doubt_bits, late.answer_doubt_bits)):
        yield f"doubts of {late.doubt_bits:g} and {late.answer_doubt_bits:g} bit, expected 0 to 1"
    if late.round_trip_s < 0.0 or math.isinf(late.round_trip_s):  # NaN: not known
        yield f"a round trip of {late.round_trip_s:g} s"


def _findings(feature: Feature) -> Iterator[str]:
    yield from _names(feature)
    for name, tensor in feature.tensors.items():
        if not all_finite(tensor):
            yield f"tensor '{clipped(name, _SHOWN)}' has NaN or Inf"
    points = feature.tensors.get(OBSTACLE_POINTS)
    if points is not None:
        yield from _points(points)
    yield from _geometry(feature.geometry)
    yield from _decisions(feature)
    yield from _windows(feature)


def _decisions(decided: Decided) -> Iterator[str]:
    sources = max((len(box.sources) for box in decided.objects), default=0)
    if sources > MOST_NAME:
        yield f"objects: expected at most {MOST_NAME} sources each, got {sources}"
    for box in decided.objects:
        if not _is_usual(box):
            yield from _box(box)
    for item in decided.image_objects:
        yield from _image_box(item)
    for event in decided.sound_events:
        yield from _sound(event)


def _names(feature: Feature) -> Iterator[str]:
    named = {
        "frame_id": (feature.frame_id,),
        "pose_source": (feature.geometry.pose_source,),
        "tensors": feature.tensors,
        **_decision_names(feature),
    }
    yield from _too_long(named)


def _decision_names(decided: Feature | LateEvidence) -> dict[str, Iterable[str]]:
    model = decided.model
    return {
        "model": (model.role, model.name, model.version, model.sha256, model.feature_space),
        **_names_of_decisions(decided),
    }


def _names_of_decisions(decided: Decided) -> dict[str, Iterable[str]]:
    return {
        "class_name": (
            item.class_name
            for items in (decided.objects, decided.image_objects, decided.sound_events)
            for item in items
        ),
        "sources": (name for box in decided.objects for name in box.sources),
        "sound source": (event.source for event in decided.sound_events),
    }


def _too_long(named: Mapping[str, Iterable[str]]) -> Iterator[str]:
    for what, names in named.items():
        most = max(map(len, names), default=0)
        if most > MOST_NAME:
            yield f"{what}: expected at most {MOST_NAME} characters, got {most}"


def _points(points: np.ndarray) -> Iterator[str]:
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind != "f":
        yield f"tensor '{OBSTACLE_POINTS}' expects (K, 3) floats, got {points.shape} {points.dtype}"
    elif points.size and float(np.abs(points).max()) > MOST_REACH_M:
        yield f"tensor '{OBSTACLE_POINTS}' has points further away than {MOST_REACH_M:g} m"


def _geometry(geometry: Geometry) -> Iterator[str]:
    T, K, size = geometry.T_base_sensor, geometry.intrinsics, geometry.image_size
    # A rotation stays as it is, and nothing overflows.
    R = np.minimum(np.maximum(T[:3, :3], -2.0), 2.0)
    turned = R @ R.T
    is_pose = np.abs(turned - _UPRIGHT).max() <= _ROTATION and T[3].tolist() == [0, 0, 0, 1]
    if not is_pose or not np.abs(T[:3, 3]).max() <= MOST_REACH_M:
        yield "T_base_sensor is not the pose of a sensor"
    if K is not None and not (min(K[0, 0], K[1, 1]) > 0 and np.abs(K).max() <= MOST_PX):
        yield f"intrinsics are not those of a camera: fx {K[0, 0]:g}, fy {K[1, 1]:g}"
    if size is not None and not all(0 < side <= MOST_PX for side in size):
        yield f"image_size expects 1 to {MOST_PX:g} px, got {size}"


def _within(values: Iterable[float], most: float) -> bool:
    return all(-most <= value <= most for value in values)  # False for NaN


def _unsure(score: float) -> bool:
    return not 0.0 <= score <= MOST_SCORE


def _nan_or(kind: str, name: str, text: str, values: Sequence[float]) -> str:
    """Tell a broken number from one that is out of bounds."""
    if all(map(math.isfinite, values)):
        return f"{kind} '{clipped(name, _SHOWN)}' {text}"
    return f"{kind} '{clipped(name, _SHOWN)}' has NaN or Inf"


def _is_usual(box: DetectedObject) -> bool:
    """Whether nothing can be said against a box; quickly, as nearly all of them are so."""
    (x, y, z), (length, width, height), (vx, vy, vz) = box.center_m, box.size_m, box.velocity_mps
    reach, size, speed = MOST_REACH_M, MOST_SIZE_M, MOST_SPEED_MPS
    return (
        0.0 <= box.score <= MOST_SCORE
        and (-reach <= x <= reach and -reach <= y <= reach and -reach <= z <= reach)
        and (0.0 <= length <= size and 0.0 <= width <= size and 0.0 <= height <= size)
        and -MOST_ANGLE_RAD <= box.yaw_rad <= MOST_ANGLE_RAD
        and not (abs(vx) > speed or abs(vy) > speed or abs(vz) > speed)  # NaN: not known
    )


def _box(box: DetectedObject) -> Iterator[str]:
    values = (box.score, *box.center_m, *box.size_m, box.yaw_rad)
    text = ""
    if _unsure(box.score):
        text = f"has a score of {box.score:g}, expected 0 to 1"
    elif not _within(box.center_m, MOST_REACH_M):
        text = f"is further away than {MOST_REACH_M:g} m"
    elif not all(0.0 <= side <= MOST_SIZE_M for side in box.size_m):
        text = f"has a size of {box.size_m} m, expected 0 to {MOST_SIZE_M:g}"
    elif not _within((box.yaw_rad,), MOST_ANGLE_RAD):
        text = f"has a heading of {box.yaw_rad:g} rad"
    elif any(abs(speed) > MOST_SPEED_MPS for speed in box.velocity_mps):  # NaN: not known
        text = f"is faster than {MOST_SPEED_MPS:g} m/s"
    if text:
        yield _nan_or("object", box.class_name, text, values)


def _image_box(item: ImageObject) -> Iterator[str]:
    sides = (item.x_min, item.y_min, item.x_max, item.y_max)
    if _unsure(item.score):
        text = f"has a score of {item.score:g}, expected 0 to 1"
        yield _nan_or("image object", item.class_name, text, (item.score,))
    elif not _within(sides, MOST_PX):
        yield _nan_or("image object", item.class_name, f"lies beyond {MOST_PX:g} px", sides)


def _sound(event: SoundEvent) -> Iterator[str]:
    if _unsure(event.score):
        text = f"has a score of {event.score:g}, expected 0 to 1"
        yield _nan_or("sound", event.class_name, text, (event.score,))
    elif abs(event.bearing_rad) > MOST_ANGLE_RAD:  # NaN: not known
        text = f"has a bearing of {event.bearing_rad:g} rad"
        yield f"sound '{clipped(event.class_name, _SHOWN)}' {text}"
    elif event.window_start_ns > event.window_end_ns:
        yield _endless(event)


def _windows(decided: Decided) -> Iterator[str]:
    """Name sounds outside of time; an adapter takes theirs from the samples that it was given."""
    for event in decided.sound_events:
        if event.window_start_ns < 0 or event.window_end_ns >= MOST_STAMP_NS:
            yield _endless(event)


def _endless(event: SoundEvent) -> str:
    return f"sound '{clipped(event.class_name, _SHOWN)}' has a window that does not end"
