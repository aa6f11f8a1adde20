"""Sensor messages of a scene, serialised as drivers would send them."""

from __future__ import annotations

from array import array
from functools import cache
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2, PointField

from edge_perception.fusion.odometry_watch import Pose
from edge_perception.msg import AudioChunk
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.samples.scene import SceneSweep

CLOUD_DTYPE = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("time", "<f4")]
)


def image_bytes(jpeg: bytes, source: str = "camera") -> bytes:
    """Return a camera image as a CompressedImage; the JPEG is kept as it is."""
    message = CompressedImage(format="jpeg", data=byte_array(jpeg))
    message.header.frame_id = source
    return _serialised(message, "sensor_msgs/msg/CompressedImage")


def camera_info_bytes(K: NDArray, image_size: tuple[int, int], source: str = "camera") -> bytes:
    """Return the calibration of an image without distortion.

    Args:
        K: intrinsics, (3, 3), px.
        image_size: width, height.
        source: its frame has that name.
    """
    message = CameraInfo(width=image_size[0], height=image_size[1], distortion_model="plumb_bob")
    message.header.frame_id = source
    message.d = [0.0] * 5
    message.k = K.reshape(-1).tolist()
    message.r = np.eye(3).reshape(-1).tolist()
    message.p = np.hstack([K, np.zeros((3, 1))]).reshape(-1).tolist()
    return _serialised(message, "sensor_msgs/msg/CameraInfo")


def cloud_bytes(frame: SceneSweep, source: str = "lidar") -> bytes:
    """Return the sweep as a PointCloud2.

    Fields: x, y, z (m), intensity (0 to 255), time (s, against the stamp), all float32.
    """
    points = np.empty(len(frame.xyz_m), CLOUD_DTYPE)
    points["x"], points["y"], points["z"] = frame.xyz_m.T
    points["intensity"], points["time"] = frame.intensity, frame.time_offset_s
    message = PointCloud2(
        height=1,
        width=len(points),
        point_step=CLOUD_DTYPE.itemsize,
        row_step=CLOUD_DTYPE.itemsize * len(points),
        is_dense=True,
        data=byte_array(points.tobytes()),
    )
    message.header.frame_id = source
    message.fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(CLOUD_DTYPE.names or ())
    ]
    return _serialised(message, "sensor_msgs/msg/PointCloud2")


def chunk_bytes(samples: NDArray[np.int16], *, sample_rate_hz: int, first_index: int) -> bytes:
    """Return samples, (M, C), as an AudioChunk."""
    message = AudioChunk(
        sample_rate=sample_rate_hz,
        channels=samples.shape[1],
        format=AudioChunk.FORMAT_S16LE,
        first_sample_index=first_index,
        data=byte_array(samples.astype("<i2").tobytes()),
    )
    message.header.frame_id = "microphone"
    return _serialised(message, "edge_perception/msg/AudioChunk")


def odometry_bytes(pose: Pose, *, base_frame: str) -> bytes:
    """Return the pose of the base as an Odometry; no twist."""
    message = Odometry(child_frame_id=base_frame)
    message.header.frame_id = "odom"
    place, turn = message.pose.pose.position, message.pose.pose.orientation
    place.x, place.y, place.z = pose.position_m
    turn.x, turn.y, turn.z, turn.w = pose.orientation
    return _serialised(message, "nav_msgs/msg/Odometry")


def byte_array(data: bytes) -> array:
    """Return bytes as the array that a ``uint8[]`` field takes without a copy a byte."""
    values = array("B")
    values.frombytes(data)
    return values


@cache
def _codec() -> MessageDecoder:
    return MessageDecoder()


def _serialised(message: Any, type_name: str) -> bytes:
    """Return the CDR bytes with zeros between the fields: rmw leaves there what was in memory."""
    data = bytes(serialize_message(message))
    return _codec().encode(_codec().decode(data, type_name), type_name)
