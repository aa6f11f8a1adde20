"""The fused view of a closed cycle: what it says beside its objects. The last step of a frame."""

from __future__ import annotations

from dataclasses import replace

from edge_perception.core.bounds import clipped
from edge_perception.core.types import (
    UNKNOWN,
    DetectedObject,
    FusedView,
    FusionLevel,
    Instant,
    Mode,
    ModelVersion,
    PublishedView,
    SoundEvent,
)
from edge_perception.fusion.config import NS
from edge_perception.fusion.cycle import Cycle


def view_of(
    cycle: Cycle,
    *,
    objects: tuple[DetectedObject, ...] = (),
    sound_events: tuple[SoundEvent, ...] = (),
    models: tuple[ModelVersion, ...] = (),
    level: FusionLevel = FusionLevel.NONE,
    level_reason: str = "",
) -> FusedView:
    """Return the view of a cycle; `fusion_s` is left to the caller, who has a clock."""
    return FusedView(
        stamp_ns=cycle.stamp_ns,
        oldest_stamp_ns=cycle.oldest_stamp_ns,
        frame_id=cycle.config.cycle.base_frame,
        sequence=cycle.sequence,
        mode=cycle.mode,
        valid=cycle.valid,
        reason=cycle.reason,
        level=level,
        level_reason=clipped(level_reason),
        closed_by=cycle.closed_by,
        sources=cycle.sources,
        objects=tuple(item for item in objects if item.score >= cycle.min_score),
        sound_events=sound_events,
        models=models,
        opened_steady_ns=cycle.opened_steady_ns,
        wait_s=(cycle.closed_steady_ns - cycle.opened_steady_ns) / NS,
        fusion_s=UNKNOWN,
        deadline_s=cycle.deadline_s,
        confidence=cycle.confidence,
        safe_stop_reason=cycle.safe_stop_reason,
        conditions=cycle.conditions,
        speed_advice_mps=cycle.speed_advice_mps,
    )


def failed_view(cycle: Cycle, error: Exception) -> FusedView:
    """Return the view of a cycle that could not be fused: it says so, and the output goes on."""
    reason = clipped(f"fusion failed: {type(error).__name__}: {error}")
    silent = tuple(replace(status, contributed=False) for status in cycle.sources)
    return replace(
        view_of(cycle, level_reason=reason),
        mode=Mode.NONE,
        valid=False,
        reason=reason,
        confidence=0.0,
        oldest_stamp_ns=0,
        sources=silent,
    )


def published(view: FusedView, now: Instant) -> PublishedView:
    """Return a view as it is sent at a moment."""
    oldest_ns = view.oldest_stamp_ns
    return PublishedView(
        view=view,
        at_ns=now.node_ns,
        end_to_end_s=(now.node_ns - oldest_ns) / NS if oldest_ns else UNKNOWN,
        deadline_missed=(now.steady_ns - view.opened_steady_ns) / NS > view.deadline_s,
    )
