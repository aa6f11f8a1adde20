"""Publishes the camera image with the fused objects in it, only while somebody listens."""

from __future__ import annotations

import functools
import time
from array import array
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from edge_perception import msg
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.types import PublishedView
from edge_perception.encoders.camera.conversion import image_from_msg
from edge_perception.nodes.conversion import feature_from_msg, header_msg, published_from_msg
from edge_perception.nodes.topics.polled import PolledTopics
from edge_perception.observe.overview.annotator import Annotator
from edge_perception.recordings.stamps import read_stamp_ns

TOPIC = "perception/annotated"
_LOOK_S = 0.05
_TOLD_S = 10.0  # between lines that say why nothing is drawn


class OverviewNode:
    """Draws in the thread that calls `spin`; while nobody listens it subscribes to nothing.

    Args:
        source: the camera.
        image: base topic of its images; compressed ones are below it.
        width_px: of the picture.
        most_hz: pictures a second.
        namespace: of the nodes; empty: the root.
        context: of rclpy.
    """

    def __init__(
        self, *, source: str, image: str, width_px: int, most_hz: float, namespace: str,
        context: Any,
    ) -> None:  # fmt: skip
        self.node = rclpy.create_node("overview", context=context, namespace=namespace or "/")
        self._annotator = Annotator(source, width_px)
        self._source, self._image, self._period_s = source, image, 1.0 / most_hz
        reliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._publisher = self.node.create_publisher(Image, TOPIC, reliable)
        self._topics: PolledTopics | None = None
        self._view: PublishedView | None = None
        self._drawn_s = 0.0
        self.drawn = 0

    def spin(self, until: Callable[[], bool]) -> None:
        """Draw until told to end."""
        while not until():
            try:
                self.step()
            except (EdgePerceptionError, ValueError) as error:  # one message of many
                self.node.get_logger().warning(f"{error}", throttle_duration_sec=_TOLD_S)
            time.sleep(_LOOK_S)

    def step(self) -> None:
        """Look who listens, take what came, and draw what is new."""
        if not self._publisher.get_subscription_count():
            self._stop()
            return
        if self._topics is None:
            self._topics = self._subscribed()
        self._topics.take()
        now_s = time.monotonic()
        if self._view is None or now_s - self._drawn_s < self._period_s:
            return
        drawn = self._annotator.draw(self._view, image_from_msg)
        if drawn is not None:
            stamp_ns, frame_id, picture = drawn
            self._drawn_s, self.drawn = now_s, self.drawn + 1
            height, width = picture.shape[:2]
            self._publisher.publish(
                Image(
                    header=header_msg(stamp_ns, frame_id),
                    height=height,
                    width=width,
                    encoding="bgr8",
                    step=3 * width,
                    data=array("B", picture.tobytes()),  # of others each byte is checked
                )
            )
        elif self._annotator.why_not:
            text = f"nothing is drawn: {self._annotator.why_not}"
            self.node.get_logger().warning(text, throttle_duration_sec=_TOLD_S)

    def close(self) -> None:
        """Unsubscribe and end."""
        self._stop()
        self.node.destroy_node()

    def _stop(self) -> None:
        if self._topics is not None:
            self._topics.close()
            self._topics, self._view = None, None
            self._annotator.clear()

    def _subscribed(self) -> PolledTopics:
        topics = PolledTopics(self.node)
        sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        output = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        for kind, topic in ((CompressedImage, f"{self._image}/compressed"), (Image, self._image)):
            topics.subscribe(kind, topic, functools.partial(self._on_image, kind), sensor)
        topics.subscribe(msg.Feature, f"features/{self._source}", self._on_feature, output)
        topics.subscribe(msg.FusedPerception, "perception/fused", self._on_view, output)
        return topics

    def _on_image(self, kind: Any, data: bytes) -> None:
        self._annotator.on_image(read_stamp_ns(data), functools.partial(_typed, kind, data))

    def _on_feature(self, data: bytes) -> None:
        self._annotator.on_feature(feature_from_msg(_typed(msg.Feature, data)))

    def _on_view(self, data: bytes) -> None:
        self._view = published_from_msg(_typed(msg.FusedPerception, data), time.time_ns())


def _typed(kind: Any, data: bytes) -> Any:
    return deserialize_message(data, kind)
