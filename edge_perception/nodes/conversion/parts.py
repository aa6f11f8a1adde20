"""What several messages hold: stamps, models, boxes, sounds, latencies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Vector3
from numpy.typing import NDArray
from std_msgs.msg import Header

from edge_perception import msg
from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import (
    UNKNOWN,
    DetectedObject,
    FrameLatency,
    ImageObject,
    ModelVersion,
    SoundEvent,
)

_NS = 1_000_000_000
_EARLIEST_NS, _LATEST_NS = -(2**31) * _NS, 2**31 * _NS - 1  # of 32 bits of seconds
# Ten numbers of the upper triangle of four rows, and where each of the 16 finds its own among them.
_UPPER = np.array([0, 1, 2, 3, 5, 6, 7, 10, 11, 15])
_OF_UPPER = np.array([0, 1, 2, 3, 1, 4, 5, 6, 2, 5, 7, 8, 3, 6, 8, 9])
_UNTRACKED = (math.nan,) * 10
_LARGEST = float(np.finfo(np.float32).max)
_LONGEST_S = 1e6  # eleven days: more is no latency


def time_msg(stamp_ns: int) -> Time:
    """Return nanoseconds since the epoch as a message; beyond its range, the end of it."""
    held_ns = min(max(stamp_ns, _EARLIEST_NS), _LATEST_NS)
    return Time(sec=held_ns // _NS, nanosec=held_ns % _NS)


def stamp_ns(time: Time) -> int:
    """Return a message's time as nanoseconds since the epoch."""
    return time.sec * _NS + time.nanosec


def checked_stamp_ns(time: Time, what: str) -> int:
    """Return a message's time as nanoseconds since the epoch.

    Raises:
        InvalidFrameError: its nanoseconds are a second or more.
    """
    if time.nanosec >= _NS:
        raise InvalidFrameError(f"{what}: expected nanosec below 1000000000, got {time.nanosec}")
    return stamp_ns(time)


def header_msg(stamp: int, frame_id: str) -> Header:
    """Return a header."""
    return Header(stamp=time_msg(stamp), frame_id=frame_id)


def model_msg(model: ModelVersion) -> msg.ModelVersion:
    """Return a model's identity as a message."""
    return msg.ModelVersion(
        role=model.role,
        name=model.name,
        version=model.version,
        sha256=model.sha256,
        feature_space=model.feature_space,
    )


def model_from_msg(model: msg.ModelVersion) -> ModelVersion:
    """Return a model's identity."""
    return ModelVersion(
        role=model.role,
        name=model.name,
        version=model.version,
        sha256=model.sha256,
        feature_space=model.feature_space,
    )


def latency_msg(latency: FrameLatency) -> msg.Latency:
    """Return a frame's latency as a message."""
    return msg.Latency(
        receive_s=latency.receive_s,
        queue_s=latency.queue_s,
        preprocess_s=latency.preprocess_s,
        inference_s=latency.inference_s,
        postprocess_s=latency.postprocess_s,
    )


def latency_from_msg(latency: msg.Latency) -> FrameLatency:
    """Return a frame's latency; what cannot be a duration is not known."""
    return FrameLatency(
        receive_s=_duration_s(latency.receive_s),
        queue_s=_duration_s(latency.queue_s),
        preprocess_s=_duration_s(latency.preprocess_s),
        inference_s=_duration_s(latency.inference_s),
        postprocess_s=_duration_s(latency.postprocess_s),
    )


def _duration_s(seconds: float) -> float:
    return seconds if math.fabs(seconds) <= _LONGEST_S else UNKNOWN


def object_msg(item: DetectedObject) -> msg.DetectedObject:
    """Return a 3-D box as a message."""
    return object_msgs([item])[0]


def object_msgs(items: Sequence[DetectedObject]) -> list[msg.DetectedObject]:
    """Return 3-D boxes as messages."""
    return [_object_msg(item, full) for item, full in zip(items, _full(items), strict=True)]


