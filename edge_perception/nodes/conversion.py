"""Dataclasses to messages and back. Lossless, except that scores and seconds become float32."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from functools import cache
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Vector3
from numpy.typing import NDArray
from std_msgs.msg import Header

from edge_perception import msg
from edge_perception.cdr import CdrWriter
from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.histogram import LatencyStatistics
from edge_perception.core.types import (
    DetectedObject,
    Feature,
    FrameLatency,
    FusedView,
    Geometry,
    ImageObject,
    ModelVersion,
    SoundEvent,
    SourceStatus,
)
from edge_perception.nodes.message_types import message_type

FEATURE_TYPE = "edge_perception/msg/Feature"
# Bounds of what the network may make us hold.
_MOST_DIMENSIONS, _MOST_VALUES = 8, 2**28
_MOST = {"tensors": 64, "objects": 5000, "image_objects": 5000, "sound_events": 1000}
_DTYPES = ("float32", "float16", "float64", "int8", "uint8", "int32", "int64")
# The sensor's geometry travels as tensors of the feature, under these names.
_T_BASE_SENSOR, _INTRINSICS, _IMAGE_SIZE = "T_base_sensor", "intrinsics", "image_size"


def time_msg(stamp_ns: int) -> Time:
    """Return nanoseconds since the epoch as a message."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def stamp_ns(time: Time) -> int:
    """Return a message's time as nanoseconds since the epoch."""
    return time.sec * 1_000_000_000 + time.nanosec


def header_msg(stamp: int, frame_id: str) -> Header:
    """Return a header."""
    return Header(stamp=time_msg(stamp), frame_id=frame_id)


def tensor_msg(name: str, values: NDArray) -> msg.Tensor:
    """Return an array as a message; it is copied once."""
    record = _tensor_record(name, values)
    data = array("B")
    data.frombytes(record.data)
    return msg.Tensor(name=name, dtype=record.dtype, shape=record.shape, data=data)


def _tensor_record(name: str, values: NDArray) -> SimpleNamespace:
    """Return what a Tensor message has, its data a view of the array."""
    contiguous = np.ascontiguousarray(values)
    if contiguous.dtype.byteorder == ">":
        contiguous = contiguous.astype(contiguous.dtype.newbyteorder("<"))
    return SimpleNamespace(
        name=name,
        dtype=contiguous.dtype.name,
        shape=list(contiguous.shape),
        data=contiguous.view(np.uint8).reshape(-1).data if contiguous.size else b"",
    )


def tensor_from_msg(tensor: msg.Tensor) -> NDArray:
    """Return a read-only view of the message's data.

    Raises:
        InvalidFrameError: unknown dtype, or the data's length does not fit the shape.
    """
    if tensor.dtype not in _DTYPES:
        raise InvalidFrameError(
            f"tensor '{tensor.name}': expected a dtype of {', '.join(_DTYPES)}, "
            f"got '{tensor.dtype}'"
        )
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    shape = tuple(map(int, tensor.shape))
    expected = prod(shape) * dtype.itemsize
    if len(tensor.data) != expected:
        raise InvalidFrameError(
            f"tensor '{tensor.name}': shape {shape} {tensor.dtype} expects "
            f"{expected} bytes, got {len(tensor.data)}"
        )
    # A zero among the dimensions lets the others claim anything.
    if len(shape) > _MOST_DIMENSIONS or prod(max(n, 1) for n in shape) > _MOST_VALUES:
        raise InvalidFrameError(
            f"tensor '{tensor.name}': expected at most {_MOST_DIMENSIONS} dimensions and "
            f"{_MOST_VALUES} values, got {shape[:_MOST_DIMENSIONS]}"
        )
    return np.frombuffer(tensor.data, dtype=dtype).reshape(shape)


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
    """Return a frame's latency."""
    return FrameLatency(
        receive_s=latency.receive_s,
        queue_s=latency.queue_s,
        preprocess_s=latency.preprocess_s,
        inference_s=latency.inference_s,
        postprocess_s=latency.postprocess_s,
    )


def object_msg(item: DetectedObject) -> msg.DetectedObject:
    """Return a 3-D box as a message."""
    return msg.DetectedObject(
        class_name=item.class_name,
        score=float(item.score),
        center=Point(**_xyz(item.center_m)),
        size=Vector3(**_xyz(item.size_m)),
        yaw=float(item.yaw_rad),
        velocity=Vector3(**_xyz(item.velocity_mps)),
        sources=list(item.sources),
    )


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
    )


def _xyz(values: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip("xyz", map(float, values), strict=True))


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
    )


def sound_event_from_msg(event: msg.SoundEvent) -> SoundEvent:
    """Return a sound event."""
    return SoundEvent(
        class_name=event.class_name,
        score=event.score,
        window_start_ns=stamp_ns(event.window_start),
        window_end_ns=stamp_ns(event.window_end),
        bearing_rad=event.bearing,
        source=event.source,
    )


def feature_msg(feature: Feature) -> msg.Feature:
    """Return a feature as a message."""
    return msg.Feature(**_feature_fields(feature, tensor_msg))


def feature_bytes(feature: Feature) -> bytes:
    """Return a feature serialised: each tensor is copied once, into the buffer that is sent."""
    return _feature_writer()(SimpleNamespace(**_feature_fields(feature, _tensor_record)))


@cache
def _feature_writer() -> CdrWriter:
    return CdrWriter(FEATURE_TYPE, message_type)


