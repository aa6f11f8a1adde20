"""The resources node: what the machine has left and what it draws, on /diagnostics."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import BatteryState

from edge_perception.core.health import Health, Level
from edge_perception.core.periodic import Periodic
from edge_perception.monitoring.resources.battery_message import battery_readings
from edge_perception.monitoring.resources.reading import Missing, Reading
from edge_perception.monitoring.resources.watch import Resources, ResourceWatch
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.common.spin import run
from edge_perception.nodes.topics.polled import PolledTopics
from edge_perception.observe.resources.findings import findings
from edge_perception.observe.resources.nodes_seen import NodesSeen
from edge_perception.running.node_options import ResourcesNodeOptions
from edge_perception.running.node_parameters import RESOURCES

_BATTERY_STALE_S = 10.0


class ResourcesNode(PerceptionNode):
    """Reads files of the kernel and who said what on /diagnostics; touches nothing."""

    HEALTH_PERIOD_S = 0.5  # asked ten times a second it would cost as much as its work

    def __init__(self, **kwargs: Any) -> None:
        """Declare the parameters."""
        super().__init__(RESOURCES, **kwargs)
        self._options = self.declare_parameters_of(ResourcesNodeOptions)
        self._topics: PolledTopics | None = None
        self._sampling: Periodic | None = None
        self._battery: tuple[tuple[list[Reading], list[Missing]], int] | None = None
        self._newest: tuple[Resources, int] | None = None  # and when, steady clock

    def configure(self) -> None:
        """Find what there is to read."""
        self._watch = ResourceWatch()
        self._seen = NodesSeen(self.get_namespace())

    def activate(self) -> None:
        """Listen, and read again and again."""
        topics = self._topics = PolledTopics(self)
        profile = QoSProfile(depth=128, reliability=ReliabilityPolicy.RELIABLE)
        read = functools.partial(deserialize_message, message_type=DiagnosticArray)
        topics.subscribe(
            DiagnosticArray, "/diagnostics", lambda data: self._on_diagnostics(read(data)), profile
        )
        if topic := self._options.config.battery_topic:
            best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
            topics.subscribe(BatteryState, topic, self._on_battery, best_effort)
        self._battery = self._newest = None
        self._sample()
        self._sampling = Periodic(
            self._options.config.period_s,
            self._sample,
            on_error=self._on_error,
            name="resources_sample",
        )
        self._sampling.start()

    def deactivate(self) -> None:
        """Stop reading."""
        if self._sampling is not None:
            self._sampling.stop()
        if self._topics is not None:
            self._topics.close()
        self._topics = self._sampling = None

    def health(self) -> Health:
        """Say what the newest sample told, and what of it is wrong."""
        if self._newest is None:
            return Health(level=Level.WARN, message="nothing was read yet")
        resources, at_ns = self._newest
        said = findings(resources)
        return Health(
            level=Level.WARN if said else Level.OK,
            message="; ".join(said) or "nothing holds the machine back, as far as it is told",
            values=resources.values(),
            evidence_s=(self.clock.now().steady_ns - at_ns) / 1e9,
            period_s=3.0 * self._options.config.period_s,
        )

    def _sample(self) -> None:
        now = self.clock.now()
        if self._topics is not None:
            self._topics.take()
        resources = self._watch.sample(
            now.steady_ns,
            self._seen.processes(now.steady_ns),
            self._seen.inferring(now.steady_ns),
            self._of_vehicle(now.steady_ns),
        )
        self._newest = (resources, now.steady_ns)

    def _of_vehicle(self, steady_ns: int) -> tuple[list[Reading], list[Missing]]:
        topic = self._options.config.battery_topic
        if not topic:
            return [], []
        if self._battery is None:
            return [], [Missing(what="battery vehicle", why=f"nothing came on {topic}")]
        told, at_ns = self._battery
        silence_s = (steady_ns - at_ns) / 1e9
        if silence_s > _BATTERY_STALE_S:
            why = f"{topic} is silent for {silence_s:.0f} s"
            return [], [Missing(what="battery vehicle", why=why)]
        return told

    def _on_battery(self, data: bytes) -> None:
        message = deserialize_message(data, BatteryState)
        self._battery = (battery_readings(message), self.clock.now().steady_ns)

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        steady_ns = self.clock.now().steady_ns
        for status in array.status:
            values = {item.key: item.value for item in status.values}
            self._seen.take(status.name, values, steady_ns)

    def _on_error(self, error: Exception) -> None:
        self.get_logger().error(f"{error!r}")


def run_node(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the node until the end is wanted.

    Args:
        arguments: ROS arguments; those of the process when not given.
    """
    run(lambda: [ResourcesNode()], arguments)
