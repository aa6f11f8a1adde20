"""Health on /diagnostics: once a second, and at once when a level changes.

A task is a function that returns a Health: it is asked, so OK is never a remembered value.
"""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from edge_perception.core.bounds import sendable
from edge_perception.core.health import Debounce, Health, Level, Report
from edge_perception.core.periodic import Periodic
from edge_perception.monitoring.resources.processes import PROCESS, own_process
from edge_perception.nodes.topics import qos

try:
    import diagnostic_updater
except ImportError:  # not among the ROS wheels
    diagnostic_updater = None


class Diagnostics:
    """Asks one task for its health and publishes it under the node's name."""

    CHECK_PERIOD_S = 0.1
    PUBLISH_PERIOD_S = 1.0
    CLEAR_S = 0.3  # a level falls once the better one has lasted this long

    def __init__(
        self,
        node: Node,
        task: Callable[[], Health],
        *,
        check_period_s: float = CHECK_PERIOD_S,
        on_check: Callable[[], None] = lambda: None,
        on_worse: Callable[[str], None] = lambda _why: None,
    ) -> None:
        """Make the publisher; nothing is asked before `start`.

        Args:
            node: whose health it is.
            task: says how it is.
            check_period_s: between questions: how late a change of the level may be said.
            on_check: called with every question.
            on_worse: is told of the node, and of a part of it, whose level gets worse.
        """
        self._node, self._task = node, task
        self._name = node.get_fully_qualified_name().lstrip("/")
        self._level: Level | None = None
        self._levels: dict[str, Level] = {}
        self._on_check, self._on_worse = on_check, on_worse
        self._failing = False
        self._debounce = Debounce(self.CLEAR_S)
        # A little less than a second: the timer's own jitter must not cost a whole check.
        self._report = Report(repeat_s=self.PUBLISH_PERIOD_S - check_period_s / 2)
        self.hardware_id = socket.gethostname() or "unknown"  # a sensor has its own
        self._process = own_process()
        self._publisher = _publisher(node, self.hardware_id)
        # A thread, not a timer: while /clock stands still or a callback keeps the executor busy,
        # health is still said, and the executor's wait set is not made anew ten times a second.
        self._checks = Periodic(
            check_period_s,
            self.check,
            on_error=self._on_error,
            name=f"{node.get_name()}_health",
        )

    def start(self) -> None:
        """Begin to check."""
        self._checks.start()

    def stop(self) -> None:
        """End, after the check in progress."""
        self._checks.stop()

    def check(self) -> None:
        """Ask for the health once; publish what is new or due."""
        steady_ns = time.monotonic_ns()
        health = self._debounce.step(self._ask(), steady_ns)
        statuses = {self._name: health}
        statuses |= {f"{self._name}: {key}": part for key, part in health.parts.items()}
        saying = self._report.step(statuses, steady_ns)
        self._on_check()
        said = saying.get(self._name)
        if said is not None and said.level is not self._level:
            self._level = said.level
            self._log_transition(said)
        self._tell_worse(saying)
        if saying:
            if said is not None:
                saying[self._name] = replace(said, values={**said.values, PROCESS: self._process})
            array = DiagnosticArray(status=[self._status(*item) for item in saying.items()])
            array.header.stamp = self._node.get_clock().now().to_msg()
            self._publisher.publish(array)

    def _tell_worse(self, saying: Mapping[str, Health]) -> None:
        for name, health in saying.items():
            before = self._levels.get(name)
            # What was never OK, as all while they start, has not become worse.
            if before is not None and health.level > before:
                self._on_worse(f"{name}: {health.level.name}: {health.message}")
            if before is not None or health.level is Level.OK:
                self._levels[name] = health.level

    def _status(self, name: str, health: Health) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=bytes([health.level]),
            name=sendable(name),
            message=sendable(health.message),
            hardware_id=self.hardware_id,
            values=[
                KeyValue(key=sendable(key), value=sendable(value))
                for key, value in health.values.items()
            ],
        )

    def _ask(self) -> Health:
        """Return what the task says; one that fails must not silence the node."""
        try:
            health = self._task()
        except Exception as error:
            if not self._failing and self._node.context.ok():
                self._node.get_logger().error(f"health: {traceback.format_exc()}")
            self._failing = True
            return Health(level=Level.ERROR, message=f"health is not known: {error!r}")
        self._failing = False
        return health

    def _on_error(self, error: Exception) -> None:
        if self._node.context.ok():  # else the process ends, and nothing can be published any more
            self._node.get_logger().error(f"health: {error!r}")

    def _log_transition(self, health: Health) -> None:
        # One call site a severity: rclpy refuses another severity from the same line.
        text = f"{health.level.name}: {health.message}"
        logger = self._node.get_logger()
        if health.level == Level.OK:
            logger.info(text)
        elif health.level == Level.WARN:
            logger.warning(text)
        else:
            logger.error(text)


def _publisher(node: Node, hardware_id: str) -> Any:
    """Return where arrays go: through `diagnostic_updater` where ROS has it.

    Its tasks are not used: a task that is added says OK before anything is known, and all tasks
    speak at once, whatever the age of their evidence.
    """
    if diagnostic_updater is None:
        return node.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
    # Its own timer runs in the node's time: the first /clock may let an hour pass at once.
    updater = diagnostic_updater.Updater(node, period=3600.0)
    updater.setHardwareID(hardware_id)
    return updater.publisher