def _object_msg(item: DetectedObject, covariance: NDArray[np.float32]) -> msg.DetectedObject:
    message = msg.DetectedObject(
        class_name=item.class_name,
        score=float(item.score),
        yaw=float(item.yaw_rad),
        sources=list(item.sources),
        track_id=item.track_id,
        track_age=float(item.age_s),
        covariance=covariance,
        emergency=bool(item.emergency_evidence),
        emergency_probability=float(item.emergency),
        emergency_evidence=item.emergency_evidence,
    )
    # The message makes its own ones in any case: filled in, none is made twice.
    _fill(message.center, item.center_m)
    _fill(message.size, item.size_m)
    _fill(message.velocity, item.velocity_mps)
    return message


def object_from_msg(item: msg.DetectedObject) -> DetectedObject:
    """Return a 3-D box."""
    return DetectedObject(
        class_name=item.class_name,
        score=item.score,
        center_m=(item.center.x, item.center.y, item.center.z),
        size_m=(item.size.x, item.size.y, item.size.z),
        yaw_rad=item.yaw,
        velocity_mps=(item.velocity.x, item.velocity.y, item.velocity.z),
        sources=tuple(item.sources),
        track_id=item.track_id,
        age_s=item.track_age,
        covariance=tuple(np.asarray(item.covariance)[_UPPER].tolist()) if item.track_id else (),
        emergency=item.emergency_probability,
        emergency_evidence=item.emergency_evidence,
    )


def _full(items: Sequence[DetectedObject]) -> NDArray[np.float32]:
    """Return the 16 numbers of each symmetric covariance of four rows, (N, 16).

    What is too large for the message is the largest number that it holds.
    """
    upper = np.array([item.covariance or _UNTRACKED for item in items]).reshape(-1, 10)
    held = np.clip(upper, -_LARGEST, _LARGEST).astype(np.float32)
    return held.take(_OF_UPPER, axis=1)


def _fill(message: Point | Vector3, values: tuple[float, float, float]) -> None:
    message.x, message.y, message.z = map(float, values)


def image_object_msg(item: ImageObject) -> msg.ImageObject:
    """Return a 2-D box as a message."""
    return msg.ImageObject(
        class_name=item.class_name,
        score=float(item.score),
        x_min=float(item.x_min),
        y_min=float(item.y_min),
        x_max=float(item.x_max),
        y_max=float(item.y_max),
    )


def image_object_from_msg(item: msg.ImageObject) -> ImageObject:
    """Return a 2-D box."""
    return ImageObject(
        class_name=item.class_name,
        score=item.score,
        x_min=item.x_min,
        y_min=item.y_min,
        x_max=item.x_max,
        y_max=item.y_max,
    )


def sound_event_msg(event: SoundEvent) -> msg.SoundEvent:
    """Return a sound event as a message."""
    return msg.SoundEvent(
        class_name=event.class_name,
        score=float(event.score),
        window_start=time_msg(event.window_start_ns),
        window_end=time_msg(event.window_end_ns),
        bearing=float(event.bearing_rad),
        source=event.source,
        bearing_std=float(event.bearing_std_rad),
        track_id=event.track_id,
        candidate_track_ids=[name for name, _ in event.candidates],
        candidate_probabilities=[float(share) for _, share in event.candidates],
        origin=event.origin,
        other_bearings=[float(value) for value in event.other_bearings_rad],
    )


def sound_event_from_msg(event: msg.SoundEvent) -> SoundEvent:
    """Return a sound event.

    Raises:
        InvalidFrameError: its window has a broken stamp, or candidates lack a probability.
    """
    names, shares = event.candidate_track_ids, event.candidate_probabilities
    if len(names) != len(shares):
        raise InvalidFrameError(
            f"sound event: expected a probability for each of {len(names)} candidates, "
            f"got {len(shares)}"
        )
    return SoundEvent(
        class_name=event.class_name,
        score=event.score,
        window_start_ns=checked_stamp_ns(event.window_start, "sound window"),
        window_end_ns=checked_stamp_ns(event.window_end, "sound window"),
        bearing_rad=event.bearing,
        source=event.source,
        bearing_std_rad=event.bearing_std,
        track_id=event.track_id,
        candidates=tuple(zip(map(int, names), map(float, shares), strict=True)),
        origin=event.origin,
        other_bearings_rad=tuple(map(float, event.other_bearings)),
    )
