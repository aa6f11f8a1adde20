"""Odometry messages to poses; reads attributes, so that nodes and replay share it."""

from __future__ import annotations

import math
from typing import Any

from edge_perception.core.bounds import clipped
from edge_perception.core.errors import InvalidFrameError
from edge_perception.fusion.odometry_watch import Pose

ODOMETRY_TYPE = "nav_msgs/msg/Odometry"
_NS = 1_000_000_000
_MOST_M = 1e8  # twice around the earth; beyond it doubles lose the millimetres
_UNIT = 0.01  # how far the length of an orientation may be from one
_ROLLED = 0.5  # x of an orientation that rolls by 60 degrees, as no vehicle does
_LEVEL, _TURNED = 0.15, 0.05  # y and z beside it, and w: a frame with z down has w near zero


def pose_from_msg(message: Any, base_frame: str) -> Pose:
    """Return the pose of a nav_msgs/Odometry.

    Args:
        message: as received.
        base_frame: frame whose motion is wanted.

    Raises:
        InvalidFrameError: it is of another frame, has no stamp, is not finite, or its orientation
            is in another order.
    """
    stamp = message.header.stamp
    stamp_ns = int(stamp.sec) * _NS + int(stamp.nanosec)
    if stamp_ns <= 0:
        kind = "negative" if stamp_ns else "zero"
        raise InvalidFrameError(f"odometry: expected an acquisition stamp, got a {kind} stamp")
    if stamp.nanosec >= _NS:
        raise InvalidFrameError(
            f"odometry: expected nanosec below 1000000000, got {int(stamp.nanosec)}"
        )
    child = message.child_frame_id
    if child.lstrip("/") != base_frame.lstrip("/"):  # of ROS 1; tf2 knows no such name
        raise InvalidFrameError(
            f"odometry: child_frame_id: expected '{base_frame}', got '{clipped(child, 80)}'"
        )
    point, turn = message.pose.pose.position, message.pose.pose.orientation
    position_m = (float(point.x), float(point.y), float(point.z))
    orientation = (float(turn.x), float(turn.y), float(turn.z), float(turn.w))
    length = math.sqrt(sum(value * value for value in orientation))
    near = all(abs(value) <= _MOST_M for value in position_m)  # False for NaN
    if not near or not abs(length - 1.0) <= _UNIT:
        raise InvalidFrameError(
            f"odometry: expected a finite position below {_MOST_M:g} m and a unit orientation, "
            f"got {position_m} "
            f"and {orientation}"
        )
    x, y, z, w = map(abs, orientation)
    if x > _ROLLED and w > _TURNED and max(y, z) < _LEVEL:
        raise InvalidFrameError(
            f"odometry: the orientation {orientation} rolls the vehicle by "
            f"{math.degrees(2.0 * math.atan2(x, w)):.0f} degrees: given as w, x, y, z? "
            "x, y, z, w is asked for"
        )
    linear = message.twist.twist.linear
    return Pose(
        stamp_ns=stamp_ns,
        position_m=position_m,
        orientation=orientation,
        speed_mps=math.hypot(linear.x, linear.y, linear.z),
    )
