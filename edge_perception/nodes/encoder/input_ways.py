"""Subscribes to the one way of a sensor that counts, and finds out when another one must."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from rclpy.node import Node

from edge_perception.core.periodic import Periodic
from edge_perception.encoders import TopicSpec
from edge_perception.encoders.arrivals import Arrivals
from edge_perception.encoders.ways import WayChoice
from edge_perception.nodes.encoder.input_topics import SensorTopics
from edge_perception.nodes.topics.receiver import Receiver

_LOOK_S = 0.25


class InputWays:
    """The receivers of one source: one a way, which come and go, and one for all else.

    Args:
        node: makes the subscriptions.
        topics: of the source.
        choice: among the ways of these topics.
        subscribe: subscribes a receiver to a topic.
        beside: subscribes a receiver to what belongs to no way, and is no topic of the source.
        silence_ns: without a message for so long a way is silent.
        on_error: takes what a callback raises.
    """

    def __init__(
        self,
        node: Node,
        *,
        topics: SensorTopics,
        choice: WayChoice,
        subscribe: Callable[[Receiver, TopicSpec], None],
        beside: Callable[[Receiver], None],
        silence_ns: Callable[[], int],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._node, self._choice, self._sensor = node, choice, topics
        self._subscribe, self._beside = subscribe, beside
        self._silence_ns, self._on_error = silence_ns, on_error
        self._topics: dict[str, list[TopicSpec]] = {"": []}
        calibration = () if topics.calibration is None else (topics.calibration,)
        for topic in (*topics.frames, *calibration):
            self._topics.setdefault(topic.way, []).append(topic)
        self._receivers: dict[str, Receiver] = {}
        self._lock = threading.Lock()  # of the receivers
        self._said = ""
        self._looks = Periodic(
            _LOOK_S, self.look, on_error=on_error, name=f"{node.get_name()}_inputs"
        )

    @property
    def listened(self) -> list[TopicSpec]:
        """Topics that are subscribed."""
        with self._lock:
            return [topic for way in self._receivers for topic in self._topics[way]]

    def start(self) -> None:
        """Subscribe."""
        self.look()
        self._looks.start()

    def stop(self) -> None:
        """Unsubscribe; twice is fine."""
        self._looks.stop()
        with self._lock:
            receivers, self._receivers = list(self._receivers.values()), {}
        for receiver in receivers:
            receiver.stop()

    def look(self) -> None:
        """Subscribe to what is wanted and offered now, and unsubscribe from the rest."""
        wanted = self._choice.to_listen(
            [way for way in self._topics if self._is_published(way)],
            time.monotonic_ns(),
            self._silence_ns(),
        )
        with self._lock:
            for way in self._topics:
                if way in wanted or not way:
                    self._listen(way)
            for receiver in self._receivers.values():
                receiver.look()
            leaving = [way for way in self._receivers if way and way not in wanted]
            left = [self._receivers.pop(way) for way in leaving]
        for receiver in left:
            receiver.stop()
        self._say()

    def arrivals(self) -> dict[str, Arrivals]:
        """Return what came and what got lost on each topic that is subscribed."""
        with self._lock:
            receivers = list(self._receivers.values())
        return {topic: n for each in receivers for topic, n in each.arrivals().items()}

    def describe(self) -> Mapping[str, str]:
        """Return what diagnostics say of a sensor that has several ways."""
        ways = [way for way in self._topics if way]
        if len(ways) < 2:
            return {}
        current = self._choice.current
        others = [way for way in ways if way != current and self._is_published(way)]
        return {
            "input": self._named(current) if current else "none yet",
            "input_not_used": ", ".join(map(self._named, others)),
        }

    def _listen(self, way: str) -> None:
        if way in self._receivers:
            return
        receiver = Receiver(self._node, on_error=self._on_error)
        for topic in self._topics[way]:
            self._subscribe(receiver, topic)
        if not way:
            self._beside(receiver)
        receiver.start()
        self._receivers[way] = receiver

    def _is_published(self, way: str) -> bool:
        return any(self._sensor.publishers(topic) for topic in self._topics[way])

    def _named(self, way: str) -> str:
        return f"{way} ({', '.join(map(self._sensor.resolved, self._topics[way]))})"

    def _say(self) -> None:
        current = self._choice.current
        if current == self._said or not self.describe():
            return
        self._said = current
        others = self.describe().get("input_not_used", "")
        rest = f"; not listened to: {others} (parameter input)" if others else ""
        self._node.get_logger().info(f"listens to {self._named(current)}{rest}")
