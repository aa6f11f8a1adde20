"""Whether the manager that was asked for a change is still there to answer."""

from __future__ import annotations

import time
from typing import Any

_ASK_EVERY_S = 1.0
_SILENT_S = 8.0  # on a busy machine an answer takes a second or two


class ManagerWatch:
    """Asks a lifecycle node for its state, and remembers who it was.

    A killed process stays in the ROS graph for up to 20 s, and its successor has the same name: the
    graph alone tells of neither in time.
    """

    def __init__(self, node: Any, manager: str) -> None:
        """Watch the node `manager`, through `node`, which somebody spins."""
        from lifecycle_msgs.srv import GetState

        self._node, self._manager = node, manager
        self._request = GetState.Request()
        self._client = node.create_client(GetState, f"{manager}/get_state")
        self._topic = f"{manager}/transition_event"
        self._known = self._publishers()
        self._asked: Any = None
        self._looked_s = self._called_s = time.monotonic()
        self._silent_s = 0.0

    def problem(self) -> str:
        """Return why no answer can be expected any more; empty: the manager is there."""
        now_s = time.monotonic()
        # Who was stopped (Ctrl-Z, an output that nobody reads) has not listened meanwhile.
        self._silent_s += min(now_s - self._called_s, _ASK_EVERY_S)
        self._called_s = now_s
        if self._asked is not None and self._asked.done():
            self._asked, self._silent_s = None, 0.0
        if now_s > self._looked_s + _ASK_EVERY_S:
            self._looked_s = now_s
            if self._asked is None:
                self._asked = self._client.call_async(self._request)
            now = self._publishers()
            self._known = self._known or now  # it may not have been found yet
            if self._known and not self._known & now:
                return f"{self._manager} ended before the change did"
        if self._silent_s > _SILENT_S:
            return f"{self._manager} does not answer any more, for {self._silent_s:.0f} s"
        return ""

    def _publishers(self) -> set[tuple[int, ...]]:
        infos = self._node.get_publishers_info_by_topic(self._topic)
        return {tuple(info.endpoint_gid) for info in infos}
