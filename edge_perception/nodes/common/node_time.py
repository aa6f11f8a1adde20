"""The time of a node, cheaply."""

from __future__ import annotations

import time

from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.node import Node

STEADY = Clock(clock_type=ClockType.STEADY_TIME)  # of timers that simulated time must not stop


class NodeTime:
    """Called, it gives the node's time, ns.

    Without simulated time that is the system's, which costs a hundredth of asking rclpy; the path
    of a frame asks some thirty times.
    """

    def __init__(self, node: Node) -> None:
        self._clock = node.get_clock()
        self._simulated = self._clock.ros_time_is_active
        # Kept: rclpy forgets a callback whose handle nobody holds.
        self._changes = self._clock.create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=None, on_clock_change=True),
            post_callback=self._on_change,
        )

    def __call__(self) -> int:
        """Return the time, ns."""
        return int(self._clock.now().nanoseconds) if self._simulated else time.time_ns()

    def _on_change(self, _jump: object) -> None:
        self._simulated = self._clock.ros_time_is_active
