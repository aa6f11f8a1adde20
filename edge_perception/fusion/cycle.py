"""What one cycle hands over: everything needed to fuse it, decided and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import (
    UNKNOWN,
    ClosedBy,
    Feature,
    Mode,
    SoundEvent,
    SourceStatus,
)
from edge_perception.fusion.config import FusionConfig
from edge_perception.fusion.model import FusionModel
from edge_perception.fusion.policy import Action, Situation, Verdict
from edge_perception.fusion.velocity import EgoStep


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """A closed cycle: fusing it is a pure function of this."""

    sequence: int
    config: FusionConfig
    opened_steady_ns: int
    closed_steady_ns: int
    closed_by: ClosedBy
    features: Mapping[str, Feature]  # contributing, by source
    stamps_ns: Mapping[str, int]  # of the same, after the time offset: what compensation needs
    stamp_ns: int  # newest of the sources that set the pace; the node clock where none contributes
    oldest_stamp_ns: int  # 0: none contributes
    sources: tuple[SourceStatus, ...]
    mode: Mode
    valid: bool
    reason: str
    deadline_s: float = UNKNOWN  # from its opening to its publication
    confidence: float = UNKNOWN  # 0 to 1
    safe_stop_reason: str = ""
    sound_events: tuple[SoundEvent, ...] = ()  # not told in an earlier cycle
    fresh: frozenset[str] = frozenset()  # reusable sources with something new
    models: tuple[FusionModel, ...] = field(default=())
    # T_to_from and elapsed s of the features that the vehicle moved on from, by source.
    motion: Mapping[str, tuple[NDArray[np.float64], float]] = field(default_factory=dict)
    ego_step: EgoStep | None = None  # since the view before; None: odometry does not say


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How much stands behind a message."""

    mode: Mode
    valid: bool
    reason: str  # why it is not valid, or not FULL


def judge(situation: Situation, verdict: Verdict) -> Judgement:
    """Decide validity from what the policy says and from the required sources.

    A source that is in time and has just nothing new (its one frame was lost, or its rate is lower
    than the output's) takes nothing away, even while it recovers; any other source that did not
    contribute is absent.
    """
    absent, lost_required = [], []
    contributes = locating = locating_wanted = False
    for config, status in zip(situation.sources, situation.statuses, strict=True):
        locating_wanted |= config.locates
        if status.contributed:
            contributes = True
            locating |= config.locates
        elif status.source not in situation.in_time:
            absent.append(f"{status.source}: {status.state.name}, {status.reason}")
            if config.required:
                lost_required.append(status.source)
    reason = "; ".join(filter(None, (*absent, verdict.limit)))
    valid = verdict.action is Action.PUBLISH
    if not contributes:
        valid = False
        reason = f"no source contributes: {reason}" if reason else "no source contributes"
    elif not locating:
        # Without a source that sees, an empty list of objects must not read as a free road.
        valid = not locating_wanted
        if not valid:
            reason = f"no source that locates objects contributes: {reason}"
    elif not valid:
        reason = f"mode {verdict.mode.name} is not valid by policy: {reason}"
    if lost_required:
        valid = False
        reason = f"required source missing ({', '.join(lost_required)}): {reason}"
    return Judgement(mode=verdict.mode, valid=valid, reason=reason)
