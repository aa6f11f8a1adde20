"""The gaps between groups of frames that fusion joins, as seen in the fused views."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from rclpy.task import Future

from edge_perception.encoders import sets_pace
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.conversion import stamp_ns
from edge_perception.nodes.conversion.fused_reading import read_outline, read_view
from edge_perception.releases.change_stamp import change_stamp

_GROUPS = 6  # fused messages that tell where the gaps between groups are
_ALIVE_NS = 1_000_000_000  # without a view for longer there is no output that work could disturb
_LATEST_S = 0.5  # later than the earliest stamp: a gap is not waited for any longer


class FusedGroups:
    """Keeps the newest fused views, read only when a change asks."""

    def __init__(self, node: PerceptionNode) -> None:
        self._node = node
        self._fused: deque[bytes] = deque(maxlen=_GROUPS)
        self._next: list[Future] = []  # that wait for a view
        self._came_ns = -_ALIVE_NS  # when the newest one came, steady clock

    def on_view(self, data: bytes) -> None:
        """Take a serialised view; from any thread."""
        self._fused.append(data)
        self._came_ns = self._node.clock.now().steady_ns
        while self._next:
            future = self._next.pop()
            if not future.cancelled():  # it was given up
                future.set_result(None)

    def next_view(self) -> Future | None:
        """Return what is done once the next view has come: its frames are worked off then.

        None: no view came lately, and none is waited for.
        """
        if self._node.clock.now().steady_ns >= self._came_ns + _ALIVE_NS:
            return None
        future: Future = Future(executor=self._node.executor)
        # A future without a callback does not wake the executor.
        future.add_done_callback(lambda _: None)
        self._next.append(future)
        return future

    def rests_on(self, models: Collection[str]) -> bool:
        """Whether the newest view has output of one of these models, by digest; False: no view."""
        if not self._fused:
            return False
        return any(model.sha256 in models for model in read_view(self._fused[-1]).models)

    def change_stamp_ns(self, delay_s: float, *, soonest: bool = False) -> int:
        """Return a stamp between two groups of frames that fusion joins.

        Args:
            delay_s: from now on; nodes must hear of the change before.
            soonest: anywhere between two groups, not in the middle.
        """
        groups = []
        for data in list(self._fused):
            view = read_outline(data)  # of a set that sees too much, objects take 3 ms a view
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
