"""What the doctor saw of a running system, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    stamps: tuple[tuple[int, int], ...] = ()  # (header stamp, node clock at arrival), ns
    calibration: bool = False  # camera_info, not frames


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The newest status of a node on /diagnostics."""

    level: int
    message: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Everything the rules look at."""

    domain_id: int
    vendor: str = ""  # our own
    nodes: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = ()
    topics: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # published, with types
    sim_time: Mapping[str, bool] = field(default_factory=dict)  # use_sim_time by node
    clock_publishers: int = 0
    diagnostics: Mapping[str, Diagnosis] = field(default_factory=dict)
    fused: int = 0  # messages on perception/fused while watching
    fused_valid: int = 0
    watched_s: float = 0.0
    other_domains: tuple[int, ...] = ()  # in use on this machine
    shared_memory_problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One reason, what shows it, and the line to change."""

    code: str
    text: str
    fix: str
