"""Fused objects as vision_msgs/Detection3DArray, where vision_msgs is installed."""

from __future__ import annotations

import math

from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion, Vector3
from rclpy.node import Node

from edge_perception.core.types import DetectedObject, FusedView
from edge_perception.nodes.conversion import header_msg
from edge_perception.nodes.topics import qos

try:
    from vision_msgs.msg import (
        BoundingBox3D,
        Detection3D,
        Detection3DArray,
        ObjectHypothesis,
        ObjectHypothesisWithPose,
    )
except ImportError:  # not among the ROS wheels
    Detection3DArray = None


class DetectionPublisher:
    """Publishes perception/detections, only while somebody listens."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = (
            node.create_publisher(Detection3DArray, "perception/detections", qos.FUSED)
            if Detection3DArray is not None
            else None
        )

    def publish(self, view: FusedView) -> None:
        """Publish a view's objects."""
        if self._publisher is None or not self._publisher.get_subscription_count():
            return
        header = header_msg(view.stamp_ns, view.frame_id)
        detections = [_detection(item, header) for item in view.objects]
        self._publisher.publish(Detection3DArray(header=header, detections=detections))

    def close(self) -> None:
        """Publish no more."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)


def _detection(item: DetectedObject, header: object) -> Detection3D:
    x, y, z = map(float, item.center_m)
    length, width, height = map(float, item.size_m)
    pose = Pose(
        position=Point(x=x, y=y, z=z),
        orientation=Quaternion(z=math.sin(item.yaw_rad / 2), w=math.cos(item.yaw_rad / 2)),
    )
    hypothesis = ObjectHypothesisWithPose(
        hypothesis=ObjectHypothesis(class_id=item.class_name, score=float(item.score)),
        pose=PoseWithCovariance(pose=pose),
    )
    return Detection3D(
        header=header,
        results=[hypothesis],
        bbox=BoundingBox3D(center=pose, size=Vector3(x=length, y=width, z=height)),
    )
