"""What the nodes serve, as they said last."""

from __future__ import annotations

from edge_perception.core.errors import SwapError
from edge_perception.nodes.change import Serving
from edge_perception.nodes.manager_parts import ManagerParts


class ServingNodes:
    """Asks all nodes, and keeps their answers until a change makes them outdated."""

    def __init__(self, parts: ManagerParts) -> None:
        self._parts = parts
        self._latest: Serving | None = None
        self._commits = 0  # an answer from before one is outdated

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

    def outdate(self) -> None:
        """Note that the nodes were told to change."""
        self._latest = None
        self._commits += 1
