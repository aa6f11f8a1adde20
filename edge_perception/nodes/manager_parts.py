"""Options of the model manager, and the parts that its requests and changes work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_perception.core.parameter import parameter
from edge_perception.nodes.base import PerceptionNode
from edge_perception.nodes.fused_groups import FusedGroups
from edge_perception.nodes.model_client import ModelClient
from edge_perception.nodes.model_events import ModelEvents
from edge_perception.releases.admission import AdmissionLimits
from edge_perception.releases.managed import ManagedStore


@dataclass(frozen=True, kw_only=True)
class ManagerOptions:
    """What the manager may do, and how long it waits."""

    model_folders: tuple[str, ...] = parameter((), "folders searched before the installed ones")
    model_store: str = parameter("", "folder of releases; without it models cannot be changed")
    trust_file: str = parameter(
        "", "trusted keys, of `edge-perception models keygen`; empty: no change"
    )
    answer_timeout_s: float = parameter(
        2.0, "wait for a node's answer", unit="s", low=0.1, high=60.0
    )
    prepare_timeout_s: float = parameter(
        30.0, "wait for a node to load a model", unit="s", low=1.0, high=600.0
    )
    commit_delay_s: float = parameter(
        0.1,
        "a new model serves frames with stamps this much later than its commit",
        unit="s",
        low=0.0,
        high=10.0,
    )
    rollback_delay_s: float = parameter(
        0.03,
        "the same for a rollback to models that are still loaded",
        unit="s",
        low=0.0,
        high=10.0,
    )


@dataclass(frozen=True, kw_only=True)
class ManagerParts:
    """What a change needs."""

    node: PerceptionNode
    client: ModelClient  # the nodes that serve models
    managed: ManagedStore
    events: ModelEvents
    groups: FusedGroups  # when a change may take effect
    options: Callable[[], ManagerOptions]
    limits: Callable[[], AdmissionLimits]  # what a candidate may cost

    def steady_ns(self) -> int:
        """Return the steady clock."""
        return int(self.node.clock.now().steady_ns)