def _feature_fields(feature: Feature, make_tensor: Callable[[str, NDArray], Any]) -> dict[str, Any]:
    geometry = feature.geometry
    tensors = [make_tensor(name, values) for name, values in feature.tensors.items()]
    tensors.append(make_tensor(_T_BASE_SENSOR, geometry.T_base_sensor.astype(np.float64)))
    if geometry.intrinsics is not None:
        tensors.append(make_tensor(_INTRINSICS, geometry.intrinsics.astype(np.float64)))
    if geometry.image_size is not None:
        tensors.append(make_tensor(_IMAGE_SIZE, np.array(geometry.image_size, np.int32)))
    return {
        "header": header_msg(feature.stamp_ns, feature.frame_id),
        "source": feature.source,
        "modality": feature.modality,
        "model": model_msg(feature.model),
        "sequence": feature.sequence,
        "dropped": feature.dropped,
        "refused": feature.refused,
        "valid": feature.valid,
        "invalid_reason": feature.invalid_reason,
        "warning": feature.warning,
        "tensors": tensors,
        "objects": [object_msg(item) for item in feature.objects],
        "image_objects": [image_object_msg(item) for item in feature.image_objects],
        "sound_events": [sound_event_msg(event) for event in feature.sound_events],
        "latency": latency_msg(feature.latency),
        "pose_source": geometry.pose_source,
    }


def feature_from_msg(message: msg.Feature) -> Feature:
    """Return a feature; its tensors are read-only views of the message.

    Raises:
        InvalidFrameError: a tensor's data does not fit its description.
    """
    for name, most in _MOST.items():
        count = len(getattr(message, name))
        if count > most:
            raise InvalidFrameError(f"feature: expected at most {most} {name}, got {count}")
    tensors = {tensor.name: tensor_from_msg(tensor) for tensor in message.tensors}
    image_size = tensors.pop(_IMAGE_SIZE, None)
    T_base_sensor = tensors.pop(_T_BASE_SENSOR, np.eye(4))
    intrinsics = tensors.pop(_INTRINSICS, None)
    _check_geometry(T_base_sensor, intrinsics, image_size)
    invalid_reason = "" if message.valid else message.invalid_reason or "no reason given"
    return Feature(
        stamp_ns=stamp_ns(message.header.stamp),
        frame_id=message.header.frame_id,
        source=message.source,
        modality=message.modality,
        model=model_from_msg(message.model),
        sequence=message.sequence,
        dropped=message.dropped,
        refused=message.refused,
        invalid_reason=invalid_reason,
        warning=message.warning,
        geometry=Geometry(
            T_base_sensor=T_base_sensor,
            pose_source=message.pose_source,
            intrinsics=intrinsics,
            image_size=None if image_size is None else (int(image_size[0]), int(image_size[1])),
        ),
        tensors=tensors,
        objects=tuple(object_from_msg(item) for item in message.objects),
        image_objects=tuple(image_object_from_msg(item) for item in message.image_objects),
        sound_events=tuple(sound_event_from_msg(event) for event in message.sound_events),
        latency=latency_from_msg(message.latency),
    )


def _check_geometry(
    T_base_sensor: NDArray, intrinsics: NDArray | None, image_size: NDArray | None
) -> None:
    for name, values, shape in (
        (_T_BASE_SENSOR, T_base_sensor, (4, 4)),
        (_INTRINSICS, intrinsics, (3, 3)),
        (_IMAGE_SIZE, image_size, (2,)),
    ):
        if values is not None and (values.shape != shape or not np.isfinite(values).all()):
            raise InvalidFrameError(
                # Not the values: an empty tensor may claim a shape of billions of rows.
                f"tensor '{name}': expected finite {shape}, got {values.shape}"
            )


def source_status_msg(status: SourceStatus) -> msg.SourceStatus:
    """Return a source's status as a message."""
    return msg.SourceStatus(
        source=status.source,
        modality=status.modality,
        state=int(status.state),
        reason=status.reason,
        warning=status.warning,
        contributed=status.contributed,
        stamp=time_msg(status.stamp_ns),
        age_s=status.age_s,
        silence_s=status.silence_s,
        rate_hz=status.rate_hz,
        received=status.received,
        dropped=status.dropped,
        refused=status.refused,
        late=status.late,
        clock_offset_s=status.clock_offset_s,
        latency=latency_msg(status.latency),
    )


def latency_statistics_msgs(
    statistics: Mapping[str, LatencyStatistics],
) -> list[msg.LatencyStatistics]:
    """Return the statistics of every stage as messages."""
    return [
        msg.LatencyStatistics(stage=stage, **vars(found)) for stage, found in statistics.items()
    ]


def fused_msg(view: FusedView) -> msg.FusedPerception:
    """Return a fused view as a message; what only the publisher knows is left at its default."""
    return msg.FusedPerception(
        header=header_msg(view.stamp_ns, view.frame_id),
        sequence=view.sequence,
        mode=int(view.mode),
        valid=view.valid,
        reason=view.reason,
        confidence=view.confidence,
        safe_stop=bool(view.safe_stop_reason),
        safe_stop_reason=view.safe_stop_reason,
        level=int(view.level),
        level_reason=view.level_reason,
        closed_by=int(view.closed_by),
        sources=[source_status_msg(status) for status in view.sources],
        objects=[object_msg(item) for item in view.objects],
        sound_events=[sound_event_msg(event) for event in view.sound_events],
        models=[model_msg(model) for model in view.models],
        wait_s=view.wait_s,
        fusion_s=view.fusion_s,
    )
