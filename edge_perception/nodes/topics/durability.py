"""Topics whose publishers offer one of two durabilities, or both: a second subscription each.

One subscription for both would either not be given what was published before it, or not hear those
who keep nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription


class OtherDurability:
    """The second subscription of a topic, made once somebody offers what it asks for.

    Args:
        node: of the subscription.
        topic: its name.
        depth: of its history.
        durability: the other one.
        make: subscribes with a profile.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        *,
        depth: int,
        durability: DurabilityPolicy,
        make: Callable[[QoSProfile], Subscription],
    ) -> None:
        self._node, self._name, self._make = node, node.resolve_topic_name(topic), make
        self._qos = QoSProfile(depth=depth, durability=durability)
        if durability == DurabilityPolicy.VOLATILE:  # hears everybody, kept or not
            self._qos.reliability = ReliabilityPolicy.BEST_EFFORT

    @property
    def is_offered(self) -> bool:
        """Whether a publisher is there that offers it."""
        return any(
            info.qos_profile.durability == self._qos.durability
            # What was published before is given to reliable subscriptions only.
            and self._qos.reliability
            in (ReliabilityPolicy.BEST_EFFORT, info.qos_profile.reliability)
            for info in self._node.get_publishers_info_by_topic(self._name)
        )

    def subscribe(self) -> Subscription:
        """Subscribe."""
        return self._make(self._qos)
