"""Sends serialised messages over ROS 2: one publisher a topic, of the type the recording names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, ReliabilityPolicy
from rclpy.qos import QoSProfile as _QoSProfile
from rosgraph_msgs.msg import Clock as ClockMessage

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.ros_names import namespace_prefix, topic_problem
from edge_perception.recordings.definitions import message_class
from edge_perception.recordings.qos import TopicQos
from edge_perception.recordings.writer import Topic

QoSProfile: Any = _QoSProfile  # its constructor has no types


def ros_qos(qos: TopicQos) -> Any:
    """Return a QoS profile for a publisher or subscription."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=qos.depth,
        reliability=ReliabilityPolicy.RELIABLE
        if qos.reliability == "reliable"
        else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL
        if qos.durability == "transient_local"
        else DurabilityPolicy.VOLATILE,
    )


class RosSink:
    """Publishers for the topics of a recording.

    Args:
        node: an rclpy node; it need not spin.
        topics: what will be published.
        namespace: put in front of every topic's name.
        names: other names to publish under, by topic.
        with_clock: also offer /clock.

    Raises:
        ConfigurationError: a message type is not installed, or ROS has no topic of such a name.
    """

    def __init__(
        self,
        node: Any,
        topics: Iterable[Topic],
        *,
        namespace: str = "",
        names: Mapping[str, str] | None = None,
        with_clock: bool = False,
    ) -> None:
        self._node = node
        names = names or {}
        prefix = namespace_prefix(namespace)
        self._publishers = {
            topic.name: node.create_publisher(
                message_class(topic.type),
                _checked(f"{prefix}/{names.get(topic.name, topic.name).lstrip('/')}"),
                ros_qos(topic.qos),
            )
            for topic in topics
        }
        self._clock = (
            node.create_publisher(ClockMessage, "/clock", QoSProfile(depth=10))
            if with_clock
            else None
        )

    def publish(self, topic: str, data: bytes) -> None:
        """Send one serialised message."""
        self._publishers[topic].publish(data)

    def publish_clock(self, time_ns: int) -> None:
        """Send a time on /clock."""
        if self._clock is not None:
            message = ClockMessage()
            message.clock.sec, message.clock.nanosec = divmod(time_ns, 1_000_000_000)
            self._clock.publish(message)

    def unheard(self) -> list[str]:
        """Return the topics that nobody subscribes to yet."""
        return [
            name
            for name, publisher in self._publishers.items()
            if publisher.get_subscription_count() == 0
        ]

    def name_of(self, topic: str) -> str:
        """Return the name under which a topic is published."""
        return str(self._publishers[topic].topic_name)

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        if self._clock is not None:
            self._node.destroy_publisher(self._clock)
        self._publishers = {}
        self._clock = None


def _checked(name: str) -> str:
    problem = topic_problem(name)
    if problem:
        raise ConfigurationError(f"{problem}; give it another one with --remap from:=to")
    return name
