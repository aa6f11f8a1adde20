"""What the doctor saw of a running system, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CLOCK = "/clock"  # a cause about it explains what sources lack


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A publisher or subscription as discovery tells it."""

    node: str
    type: str
    reliable: bool
    transient_local: bool = False
    vendor: str = ""  # of the DDS implementation, from the first bytes of its GUID


@dataclass(frozen=True, kw_only=True)
class Input:
    """One topic that an encoder listens to."""

    source: str
    node: str
    topic: str
    subscription: Endpoint
    publishers: tuple[Endpoint, ...] = ()
    stamps: tuple[tuple[int, int], ...] = ()  # (header stamp, our clock at arrival), ns
    clock_ns: tuple[int, ...] = ()  # the time on /clock at each of them; 0: none was heard
    calibration: bool = False  # camera_info, not frames


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The newest status of a node on /diagnostics."""

    level: int
    message: str
    values: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)  # values when watching began
    clock_s: float = 0.0  # its stamp minus ours on arrival

    def grown(self, key: str) -> int:
        """Return how much a counter has grown while watching."""
        try:
            return int(self.values[key]) - int(self.before.get(key, self.values[key]))
        except (KeyError, ValueError):
            return 0


@dataclass(frozen=True, kw_only=True)
class SourceSeen:
    """A source in a fused view."""

    name: str
    state: str  # OK, LATE, ...
    reason: str = ""
    warning: str = ""  # what is doubtful about it although it is used


@dataclass(frozen=True, kw_only=True)
class View:
    """A fused view."""

    valid: bool
    reason: str = ""
    level: str = "FEATURE"
    level_reason: str = ""
    sources: tuple[SourceSeen, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Everything the rules look at."""

    domain_id: int
    vendor: str = ""  # our own
    nodes: tuple[str, ...] = ()  # a name that is there twice comes twice
    misnamed: tuple[str, ...] = ()  # that serve models, and are called as none of the pipeline
    namespace: str = ""  # of the pipeline, without a slash at its end
    namespaces: tuple[str, ...] = ()  # all that have one
    states: Mapping[str, str] = field(default_factory=dict)  # of the lifecycle; "" no answer
    parameters: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # by node
    inputs: tuple[Input, ...] = ()
    topics: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # published, with types
    outputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # and who publishes them
    clock_publishers: tuple[str, ...] = ()  # nodes that publish /clock
    clock: tuple[tuple[int, int], ...] = ()  # (time on /clock, our steady clock), ns
    diagnostics: Mapping[str, Diagnosis] = field(default_factory=dict)
    views: tuple[View, ...] = ()  # on perception/fused while watching
    watched_s: float = 0.0
    other_domains: tuple[int, ...] = ()  # in use on this machine
    shared_memory_problem: str = ""

    @property
    def clock_rate(self) -> float | None:
        """How fast the time on /clock went while watching, 1: as ours; None: it tells nothing."""
        if len(self.clock) < 2 or self.clock[-1][1] == self.clock[0][1]:
            return None
        (first_ns, began_ns), (last_ns, ended_ns) = self.clock[0], self.clock[-1]
        return (last_ns - first_ns) / (ended_ns - began_ns)

    @property
    def clock_stands(self) -> bool:
        """Whether somebody publishes /clock, and its time did not move while watching."""
        told = {time_ns for time_ns, _ in self.clock}
        return bool(self.clock_publishers) and self.watched_s > 0.0 and len(told) < 2

    @property
    def fused(self) -> int:
        """Number of fused views."""
        return len(self.views)

    @property
    def fused_valid(self) -> int:
        """Number of them that are valid."""
        return sum(view.valid for view in self.views)

    def simulated(self, node: str) -> bool:
        """Whether a node follows /clock."""
        return bool(self.parameters.get(node, {}).get("use_sim_time"))

    def of(self, node: str) -> Diagnosis | None:
        """Return what a node says of itself; None: nothing while watching."""
        return self.diagnostics.get(node.lstrip("/"))


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One reason, what shows it, and the line to change."""

    code: str
    text: str
    fix: str
    about: str = ""  # source or node that it explains
