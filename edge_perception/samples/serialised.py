"""Sensor messages as CDR bytes, made without ROS: what converters write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.transforms import TF_TYPE
from edge_perception.fusion.odometry_watch import Pose
from edge_perception.recordings.decoding import MessageDecoder

NS = 1_000_000_000
_FLOAT32, _UINT16 = 7, 4  # sensor_msgs/PointField
IMAGE, INFO = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"
CLOUD, ODOMETRY = "sensor_msgs/msg/PointCloud2", "nav_msgs/msg/Odometry"


@cache
def codec() -> MessageDecoder:
    """Return what knows the standard types."""
    return MessageDecoder()


def compressed_image(data: bytes, *, stamp_ns: int, frame_id: str, format_: str) -> bytes:
    """Return an image file as a CompressedImage, its bytes as they are."""
    pixels = np.frombuffer(data, np.uint8)
    return _bytes(IMAGE, header=header(stamp_ns, frame_id), format=format_, data=pixels)


def camera_info(
    K: NDArray[np.float64],
    size: tuple[int, int],
    *,
    stamp_ns: int,
    frame_id: str,
    distortion: Sequence[float] = (),
) -> bytes:
    """Return the calibration of a camera; empty distortion: the image is rectified."""
    P = np.hstack([K, np.zeros((3, 1))])
    roi = _made(
        "sensor_msgs/msg/RegionOfInterest",
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False,
    )  # fmt: skip
    return _bytes(
        INFO,
        header=header(stamp_ns, frame_id),
        width=size[0],
        height=size[1],
        distortion_model="plumb_bob",
        d=np.array(distortion or [0.0] * 5, np.float64),
        k=K.reshape(-1).astype(np.float64),
        r=np.eye(3).reshape(-1),
        p=P.reshape(-1).astype(np.float64),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def point_cloud(columns: Mapping[str, NDArray], *, stamp_ns: int, frame_id: str) -> bytes:
    """Return a PointCloud2 of columns, (N,) each: float32, and uint16 where they are that."""
    kinds = {
        name: "<u2" if values.dtype == np.uint16 else "<f4" for name, values in columns.items()
    }
    points = np.empty(len(next(iter(columns.values()))), np.dtype(list(kinds.items())))
    for name, values in columns.items():
        points[name] = values
    assert points.dtype.fields is not None
    fields = [
        _made(
            "sensor_msgs/msg/PointField",
            name=name,
            offset=points.dtype.fields[name][1],
            datatype=_UINT16 if kind == "<u2" else _FLOAT32,
            count=1,
        )
        for name, kind in kinds.items()
    ]
    return _bytes(
        CLOUD,
        header=header(stamp_ns, frame_id),
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        point_step=points.dtype.itemsize,
        row_step=points.dtype.itemsize * len(points),
        data=np.frombuffer(points.tobytes(), np.uint8),
        is_dense=True,
    )


def transforms(poses: Mapping[str, Sequence[float]], *, parent: str, stamp_ns: int) -> bytes:
    """Return a TFMessage with the pose (x, y, z, qx, qy, qz, qw) of each child in one parent."""
    made = [
        _made(
            "geometry_msgs/msg/TransformStamped",
            header=header(stamp_ns, parent),
            child_frame_id=child,
            transform=_made(
                "geometry_msgs/msg/Transform",
                translation=_vector("Vector3", pose[:3]),
                rotation=_turn(pose[3:]),
            ),
        )
        for child, pose in poses.items()
    ]
    return _bytes(TF_TYPE, transforms=made)


def odometry(pose: Pose, *, base_frame: str) -> bytes:
    """Return the pose of the base as an Odometry without a twist."""
    zeros = np.zeros(36)
    twist = _made(
        "geometry_msgs/msg/Twist",
        linear=_vector("Vector3", (0.0, 0.0, 0.0)),
        angular=_vector("Vector3", (0.0, 0.0, 0.0)),
    )
    place = _made(
        "geometry_msgs/msg/Pose",
        position=_vector("Point", pose.position_m),
        orientation=_turn(pose.orientation),
    )
    return _bytes(
        ODOMETRY,
        header=header(pose.stamp_ns, "odom"),
        child_frame_id=base_frame,
        pose=_made("geometry_msgs/msg/PoseWithCovariance", pose=place, covariance=zeros),
        twist=_made("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=zeros),
    )


def header(stamp_ns: int, frame_id: str) -> Any:
    """Return a std_msgs/Header."""
    sec, nanosec = divmod(stamp_ns, NS)
    stamp = _made("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return _made("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def _vector(kind: str, values: Sequence[float]) -> Any:
    x, y, z = map(float, values)
    return _made(f"geometry_msgs/msg/{kind}", x=x, y=y, z=z)


def _turn(values: Sequence[float]) -> Any:
    x, y, z, w = map(float, values)
    return _made("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)


def _made(type_name: str, **fields: Any) -> Any:
    return codec().message(type_name, **fields)


def _bytes(type_name: str, **fields: Any) -> bytes:
    return codec().encode(_made(type_name, **fields), type_name)
