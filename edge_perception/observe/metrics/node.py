"""The metrics node: what the pipeline publishes anyway, for Prometheus."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from edge_perception import msg
from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.core.health import Health, Level
from edge_perception.core.periodic import Periodic
from edge_perception.encoders import modality_of
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.common.spin import run
from edge_perception.nodes.conversion.fused_reading import read_outline, read_view
from edge_perception.nodes.conversion.status_reading import (
    Wanted,
    is_any,
    is_none,
    read_statuses,
)
from edge_perception.nodes.conversion.view_facts import facts_of
from edge_perception.nodes.topics import qos
from edge_perception.nodes.topics.polled import PolledTopics
from edge_perception.observe.metrics.catalogue import STALE_S
from edge_perception.observe.metrics.drift_values import drift_values
from edge_perception.observe.metrics.told import told_by_encoders
from edge_perception.releases.slo_file import read_slo
from edge_perception.running.node_options import MetricsNodeOptions
from edge_perception.running.node_parameters import (
    ENCODER,
    FUSION,
    MANAGER,
    METRICS,
    RESOURCES,
    TRACES,
)

_TAKE_S = 1.0  # what came meanwhile is counted at once: most of the cost is to wake up
_AGAIN_S = 2.0  # until a port that is in use is tried again
_OTHERS = (FUSION, MANAGER, METRICS, RESOURCES, TRACES, "event_recorder")


class MetricsNode(PerceptionNode):
    """Counts what comes and serves it; whatever goes wrong here, the pipeline goes on."""

    HEALTH_PERIOD_S = 1.0  # asked ten times a second it would cost as much as its work

    def __init__(self, **kwargs: Any) -> None:
        """Declare the parameters."""
        super().__init__(METRICS, **kwargs)
        self._options = self.declare_parameters_of(MetricsNodeOptions)
        self._server: Any = None
        self._topics: PolledTopics | None = None
        self._taking = threading.Lock()  # by our own thread, and by those of scrapes
        self._tending: Periodic | None = None
        self._tried_s = -math.inf  # to listen, steady clock
        self._problem = ""
        self.address = ""  # where the metrics are served; empty: nowhere

    def configure(self) -> None:
        """Read the objectives, and find the library of Prometheus."""
        from edge_perception.observe.metrics.exposition import PipelineText
        from edge_perception.observe.metrics.server import checked_address, is_loopback
        from edge_perception.observe.metrics.state import PipelineState

        options, now = self._options.config, self.clock.now()
        checked_address(options.address)
        if not is_loopback(options.address):
            self.get_logger().warning(
                f"metrics at {options.address} can be read from outside of this machine"
            )
        self.pipeline = PipelineState(
            read_slo(options.slo_file),
            functools.partial(facts_of, decisions=False),
            started_ns=now.steady_ns,
            started_stamp_ns=now.node_ns,
        )
        self._text = PipelineText(self.pipeline, lambda: self.clock.now().steady_ns)

    def activate(self) -> None:
        """Listen, to the pipeline and for Prometheus."""
        topics = self._topics = PolledTopics(self)
        for type_, topic, name, take, depth in (
            (msg.FusedPerception, "perception/fused", "fused", self._on_view, 128),
            (DiagnosticArray, "/diagnostics", "diagnostics", self._on_diagnostics, 128),
        ):
            profile = QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)
            topics.subscribe(type_, topic, self._counting(name, take), profile)
        on_event = self._counting("model_events", self._on_event)
        topics.subscribe(msg.ModelEvent, "model_events", on_event, qos.EVENTS)
        self._tried_s = -math.inf
        self._tend()
        self._tending = Periodic(_TAKE_S, self._tend, on_error=self._on_error, name="metrics_take")
        self._tending.start()

    def deactivate(self) -> None:
        """Close the port and stop counting."""
        if self._tending is not None:
            self._tending.stop()
        if self._server is not None:
            self._server.close()
        with self._taking:  # a scrape may be taking still
            if self._topics is not None:
                self._topics.close()
            self._topics = None
        self._server = self._tending = None
        self.address = self._problem = ""

    def health(self) -> Health:
        """Say where the metrics are, and whether there is anything to count."""
        silence_s = self.pipeline.silence_s(self.clock.now().steady_ns)
        values = {"url": f"http://{self.address}/metrics" if self.address else "none"}
        values |= {
            name: f"{total:.0f}"
            for name, total in self.pipeline.totals(
                "fused_views", "metrics_missed_views", "metrics_refused_values"
            ).items()
        }
        if self._problem:
            return Health(level=Level.ERROR, message=self._problem, values=values)
        if silence_s > STALE_S:
            text = f"no {self.resolve_topic_name('perception/fused')} for {silence_s:.1f} s"
            return Health(level=Level.WARN, message=f"{text} > {STALE_S:.1f} s", values=values)
        return Health(
            level=Level.OK,
            message=f"metrics at {values['url']}",
            values=values,
            evidence_s=silence_s,
            period_s=STALE_S,
        )

    def _tend(self) -> None:
        """Take what came, and the port where it is not ours yet."""
        self._take()
        now_s = self.clock.now().steady_ns / 1e9
        if self._server is None and now_s - self._tried_s >= _AGAIN_S:
            self._tried_s = now_s
            self._listen()

    def _take(self) -> None:
        with self._taking:
            if self._topics is not None:
                self._topics.take()

    def _write(self, *, is_open: bool) -> bytes:
        """Return the metrics, with all that came until now."""
        self._take()
        return self._text.write(is_open=is_open)

    def _arrived_ns(self) -> int:
        """Return when the message came that is taken now, steady clock."""
        waited_ns = 0 if self._topics is None else self._topics.waited_ns
        return self.clock.now().steady_ns - waited_ns

    def _listen(self) -> None:
        from edge_perception.observe.metrics.server import MetricsServer, PortError, where

        options = self._options.config
        try:
            self._server = MetricsServer(self._write, options.address, options.port)
        except PortError as error:
            if str(error) != self._problem:
                self.get_logger().error(f"{error}; tried again every {_AGAIN_S:g} s")
            self._problem = str(error)
            return
        self._problem, self.address = "", where(options.address, self._server.port)
        self.get_logger().info(f"metrics at http://{self.address}/metrics")

    def _counting(self, topic: str, take: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return a callback for serialised messages; one that cannot be read is counted."""

        def on_message(data: bytes) -> None:
            try:
                take(data)
            except Exception as error:  # the middleware raises bare exceptions of several types
                self.pipeline.on_bad_message(topic)
                self._on_error(ConfigurationError(f"{topic}: not counted: {error}"))

        return on_message

    def _on_view(self, data: bytes) -> None:
        self.pipeline.on_view(
            read_outline(data),
            self._arrived_ns(),
            whole=functools.partial(read_view, data),
        )

    def _on_event(self, data: bytes) -> None:
        self.pipeline.on_event(deserialize_message(data, msg.ModelEvent))

    def _on_diagnostics(self, data: bytes) -> None:
        steady_ns = self._arrived_ns()
        for status in read_statuses(data, self._wanted):
            name = status.name.rpartition("/")[2]
            self.pipeline.on_status(name, status.level, steady_ns)
            with self.pipeline.board.lock:
                self._on_values(name, status.values, steady_ns)

    def _wanted(self, name: str) -> Wanted | None:
        """Return which values of a status are counted; None: it is none of our nodes'."""
        space, _, name = f"/{name}".rpartition("/")
        if (space or "/") != self.get_namespace() or not _is_ours(name):
            return None
        if name == RESOURCES:
            return is_any
        return told_by_encoders if name.endswith(ENCODER) else is_none

    def _on_values(self, name: str, values: Mapping[str, str], steady_ns: int) -> None:
        if name == RESOURCES:
            self.pipeline.told.on_resources(values, steady_ns)
        if name.endswith(ENCODER):
            source = name.removesuffix(ENCODER)
            self.pipeline.told.on_encoder(source, values, steady_ns)
            if (said := drift_values(values)) is not None:
                self.pipeline.on_drift(source, said, steady_ns)

    def _on_error(self, error: Exception) -> None:
        self.get_logger().error(f"{error}")


def run_node(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the node until the end is wanted.

    Args:
        arguments: ROS arguments; those of the process when not given.
    """
    run(lambda: [MetricsNode()], arguments)


def _is_ours(name: str) -> bool:
    """Whether a status is one of our nodes': robots have encoders of other kinds too."""
    if not name.endswith(ENCODER):
        return name in _OTHERS
    try:
        modality_of(name.removesuffix(ENCODER))
    except EdgePerceptionError:
        return False
    return True
