"""What the nodes serve, as they said last."""

from __future__ import annotations

from collections.abc import Collection

from edge_perception.core.errors import SwapError
from edge_perception.nodes.changes.change import Serving
from edge_perception.nodes.changes.parts import ManagerParts

_DISCOVERY_NS = 6_000_000_000  # since the start of the manager; also on a busy machine
_QUIET_NS = 500_000_000  # no node more for so long: the others are found
_AGAIN_S = 0.05


class ServingNodes:
    """Asks all nodes, and keeps their answers until a change makes them outdated."""

    def __init__(self, parts: ManagerParts) -> None:
        self._parts = parts
        self._latest: Serving | None = None
        self._commits = 0  # an answer from before one is outdated
        self._started_ns = self._changed_ns = 0  # steady clock
        self._names: list[str] = []

    @property
    def latest(self) -> Serving | None:
        """What they said since the last change; None: they must be asked."""
        return self._latest

    async def look(self) -> Serving:
        """Ask what serves now.

        Raises:
            SwapError: a node that serves models does not answer.
        """
        commits = self._commits
        timeout_s = self._parts.options().answer_timeout_s
        infos, silent = await self._parts.client.versions(timeout_s)
        if silent:
            raise SwapError(f"nodes that do not answer: {', '.join(silent)}")
        serving = Serving.of(infos)
        if commits == self._commits:
            self._latest = serving
        return serving

    def watch(self) -> bool:
        """Note which nodes are known; False: those that run when the manager starts are found.

        Called again and again after its start.
        """
        now_ns, names = self._parts.steady_ns(), self._parts.client.nodes()
        self._started_ns = self._started_ns or now_ns
        if names != self._names:
            self._names, self._changed_ns = names, now_ns
        return now_ns < self._started_ns + _DISCOVERY_NS

    async def found(self, expected: Collection[str]) -> Serving:
        """Ask what serves now; right after the start of the manager, once its nodes are found.

        Args:
            expected: roles that are served on this machine as far as it is known.

        Raises:
            SwapError: a node that serves models does not answer.
        """
        while self.watch():
            quiet = self._parts.steady_ns() > self._changed_ns + _QUIET_NS
            if quiet and self._names:
                serving = await self.look()
                if set(expected) <= set(serving.nodes):
                    return serving
            await self._parts.client.sleep(_AGAIN_S)
        return await self.look()

    def outdate(self) -> None:
        """Note that the nodes were told to change."""
        self._latest = None
        self._commits += 1
