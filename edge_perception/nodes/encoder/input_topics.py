"""Names of a sensor's topics under remaps: those that belong to the base topic move with it."""

from __future__ import annotations

from rclpy.node import Node

from edge_perception.encoders import EncoderSpec, TopicSpec
from edge_perception.nodes.topics.message_types import is_installed


class SensorTopics:
    """The topics of one source: what its modality lists, by the names that this node uses.

    Args:
        node: has the remaps.
        spec: the modality.
        source: name of the sensor.
    """

    def __init__(self, node: Node, spec: EncoderSpec, source: str) -> None:
        self._node, self._spec, self._source = node, spec, source
        self.frames = tuple(
            topic for topic in spec.topics if not topic.optional or is_installed(topic.type)
        )
        self.calibration = spec.calibration

    @property
    def ways(self) -> tuple[str, ...]:
        """Ways in which the frames come, the better first."""
        return tuple(dict.fromkeys(topic.way for topic in self.frames))

    def name(self, topic: TopicSpec) -> str:
        """Return what to subscribe to for this source: camera/image_raw → camera_rear/…."""
        base, name = (
            each.topic.replace(self._spec.modality, self._source, 1)
            for each in (self._spec.topics[0], topic)
        )
        return input_topic(self._node, name, base, sibling=topic is self.calibration)

    def resolved(self, topic: TopicSpec) -> str:
        """Return the name of a topic as its drivers call it."""
        return str(self._node.resolve_topic_name(self.name(topic)))

    def publishers(self, topic: TopicSpec) -> int:
        """Return how many publish a topic."""
        return int(self._node.count_publishers(self.resolved(topic)))

    def described(self, topic: TopicSpec) -> str:
        """Name a topic with what tells a dead driver from one that cannot be heard."""
        name, publishers = self.resolved(topic), self.publishers(topic)
        return f"{name} ({publishers} publishers)" if publishers else f"{name} (nobody publishes)"


def input_topic(node: Node, name: str, base: str, *, sibling: bool = False) -> str:
    """Return the name to subscribe to, as image_transport and camera drivers have it.

    A remap of `camera/image_raw` to `/front/image` moves `camera/image_raw/compressed` to
    `/front/image/compressed` and `camera/camera_info` to `/front/camera_info`. A remap of the topic
    itself comes first.

    Args:
        node: has the remaps, and applies them to the name that is returned.
        name: of the topic, before remaps.
        base: of the topic that it belongs to, before remaps.
        sibling: it lies beside the base topic, whatever that is called.
    """
    moved = node.resolve_topic_name(base)
    if name == base or _is_remapped(node, name) or not _is_remapped(node, base):
        return name  # not yet remapped: two cameras that change places would be remapped twice
    if name.startswith(f"{base}/"):
        return moved + name[len(base) :]
    if sibling:
        return f"{moved.rpartition('/')[0]}/{name.rpartition('/')[2]}"
    return name


def _is_remapped(node: Node, name: str) -> bool:
    return bool(node.resolve_topic_name(name) != node.resolve_topic_name(name, only_expand=True))
