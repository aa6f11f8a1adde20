"""What became of played messages: counted by the nodes that got them, told on /diagnostics."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from edge_perception.core.ros_names import NODE_NAME_UNKNOWN

_RECEIVED, _LOST = "received ", "lost "
_LOOK_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What one node says of one topic, since `begin`."""

    node: str
    topic: str
    received: int
    lost: int  # sent, and never there, as its middleware says


class Receipts:
    """Listens to diagnostics; the node must spin.

    Args:
        node: an rclpy node.
        topics: fully resolved names.
    """

    def __init__(self, node: Any, topics: Collection[str]) -> None:
        from diagnostic_msgs.msg import DiagnosticArray

        self._node, self._topics = node, set(topics)
        self._condition = threading.Condition()
        self._now: dict[tuple[str, str], tuple[int, int]] = {}
        self._before: dict[tuple[str, str], tuple[int, int]] = {}
        self._fresh: set[str] = set()
        self._subscription = node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, 50
        )

    def begin(self, *, timeout_s: float) -> None:
        """Count from here on, once the encoders that listen have spoken."""
        self._hear(timeout_s)
        with self._condition:
            self._before = dict(self._now)

    def end(self, *, timeout_s: float) -> list[Receipt]:
        """Return what arrived, once those who got it have spoken again."""
        self._hear(timeout_s)
        with self._condition:
            return [
                self._receipt(node, topic)
                for node, topic in sorted(self._now)
                if topic in self._topics
            ]

    def close(self) -> None:
        """Stop listening."""
        self._node.destroy_subscription(self._subscription)

    def _receipt(self, node: str, topic: str) -> Receipt:
        received, lost = self._now[node, topic]
        before = self._before.get((node, topic), (0, 0))
        if received < before[0]:  # the node was started anew
            before = (0, 0)
        return Receipt(node=node, topic=topic, received=received - before[0], lost=lost - before[1])

    def _hear(self, timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        with self._condition:
            self._fresh.clear()
            while not self._heard() and (left_s := end - time.monotonic()) > 0.0:
                self._condition.wait(min(left_s, _LOOK_S))  # the graph tells nobody of its changes

    def _heard(self) -> bool:
        """Whether all encoders that listen are known by name and have spoken."""
        listening = [
            info
            for topic in self._topics
            for info in self._node.get_subscriptions_info_by_topic(topic)
        ]
        names = {
            f"{info.node_namespace.rstrip('/')}/{info.node_name}".lstrip("/")
            for info in listening
            if info.node_name.endswith("_encoder")
        }
        unknown = any(info.node_name == NODE_NAME_UNKNOWN for info in listening)
        return not unknown and names <= self._fresh

    def _on_diagnostics(self, array: Any) -> None:
        with self._condition:
            for status in array.status:
                values = {item.key: item.value for item in status.values}
                self._take(status.name, values)
            self._condition.notify_all()

    def _take(self, node: str, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            topic = key.removeprefix(_RECEIVED)
            if topic != key and topic in self._topics:
                self._now[node, topic] = (int(value), int(values.get(_LOST + topic, "0")))
                self._fresh.add(node)
