"""The traces node: slow fused views, and a share of all, to a collector of OpenTelemetry."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, NoReturn

from rclpy.qos import QoSProfile, ReliabilityPolicy

from edge_perception import msg
from edge_perception.core.health import Health, Level
from edge_perception.core.periodic import Periodic
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.common.spin import run
from edge_perception.nodes.conversion.fused_reading import read_view
from edge_perception.nodes.topics.polled import PolledTopics
from edge_perception.observe.traces.spans import in_share, is_slow, spans_of, trace_id
from edge_perception.running.node_options import TracesNodeOptions
from edge_perception.running.node_parameters import TRACES

_TAKE_S = 0.25


class TracesNode(PerceptionNode):
    """Reads what is published anyway; whatever goes wrong here, the pipeline goes on."""

    HEALTH_PERIOD_S = 0.5

    def __init__(self, **kwargs: Any) -> None:
        """Declare the parameters."""
        super().__init__(TRACES, **kwargs)
        self._options = self.declare_parameters_of(TracesNodeOptions)
        self._topics: PolledTopics | None = None
        self._taking: Periodic | None = None
        self._collector: Any = None
        self._views = self._chosen = 0

    def configure(self) -> None:
        """Find the library of OpenTelemetry."""
        from edge_perception.observe.traces.collector import checked_endpoint

        checked_endpoint(self._options.config.endpoint)
        self._vehicle = self._options.config.vehicle or socket.gethostname() or "unknown"

    def activate(self) -> None:
        """Listen, and send."""
        from edge_perception.observe.traces.collector import Collector, otlp_exporter

        self._views = self._chosen = 0
        self._collector = Collector(
            otlp_exporter(self._options.config.endpoint),
            namespace=self.get_namespace(),
            vehicle=self._vehicle,
        )
        self._topics = PolledTopics(self)
        profile = QoSProfile(depth=64, reliability=ReliabilityPolicy.RELIABLE)
        self._topics.subscribe(msg.FusedPerception, "perception/fused", self._on_view, profile)
        self._taking = Periodic(_TAKE_S, self._take, on_error=self._on_error, name="traces_take")
        self._taking.start()

    def deactivate(self) -> None:
        """Send what waits, for a moment, and stop."""
        if self._taking is not None:
            self._taking.stop()
        if self._topics is not None:
            self._topics.close()
        if self._collector is not None:
            self._collector.close()
        self._topics = self._taking = self._collector = None

    def health(self) -> Health:
        """Say where traces go, and what became of them."""
        counts, endpoint = self._collector.counts, self._options.config.endpoint
        values = {
            "endpoint": endpoint,
            "views": str(self._views),
            "chosen": str(self._chosen),
            "sent": str(counts.sent),
            "failed": str(counts.failed),
            "dropped": str(counts.dropped),
        }
        if counts.problem:
            text = f"{endpoint} does not take traces ({counts.failed} lost): {counts.problem}"
            return Health(level=Level.ERROR, message=text, values=values)
        return Health(level=Level.OK, message=f"traces to {endpoint}", values=values)

    def _take(self) -> None:
        if self._topics is not None:
            self._topics.take()

    def _on_view(self, data: bytes) -> None:
        view = read_view(data)
        stamp = view.header.stamp
        self._views += 1
        options = self._options.config
        trace = trace_id(stamp.sec * 1_000_000_000 + stamp.nanosec, self._vehicle)
        if is_slow(view, options.slow_ms) or in_share(trace, options.share):
            self._chosen += 1
            self._collector.put(spans_of(view, self._vehicle))

    def _on_error(self, error: Exception) -> None:
        self.get_logger().error(f"{error!r}")


def run_node(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the node until the end is wanted.

    Args:
        arguments: ROS arguments; those of the process when not given.
    """
    run(lambda: [TracesNode()], arguments)
