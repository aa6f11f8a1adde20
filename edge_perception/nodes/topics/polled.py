"""Topics that are read now and then, not message by message.

To wake a thread for every message costs more than to read most of them; who only counts can wait.
Meanwhile the middleware keeps as many as the depth of the profile says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from edge_perception.nodes.topics.receiver import BesideExecutor


class PolledTopics:
    """Subscriptions of one node whose messages wait until `take`. For one thread."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._group = BesideExecutor()
        self._subscriptions: list[Subscription] = []
        self._taken_ns = time.time_ns()
        self.waited_ns = 0  # how long the message that a callback has now waited for `take`

    def subscribe(
        self, message: type, topic: str, callback: Callable[[bytes], None], qos: QoSProfile
    ) -> None:
        """Subscribe; the callback gets the bytes of each message, in `take`."""
        subscription: Any = self._node.create_subscription(
            message, topic, callback, qos, raw=True, callback_group=self._group
        )
        self._subscriptions.append(subscription)

    def take(self) -> None:
        """Give what came since the last time to the callbacks, topic by topic."""
        # The middleware tells arrivals by the system's clock, which may be set meanwhile: no
        # message has waited for longer than since the last time.
        now_ns, before_ns = time.time_ns(), self._taken_ns
        self._taken_ns = now_ns
        for subscription in self._subscriptions:
            # No more than can have waited: a publisher that is faster than us must not keep us.
            for _ in range(max(subscription.qos_profile.depth, 1)):
                taken = subscription.handle.take_message(subscription.msg_type, True)
                if taken is None:
                    break
                arrived_ns = taken[1].get("received_timestamp") or now_ns  # 0: it does not tell
                self.waited_ns = min(max(now_ns - arrived_ns, 0), max(now_ns - before_ns, 0))
                subscription.callback(taken[0])

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
