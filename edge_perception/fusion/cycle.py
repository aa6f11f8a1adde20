"""What one cycle hands over: everything needed to fuse it, decided and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.conditions import NOT_KNOWN, Conditions
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
from edge_perception.fusion.track_kinds import CAMERA
from edge_perception.fusion.tracks import EgoPose


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """A closed cycle: fusing it is a pure function of this."""

    sequence: int
    config: FusionConfig
    opened_steady_ns: int
    closed_steady_ns: int
    closed_by: ClosedBy
    features: Mapping[str, Feature]  # contributing, by source
    # Of the frames that a model ran on, after the time offset: what compensation needs.
    stamps_ns: Mapping[str, int]
    stamp_ns: int  # newest of the sources that set the pace; the node clock where none contributes
    oldest_stamp_ns: int  # of a frame that a model ran on; 0: none contributes
    sources: tuple[SourceStatus, ...]
    mode: Mode
    valid: bool
    reason: str
    deadline_s: float = UNKNOWN  # from its opening to its publication
    confidence: float = UNKNOWN  # 0 to 1
    safe_stop_reason: str = ""
    conditions: Conditions = NOT_KNOWN
    min_score: float = 0.0  # objects below are left out, by the policy for the conditions
    speed_advice_mps: float = UNKNOWN
    # Bundle that should serve and the condition, by source: advice for the encoders.
    variants: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    sound_events: tuple[SoundEvent, ...] = ()  # not told in an earlier cycle
    fresh: frozenset[str] = frozenset()  # reusable sources with something new
    models: tuple[FusionModel, ...] = field(default=())
    # T_to_from and elapsed s of the features that the vehicle moved on from, by source.
    motion: Mapping[str, tuple[NDArray[np.float64], float]] = field(default_factory=dict)
    pose: EgoPose | None = None  # of the base at `stamp_ns`; None: odometry does not say

    @property
    def placed_ns(self) -> int:
        """Stamp of the newest evidence that places objects; 0: nobody who could contributes.

        Where something better than a camera contributes, cameras only add to what that places.
        """
        found: dict[bool, int] = {}
        for source in self.config.sources:
            if source.locates and source.source in self.stamps_ns:
                coarse = source.modality == CAMERA
                stamp_ns = self.stamps_ns[source.source]
                found[coarse] = max(found.get(coarse, 0), stamp_ns)
        return found.get(False, found.get(True, 0))


def cycle_of(
    config: FusionConfig,
    features: Mapping[str, Feature],
    *,
    models: tuple[FusionModel, ...] = (),
    stamps_ns: Mapping[str, int] | None = None,
    mode: Mode = Mode.FULL,
) -> Cycle:
    """Return a cycle of features alone, without clocks and states of sources.

    Args:
        config: of fusion.
        features: by source; at least one.
        models: fusion models; none: the decisions of the encoders are fused.
        stamps_ns: of each feature; None: its own.
        mode: of the view.
    """
    stamps = stamps_ns or {name: feature.stamp_ns for name, feature in features.items()}
    return Cycle(
        sequence=0,
        config=config,
        opened_steady_ns=0,
        closed_steady_ns=0,
        closed_by=ClosedBy.COMPLETE,
        features=features,
        stamps_ns=stamps,
        stamp_ns=max(stamps.values()),
        oldest_stamp_ns=min(stamps.values()),
        sources=(),
        mode=mode,
        valid=True,
        reason="",
        sound_events=tuple(e for f in features.values() for e in f.sound_events),
        models=models,
    )
