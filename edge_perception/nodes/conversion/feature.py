"""Features and Feature messages."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception import msg
from edge_perception.cdr import CdrWriter
from edge_perception.core.bounds import MOST_DECISIONS, clipped, saturated
from edge_perception.core.conditions import NOT_KNOWN, as_array, from_array
from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import Feature, Geometry
from edge_perception.nodes.conversion.parts import (
    checked_stamp_ns,
    header_msg,
    image_object_from_msg,
    image_object_msg,
    latency_from_msg,
    latency_msg,
    model_from_msg,
    model_msg,
    object_from_msg,
    object_msgs,
    sound_event_from_msg,
    sound_event_msg,
    time_msg,
)
from edge_perception.nodes.conversion.tensors import tensor_from_msg, tensor_msg, tensor_record
from edge_perception.nodes.topics.message_types import message_type

FEATURE_TYPE = "edge_perception/msg/Feature"
_MOST = {"tensors": 64, **MOST_DECISIONS}
# The sensor's geometry travels as tensors of the feature, under these names.
_T_BASE_SENSOR, _INTRINSICS, _IMAGE_SIZE = "T_base_sensor", "intrinsics", "image_size"
_CONDITIONS = "conditions"  # of the source, likewise: `core.conditions.as_array`


def feature_msg(feature: Feature) -> msg.Feature:
    """Return a feature as a message."""
    return msg.Feature(**_feature_fields(feature, tensor_msg))


def feature_bytes(feature: Feature) -> bytes:
    """Return a feature serialised: each tensor is copied once, into the buffer that is sent."""
    return _feature_writer()(SimpleNamespace(**_feature_fields(feature, tensor_record)))


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
    if feature.conditions.known:
        tensors.append(make_tensor(_CONDITIONS, as_array(feature.conditions)))
    return {
        "header": header_msg(feature.stamp_ns, feature.frame_id),
        "source": feature.source,
        "modality": feature.modality,
        "model": model_msg(feature.model),
        "sequence": feature.sequence,
        "dropped": saturated(feature.dropped),
        "refused": saturated(feature.refused),
        "valid": feature.valid,
        "invalid_reason": clipped(feature.invalid_reason),
        "warning": clipped(feature.warning),
        "tensors": tensors,
        "objects": object_msgs(feature.objects),
        "image_objects": [image_object_msg(item) for item in feature.image_objects],
        "sound_events": [sound_event_msg(event) for event in feature.sound_events],
        "latency": latency_msg(feature.latency),
        "pose_source": geometry.pose_source,
        "inferred_stamp": time_msg(feature.inferred_stamp_ns),
        "skipped": saturated(feature.skipped),
        "given_up": clipped(feature.given_up),
    }


def feature_from_msg(message: msg.Feature) -> Feature:
    """Return a feature; its tensors are read-only views of the message.

    Raises:
        InvalidFrameError: a tensor's data does not fit its description, a stamp is broken, or
            a frame reuses what comes after
            it, or there is more in it than any encoder gives.
    """
    for name, most in _MOST.items():
        count = len(getattr(message, name))
        if count > most:
            raise InvalidFrameError(f"feature: expected at most {most} {name}, got {count}")
    tensors = {tensor.name: tensor_from_msg(tensor) for tensor in message.tensors}
    image_size = tensors.pop(_IMAGE_SIZE, None)
    T_base_sensor = tensors.pop(_T_BASE_SENSOR, np.eye(4))
    intrinsics = tensors.pop(_INTRINSICS, None)
    conditions = tensors.pop(_CONDITIONS, None)
    _check_geometry(T_base_sensor, intrinsics, image_size)
    invalid_reason = "" if message.valid else message.invalid_reason or "no reason given"
    stamp = checked_stamp_ns(message.header.stamp, "header.stamp")
    return Feature(
        stamp_ns=stamp,
        frame_id=message.header.frame_id,
        source=message.source,
        modality=message.modality,
        model=model_from_msg(message.model),
        sequence=message.sequence,
        dropped=message.dropped,
        refused=message.refused,
        invalid_reason=clipped(invalid_reason),
        warning=clipped(message.warning),
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
        inferred_stamp_ns=_inferred_stamp_ns(message, stamp),
        skipped=message.skipped,
        given_up=clipped(message.given_up),
        conditions=NOT_KNOWN if conditions is None else from_array(conditions),
    )


def _inferred_stamp_ns(message: msg.Feature, stamp: int) -> int:
    inferred = checked_stamp_ns(message.inferred_stamp, "inferred_stamp")
    if inferred and not 0 < inferred < stamp:
        raise InvalidFrameError(
            f"inferred_stamp: expected 0 or one before the stamp of the frame, {stamp / 1e9:.3f} "
            f"s, got {inferred / 1e9:.3f} s"
        )
    return inferred


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
