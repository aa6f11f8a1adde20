"""Sensors of the fault runs as a ROS node, and what the nodes answer."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from edge_perception import msg
from edge_perception.core.types import Mode
from edge_perception.faults.frames import HEIGHT, MESSAGE_TYPES, PERIOD_S, TOPICS, WIDTH, Frames
from edge_perception.faults.injector import Injection, Injector
from edge_perception.faults.judge import Observed, observed_of
from edge_perception.faults.virtual import PHASE_S, SOURCES
from edge_perception.nodes.conversion import view_from_msg
from edge_perception.recordings.definitions import message_class

NS = 1_000_000_000
_RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
_BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def is_healthy(item: Observed) -> bool:
    """Whether a message is FULL and calls every source fine."""
    return item.mode is Mode.FULL and all(view.fine for view in item.sources.values())


class SensorDriver:
    """Publishes frames of all sources at 10 Hz through an injector, and listens to fusion.

    A context manager with a ROS context of its own.
    """

    def __init__(self, *, domain_id: int) -> None:
        self._context = rclpy.Context()
        rclpy.init(
            args=[],
            context=self._context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self.node = rclpy.create_node("fault_driver", context=self._context)
        make: Callable[[str], Any] = lambda name: message_class(name)()  # noqa: E731
        self._frames, self._make = Frames(make), make
        self._publishers = {
            source: self.node.create_publisher(
                message_class(MESSAGE_TYPES[source]),
                TOPICS[source],
                _RELIABLE if source == "audio" else _BEST_EFFORT,
            )
            for source in SOURCES
        }
        self._calibration = self._publish_calibration()
        self._injector = Injector((), make=make)
        self.observed: list[Observed] = []
        self.due_s: dict[str, list[float]] = {source: [] for source in SOURCES}
        self.said: dict[str, tuple[int, str]] = {}  # newest level and text by diagnostics name
        self.arrived = threading.Condition()
        self.node.create_subscription(
            msg.FusedPerception, "perception/fused", self._on_fused, _RELIABLE
        )
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._spin, self._drive)
        ]

    def _publish_calibration(self) -> Any:
        info_class = message_class("sensor_msgs/msg/CameraInfo")
        latched = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        publisher = self.node.create_publisher(info_class, "camera/camera_info", latched)
        self.calibration = info_class(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob")
        self.calibration.k = [300.0, 0.0, WIDTH / 2, 0.0, 300.0, HEIGHT / 2, 0.0, 0.0, 1.0]
        self.calibration.p = [300.0, 0, WIDTH / 2, 0, 0, 300.0, HEIGHT / 2, 0, 0, 0, 1.0, 0]
        return publisher

    # -- for the runs --

    def inject(self, injections: Sequence[Injection]) -> None:
        """Apply these from now on; their times are on the monotonic clock, s."""
        self._injector = Injector(injections, make=self._make)

    def bad_from_s(self, source: str, start_s: float) -> float:
        """Return when the first message of a source that a fault from `start_s` on hits was due."""
        due_s = next((due for due in self.due_s[source] if due >= start_s), math.inf)
        return self._injector.first_s.get(source, due_s)

    @contextlib.contextmanager
    def best_effort(self, source: str) -> Iterator[None]:
        """Publish a source with best effort: a reliable subscriber is then offered nothing."""
        usual = self._publishers[source]
        other = self.node.create_publisher(usual.msg_type, TOPICS[source], _BEST_EFFORT)
        self._publishers[source] = other
        try:
            yield
        finally:
            self._publishers[source] = usual
            self.node.destroy_publisher(other)

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a fused message makes a condition true."""
        with self.arrived:
            return self.arrived.wait_for(condition, timeout_s)

    def healthy(self) -> bool:
        """Whether the newest message is FULL and calls every source fine."""
        return bool(self.observed) and is_healthy(self.observed[-1])

    # -- threads --

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def _drive(self) -> None:
        start_s = time.monotonic() + 0.1
        order = itertools.count()
        due = [(start_s + PHASE_S[source], next(order), source, 0, None) for source in SOURCES]
        heapq.heapify(due)
        while not self._stop.is_set():
            moment_s, _, source, number, message = heapq.heappop(due)
            if self._stop.wait(max(0.0, moment_s - time.monotonic())):
                return
            if message is not None:
                self._publishers[source].publish(message)
                continue
            if source == "camera" and number % 5 == 0:
                self._calibration.publish(self.calibration)
            self.due_s[source].append(moment_s)
            length_ns = round(PERIOD_S * NS) if source == "audio" else 0
            frame = self._frames.frame(source, time.time_ns() - length_ns)
            for delay_s, item in self._injector.apply(source, frame, moment_s):
                heapq.heappush(due, (moment_s + delay_s, next(order), source, number, item))
            heapq.heappush(due, (moment_s + PERIOD_S, next(order), source, number + 1, None))

    def _on_fused(self, message: msg.FusedPerception) -> None:
        item = observed_of(view_from_msg(message), time.monotonic())
        with self.arrived:
            self.observed.append(item)
            self.arrived.notify_all()

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        with self.arrived:
            for status in array.status:
                self.said[status.name] = (status.level[0], status.message)
            self.arrived.notify_all()

    def __enter__(self) -> SensorDriver:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._threads[1].join(2.0)
        self._executor.shutdown()
        self._context.shutdown()
        self._threads[0].join(2.0)
