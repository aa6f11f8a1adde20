"""The usual node: typed subscriptions, approximate time synchroniser, models in the callback.

The models and their pre- and postprocessing are ours, so that only the node around them differs.
The synchroniser is that of message_filters where it is installed, else one with the same rule.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from edge_perception import msg
from edge_perception.bench._models import Models
from edge_perception.bench._recording import load_poses
from edge_perception.nodes.conversion import stamp_ns
from edge_perception.nodes.topics import qos

SLOP_S = 0.05
QUEUE = 10

try:
    from message_filters import ApproximateTimeSynchronizer, Subscriber

    SYNCHRONISER = "message_filters"
except ImportError:
    SYNCHRONISER = "own, with the rule of message_filters"

    class Subscriber:  # type: ignore[no-redef]
        """A subscription with callbacks to be registered."""

        def __init__(
            self, node: Node, message_class: Any, topic: str, *, qos_profile: QoSProfile
        ) -> None:
            self._callbacks: list[Callable[[Any], None]] = []
            node.create_subscription(message_class, topic, self._on_message, qos_profile)

        def registerCallback(self, callback: Callable[[Any], None]) -> None:
            """Call back with every message."""
            self._callbacks.append(callback)

        def _on_message(self, message: Any) -> None:
            for callback in self._callbacks:
                callback(message)

    class ApproximateTimeSynchronizer:  # type: ignore[no-redef]
        """Calls back with the messages of all inputs that lie within `slop` of the newest one."""

        def __init__(self, inputs: list[Subscriber], queue_size: int, slop: float) -> None:
            self._queues: list[dict[int, Any]] = [{} for _ in inputs]
            self._queue_size, self._slop_ns = queue_size, round(slop * 1e9)
            self._callback: Callable[..., None] = lambda *_: None
            for queue, source in zip(self._queues, inputs, strict=True):
                source.registerCallback(lambda message, queue=queue: self._add(message, queue))

        def registerCallback(self, callback: Callable[..., None]) -> None:
            """Call back with every matching set."""
            self._callback = callback

        def _add(self, message: Any, queue: dict[int, Any]) -> None:
            stamp = stamp_ns(message.header.stamp)
            queue[stamp] = message
            while len(queue) > self._queue_size:
                del queue[min(queue)]
            picked = []
            for other in self._queues:
                nearest = min(other, key=lambda at: abs(at - stamp), default=None)
                if nearest is None or abs(nearest - stamp) > self._slop_ns:
                    return
                picked.append(nearest)
            found = [other.pop(at) for other, at in zip(self._queues, picked, strict=True)]
            self._callback(*found)


class UsualNode(Node):
    """What a tutorial builds."""

    def __init__(self, folder: Path, *, reliable: bool) -> None:
        super().__init__("usual_node")
        self._models = Models(load_poses(folder), threads=2)
        profile = QoSProfile(
            depth=5,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        self._publisher = self.create_publisher(msg.FusedPerception, "perception/fused", qos.FUSED)
        self.create_subscription(CameraInfo, "camera/camera_info", self._on_info, profile)
        self.create_subscription(msg.AudioChunk, "audio", self._models.hear, 50)
        inputs = [
            Subscriber(self, Image, "camera/image_raw", qos_profile=profile),
            Subscriber(self, PointCloud2, "lidar/points", qos_profile=profile),
        ]
        self._synchroniser = ApproximateTimeSynchronizer(inputs, QUEUE, SLOP_S)
        self._synchroniser.registerCallback(self._on_set)

    def _on_info(self, message: CameraInfo) -> None:
        self._models.calibrate(message)

    def _on_set(self, image: Image, cloud: PointCloud2) -> None:
        if not self._models.calibrated:
            return
        objects = self._models.fuse(image, cloud)
        fused = msg.FusedPerception(header=image.header, valid=True, objects=objects)
        fused.sources = [
            msg.SourceStatus(source=name, contributed=True, stamp=message.header.stamp)
            for name, message in (("camera", image), ("lidar", cloud))
        ]
        self._publisher.publish(fused)


def main() -> None:
    """Spin: FOLDER of the clip, then `reliable` where the subscriptions shall be."""
    rclpy.init()
    node = UsualNode(Path(sys.argv[1]), reliable="reliable" in sys.argv[2:])
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RCLError:
        if rclpy.ok():  # SIGTERM ends the context under a spinning node
            raise
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
