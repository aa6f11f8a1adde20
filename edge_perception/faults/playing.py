"""Plays a recording through the injector into ROS, stamps moved to the present."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.signals import SignalHandlerOptions

from edge_perception.encoders import encoders
from edge_perception.faults.injector import Injection, Injector
from edge_perception.recordings.definitions import message_class
from edge_perception.recordings.player import Player, wait_for
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.ros_sink import RosSink
from edge_perception.recordings.schedule import PlayPlan


class InjectingSink:
    """A sink of the player that alters what the injections name, and delays what they delay."""

    def __init__(self, sink: RosSink, recording: Recording, injector: Injector) -> None:
        self._sink, self._injector = sink, injector
        self._sources = {name: source_of(name) for name in recording.topics}
        self._classes = {
            name: message_class(topic.type)
            for name, topic in recording.topics.items()
            if self._sources[name]
        }
        self._start_s = time.monotonic()
        self._held: list[tuple[float, int, str, bytes]] = []
        self._order = itertools.count()
        self.sent = 0

    def publish(self, topic: str, data: bytes) -> None:
        """Send a message, what became of it, or nothing."""
        now_s = time.monotonic() - self._start_s
        self.flush(now_s)
        source = self._sources[topic]
        if not source:
            self._send(topic, data)
            return
        message = deserialize_message(data, self._classes[topic])
        for delay_s, item in self._injector.apply(source, message, now_s):
            raw = data if item is message else serialize_message(item)
            heapq.heappush(self._held, (now_s + delay_s, next(self._order), topic, raw))
        self.flush(now_s)

    def publish_clock(self, time_ns: int) -> None:
        """Pass the time on."""
        self._sink.publish_clock(time_ns)

    def flush(self, now_s: float) -> None:
        """Send what was held until now."""
        while self._held and self._held[0][0] <= now_s:
            _, _, topic, data = heapq.heappop(self._held)
            self._send(topic, data)

    def _send(self, topic: str, data: bytes) -> None:
        self._sink.publish(topic, data)
        self.sent += 1


def source_of(topic: str) -> str:
    """Return the source whose data a topic carries; empty: none, as for calibrations.

    ``/camera_rear/image_raw`` belongs to ``camera_rear``.
    """
    name = topic.strip("/")
    for modality, spec in encoders().specs.items():
        for item in spec.topics:
            tail = item.topic.removeprefix(modality)
            if name.startswith(modality) and name.endswith(tail):
                return name.removesuffix(tail) if tail else name
    return ""


def play_with_faults(
    bag: Path, injections: Sequence[Injection], *, namespace: str, seed: int, wait_s: float
) -> tuple[int, int]:
    """Play a recording with faults; returns messages altered and messages sent."""
    recording = Recording(bag)
    context = rclpy.Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    node: Any = rclpy.create_node("injector", context=context)
    sink = RosSink(node, recording.topics.values(), namespace=namespace)
    try:
        wait_for(lambda: not sink.unheard(), timeout_s=wait_s)
        injector = Injector(injections, make=lambda name: message_class(name)(), seed=seed)
        injecting = InjectingSink(sink, recording, injector)
        Player(recording, PlayPlan(), injecting, restamp=True).run()
        injecting.flush(float("inf"))
        return injector.altered, injecting.sent
    finally:
        sink.close()
        node.destroy_node()
        context.shutdown()
