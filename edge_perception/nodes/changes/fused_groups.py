"""The gaps between groups of frames that fusion joins, as seen in the fused views."""

from __future__ import annotations

from collections import deque

from rclpy.node import Node
from rclpy.serialization import deserialize_message

from edge_perception import msg
from edge_perception.encoders import sets_pace
from edge_perception.nodes.conversion import stamp_ns
from edge_perception.releases.change_stamp import change_stamp

_GROUPS = 6  # fused messages that tell where the gaps between groups are
_LATEST_S = 0.5  # later than the earliest stamp: a gap is not waited for any longer


class FusedGroups:
    """Keeps the newest fused views, read only when a change asks."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._fused: deque[bytes] = deque(maxlen=_GROUPS)

    def on_view(self, data: bytes) -> None:
        """Take a serialised view."""
        self._fused.append(data)

    def change_stamp_ns(self, delay_s: float, *, soonest: bool = False) -> int:
        """Return a stamp between two groups of frames that fusion joins.

        Args:
            delay_s: from now on; nodes must hear of the change before.
            soonest: anywhere between two groups, not in the middle.
        """
        groups = []
        for data in list(self._fused):
            view = deserialize_message(data, msg.FusedPerception)
            stamps = [
                stamp_ns(status.stamp)
                for status in view.sources
                if status.contributed and sets_pace(status.modality)
            ]
            if stamps:
                newest = stamp_ns(view.header.stamp)
                groups.append((min(min(stamps), newest), newest))
        earliest = self._node.get_clock().now().nanoseconds + round(delay_s * 1e9)
        latest = earliest + round(_LATEST_S * 1e9)
        return change_stamp(groups, earliest_ns=earliest, latest_ns=latest, soonest=soonest)
