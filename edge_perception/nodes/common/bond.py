"""A bond, for lifecycle managers that want one: heartbeats while the node is active.

The protocol of the package `bond`, as nav2's lifecycle manager speaks it: who has the same id on
the topic `bond` belongs together, a heartbeat with `active: false` ends it, and silence breaks it.
What becomes of the manager does not concern a node, so it only tells.
"""

from __future__ import annotations

import uuid
from typing import Any

from rclpy.node import Node

from edge_perception.core.errors import ConfigurationError
from edge_perception.nodes.common.node_time import STEADY
from edge_perception.nodes.topics.message_types import is_installed, message_type

TOPIC, TYPE = "bond", "bond/msg/Status"
_TIMEOUT_S = 4.0  # bond's own default: what the other side should allow
_DEPTH = 5


class Bond:
    """The node's side of a bond.

    Heartbeats come from the executor: a node that does not answer has none.
    """

    def __init__(self, node: Node, period_s: float) -> None:
        """Prepare a bond; nothing is told before `start`.

        Args:
            node: its name is the id of the bond.
            period_s: between heartbeats; 0: there is no bond.

        Raises:
            ConfigurationError: a bond is asked for and its message package is not installed.
        """
        if period_s and not is_installed(TYPE):
            raise ConfigurationError(
                f"{node.get_name()}: bond_period_s: expected 0, as the package bond is not "
                f"installed, got {period_s:g}"
            )
        self._node, self._period_s = node, period_s
        self._publisher: Any = None
        self._timer: Any = None
        self._instance = ""

    def start(self) -> None:
        """Tell that the node is active, again and again; each start is a bond of its own."""
        if not self._period_s or self._timer is not None:
            return
        self._instance = str(uuid.uuid4())
        self._publisher = self._publisher or self._node.create_publisher(
            message_type(TYPE), TOPIC, _DEPTH
        )
        self._timer = self._node.create_timer(self._period_s, self._tell, clock=STEADY)
        self._tell()

    def end(self) -> None:
        """Tell that it is active no more; twice is fine."""
        if self._timer is None:
            return
        self._node.destroy_timer(self._timer)
        self._timer = None
        self._tell(active=False)

    def _tell(self, *, active: bool = True) -> None:
        status = message_type(TYPE)(
            id=self._node.get_name(),
            instance_id=self._instance,
            active=active,
            heartbeat_timeout=_TIMEOUT_S,
            heartbeat_period=self._period_s,
        )
        status.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(status)
