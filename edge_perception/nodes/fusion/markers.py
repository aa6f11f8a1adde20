"""Fused objects as RViz and Foxglove markers, only while somebody listens."""

from __future__ import annotations

import math

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from rclpy.node import Node
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from edge_perception.core.types import DetectedObject, FusedView
from edge_perception.nodes.conversion import header_msg
from edge_perception.nodes.topics import qos

_COLORS = {
    "car": (0.1, 0.6, 1.0),
    "truck": (0.6, 0.3, 1.0),
    "bus": (1.0, 0.6, 0.1),
    "pedestrian": (1.0, 0.2, 0.3),
    "cyclist": (0.2, 0.9, 0.4),
}
_OTHER = (0.7, 0.7, 0.7)
_STANDING_MPS = 0.5  # slower objects get no arrow


class MarkerPublisher:
    """Publishes box, label and velocity of every object on perception/markers."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(MarkerArray, "perception/markers", qos.FUSED)

    def publish(self, view: FusedView) -> None:
        """Publish a view's objects; costs nothing while nobody listens."""
        if not self._publisher.get_subscription_count():
            return
        header = header_msg(view.stamp_ns, view.frame_id)
        markers = [Marker(header=header, action=Marker.DELETEALL)]
        for index, item in enumerate(view.objects):
            markers.append(_marker(item, index, header, Marker.CUBE, "boxes"))
            markers.append(_marker(item, index, header, Marker.TEXT_VIEW_FACING, "labels"))
            if math.hypot(*item.velocity_mps[:2]) > _STANDING_MPS:  # NaN: not known
                markers.append(_arrow(item, index, header))
        self._publisher.publish(MarkerArray(markers=markers))

    def close(self) -> None:
        """Publish no more."""
        self._node.destroy_publisher(self._publisher)


def _marker(item: DetectedObject, index: int, header: object, kind: int, namespace: str) -> Marker:
    x, y, z = map(float, item.center_m)
    length, width, height = map(float, item.size_m)
    is_box = kind == Marker.CUBE
    red, green, blue = _COLORS.get(item.class_name, _OTHER)
    return Marker(
        header=header,
        ns=namespace,
        id=index,
        type=kind,
        action=Marker.ADD,
        pose=Pose(
            position=Point(x=x, y=y, z=z if is_box else z + height / 2 + 0.4),
            orientation=Quaternion(z=math.sin(item.yaw_rad / 2), w=math.cos(item.yaw_rad / 2)),
        ),
        scale=Vector3(x=length, y=width, z=height) if is_box else Vector3(z=0.5),
        color=ColorRGBA(r=red, g=green, b=blue, a=0.3 + 0.6 * float(item.score)),
        text="" if is_box else _label(item),
        lifetime=Duration(nanosec=500_000_000),
    )


def _label(item: DetectedObject) -> str:
    name = f"EMERGENCY {item.class_name}" if item.emergency_evidence else item.class_name
    track = f" #{item.track_id}" if item.track_id else ""
    return f"{name}{track} {item.score:.2f} ({'+'.join(item.sources)})"


def _arrow(item: DetectedObject, index: int, header: object) -> Marker:
    """Return where an object is a second from now."""
    x, y, z = map(float, item.center_m)
    vx, vy, _ = map(float, item.velocity_mps)
    return Marker(
        header=header,
        ns="velocities",
        id=index,
        type=Marker.ARROW,
        action=Marker.ADD,
        points=[Point(x=x, y=y, z=z), Point(x=x + vx, y=y + vy, z=z)],
        scale=Vector3(x=0.15, y=0.35, z=0.5),
        color=ColorRGBA(r=1.0, g=0.85, b=0.1, a=0.9),
        lifetime=Duration(nanosec=500_000_000),
    )
