"""Health on /diagnostics: at 1 Hz and at once when a level changes.

`diagnostic_updater` is used where ROS provides it; without it the same array is published here.
A task is a function that returns a Health: it is asked, so OK is never a remembered value.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from edge_perception.core.health import Debounce, Health, Level
from edge_perception.nodes import qos

try:
    import diagnostic_updater
except ImportError:  # not among the ROS wheels
    diagnostic_updater = None


class Diagnostics:
    """Asks one task for its health and publishes it under the node's name."""

    CHECK_PERIOD_S = 0.1
    PUBLISH_PERIOD_S = 1.0
    CLEAR_S = 0.3  # a level falls once the better one has lasted this long

    def __init__(self, node: Node, task: Callable[[], Health]) -> None:
        self._node, self._task = node, task
        self._last_levels: tuple[Level, ...] = ()
        self._debounce = Debounce(self.CLEAR_S)
        self._checks_since_publish = 0
        name = node.get_fully_qualified_name().lstrip("/")
        self._publish = (
            _own_publish(node, name)
            if diagnostic_updater is None
            else _updater_publish(node, name, task)
        )
        # Steady: while /clock stands still or jumps, health is still said.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(self.CHECK_PERIOD_S, self._on_timer, clock=steady)

    def _on_timer(self) -> None:
        health = self._debounce.step(self._task(), time.monotonic_ns())
        levels = (health.level, *(part.level for part in health.parts.values()))
        self._checks_since_publish += 1
        due = self._checks_since_publish * self.CHECK_PERIOD_S >= self.PUBLISH_PERIOD_S
        if levels[:1] != self._last_levels[:1]:
            self._log_transition(health)
        elif levels == self._last_levels and not due:
            return
        self._last_levels = levels
        self._checks_since_publish = 0
        self._publish(health)

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


def _own_publish(node: Node, name: str) -> Callable[[Health], None]:
    publisher = node.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)

    def publish(health: Health) -> None:
        parts = [_status(f"{name}: {key}", part) for key, part in health.parts.items()]
        array = DiagnosticArray(status=[_status(name, health), *parts])
        array.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(array)

    return publish


def _status(name: str, health: Health) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=bytes([health.level]),
        name=name,
        message=health.message,
        hardware_id="none",
        values=[KeyValue(key=key, value=value) for key, value in health.values.items()],
    )


def _updater_publish(node: Node, name: str, ask: Callable[[], Health]) -> Callable[[Health], None]:
    # The updater's own timer knows no level changes, so ours asks it to publish. Its own still
    # runs, in the node's time: the first /clock may let an hour pass at once.
    updater = diagnostic_updater.Updater(node, period=3600.0)
    updater.setHardwareID("none")
    latest: dict[str, Health] = {}
    known: set[str] = set()

    def add(title: str) -> None:
        def task(status: diagnostic_updater.DiagnosticStatusWrapper):
            health = latest[title] if title in latest else ask()
            status.summary(bytes([health.level]), health.message)
            for key, value in health.values.items():
                status.add(key, value)
            return status

        known.add(title)
        updater.add(title, task)

    add(name)

    def publish(health: Health) -> None:
        latest[name] = health
        latest.update({f"{name}: {key}": part for key, part in health.parts.items()})
        for title in sorted(latest.keys() - known):
            add(title)
        updater.force_update()

    return publish
