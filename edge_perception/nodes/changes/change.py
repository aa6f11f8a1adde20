"""What a change of models is made of."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge_perception import msg
from edge_perception.core.errors import AdmissionError, SwapError
from edge_perception.models.loading import ModelOptions
from edge_perception.nodes.changes.model_events import Told
from edge_perception.nodes.conversion import model_msg
from edge_perception.nodes.links.model_info import KEPT
from edge_perception.releases.admission import options_of
from edge_perception.releases.breaker import Watched
from edge_perception.releases.journal import Record
from edge_perception.releases.shelf import Release
from edge_perception.releases.slots import ModelSet

LATE = "late"  # event: a node did not follow a change that is decided
HEARD_LATE = "heard late"  # event: it followed, and frames from the stamp on were served before


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What the nodes said that they serve."""

    nodes: dict[str, str]  # node by role
    versions: dict[str, msg.ModelVersion]  # by role
    runs_as: dict[str, str]  # by role, as `model_info` says it
    kept: dict[str, str]  # digest that left and is still loaded, by role
    memory_mb: float = 0.0  # resident, of the processes of the nodes; 0: not known

    @classmethod
    def of(cls, infos: Sequence[msg.ModelInfo]) -> Serving:
        """Sort the answers of all nodes."""
        current = [info for info in infos if info.slot != KEPT]
        return cls(
            nodes={info.model.role: info.node for info in current},
            versions={info.model.role: info.model for info in current},
            runs_as={info.model.role: info.runs_as for info in current},
            kept={info.model.role: info.model.sha256 for info in infos if info.slot == KEPT},
            memory_mb=sum({i.process_id: i.process_memory_mb for i in current}.values()),
        )

    def options(self, role: str) -> ModelOptions:
        """Return how the node of a role runs models.

        Raises:
            AdmissionError: what it says of that is nothing of the kind.
        """
        text, where = self.runs_as.get(role, ""), f"{self.nodes.get(role, role)}: runs_as"
        try:
            return options_of(json.loads(text) if text else {}, where)
        except ValueError as error:
            raise AdmissionError(f"{where}: expected JSON, got {text[:80]!r}") from error

    @property
    def models(self) -> dict[str, str]:
        """Digest by role."""
        return {role: model.sha256 for role, model in self.versions.items()}

    def differing(self, models: ModelSet) -> dict[str, str]:
        """Return the models of a set that somebody should serve and does not."""
        return {
            role: sha256
            for role, sha256 in models.items()
            if role in self.versions and self.versions[role].sha256 != sha256
        }

    def absent(self, models: ModelSet) -> dict[str, str]:
        """Return the models of a set that nobody is here to serve."""
        return {role: sha256 for role, sha256 in models.items() if role not in self.nodes}


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asked for a change."""

    told: Told | None = None  # takes every step
    cancelled: Callable[[], bool] = lambda: False


@dataclass(kw_only=True)
class Change:
    """A change under way."""

    transaction_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    record: Record | None = None
    serving: Serving = field(default_factory=lambda: Serving.of(()))  # before
    prepared: dict[str, str] = field(default_factory=dict)  # the node's transaction by role
    releases: dict[str, Release] = field(default_factory=dict)
    back: bool = False  # to models that served before
    spaces_change: bool = False
    caller: Caller = field(default_factory=Caller)
    # Of nodes that are not here now, by role: what is current, and what they are to start with.
    absent: ModelSet = field(default_factory=dict)
    absent_after: ModelSet = field(default_factory=dict)
    watched: Watched | None = None  # what is watched once it is decided
    waits_for: str = ""  # for people
    stopped: str = ""  # why it must not go on; empty: it may

    @property
    def begun(self) -> Record:
        """Its newest step in the journal.

        Raises:
            SwapError: it has none.
        """
        if self.record is None:
            raise SwapError(f"change {self.transaction_id} is not in the journal")
        return self.record

    @property
    def nodes(self) -> dict[str, str]:
        """Node by role."""
        return self.serving.nodes

    @property
    def before(self) -> ModelSet:
        """The set that serves."""
        return {**self.absent, **self.serving.models}

    @property
    def after(self) -> dict[str, str]:
        """The set that is to serve."""
        return {
            **self.before,
            **self.absent_after,
            **{role: r.sha256 for role, r in self.releases.items()},
        }

    @property
    def warm(self) -> bool:
        """Whether all that is to serve is loaded already, so that only a commit is missing."""
        kept = self.serving.kept
        return self.back and all(kept.get(role) == r.sha256 for role, r in self.releases.items())

    def check(self) -> None:
        """Raise SwapError where the change must not go on."""
        if self.stopped:
            raise SwapError(self.stopped)
        if self.caller.cancelled():
            raise SwapError("cancelled by the caller")


def versions_of(change: Change) -> list[msg.ModelVersion]:
    """Return the models that are to serve, as messages."""
    return [model_msg(r.bundle.version_for(role)) for role, r in change.releases.items()]
