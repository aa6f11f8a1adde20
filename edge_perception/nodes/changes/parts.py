"""The parts that the requests and changes of the model manager work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_perception.nodes.changes.fused_groups import FusedGroups
from edge_perception.nodes.changes.model_client import ModelClient
from edge_perception.nodes.changes.model_events import ModelEvents
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.releases.admission import AdmissionLimits
from edge_perception.releases.managed import ManagedStore
from edge_perception.releases.options import ManagerOptions
from edge_perception.releases.slo import Slo

_LONGEST_CYCLE_S = 0.2  # of the output that work waits for


@dataclass(frozen=True, kw_only=True)
class ManagerParts:
    """What a change needs."""

    node: PerceptionNode
    client: ModelClient  # the nodes that serve models
    managed: ManagedStore
    events: ModelEvents
    groups: FusedGroups  # when a change may take effect
    options: Callable[[], ManagerOptions]
    slo: Callable[[], Slo]  # what the operator asks
    limits: Callable[[], AdmissionLimits]  # what a candidate may cost

    async def after_view(self) -> None:
        """Wait for the next fused view where views come: the cores are free for a moment then."""
        view = self.groups.next_view()
        if view is not None:
            await self.client.at_most(view, _LONGEST_CYCLE_S)

    def steady_ns(self) -> int:
        """Return the steady clock."""
        return int(self.node.clock.now().steady_ns)
