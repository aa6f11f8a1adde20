"""Fused objects as RViz and Foxglove markers, only while somebody listens."""

from __future__ import annotations

import math

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from rclpy.node import Node
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from edge_perception.core.types import DetectedObject, FusedView
from edge_perception.nodes import qos
from edge_perception.nodes.conversion import header_msg

_COLORS = {
    "car": (0.1, 0.6, 1.0),
    "truck": (0.6, 0.3, 1.0),
    "bus": (1.0, 0.6, 0.1),
    "pedestrian": (1.0, 0.2, 0.3),
    "cyclist": (0.2, 0.9, 0.4),
}
_OTHER = (0.7, 0.7, 0.7)


class MarkerPublisher:
    """Publishes one box and one label an object on perception/markers."""

    def __init__(self, node: Node) -> None:
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
        self._publisher.publish(MarkerArray(markers=markers))


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
        text="" if is_box else f"{item.class_name} {item.score:.2f} ({'+'.join(item.sources)})",
        lifetime=Duration(nanosec=500_000_000),
    )
