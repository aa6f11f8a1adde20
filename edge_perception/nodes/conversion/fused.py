"""Fused views and FusedPerception messages."""

from __future__ import annotations

from collections.abc import Mapping

from edge_perception import msg
from edge_perception.core.bounds import clipped, saturated
from edge_perception.core.conditions import of_told
from edge_perception.core.histogram import LatencyStatistics
from edge_perception.core.types import (
    ClosedBy,
    FusedView,
    FusionLevel,
    Mode,
    PublishedView,
    SourceState,
    SourceStatus,
)
from edge_perception.nodes.conversion.late import late_evidence_from_msg, late_evidence_msg
from edge_perception.nodes.conversion.parts import (
    header_msg,
    latency_from_msg,
    latency_msg,
    model_from_msg,
    model_msg,
    object_from_msg,
    object_msgs,
    sound_event_from_msg,
    sound_event_msg,
    stamp_ns,
    time_msg,
)

_MOST_REASON = 20_000  # characters: of every source one reason


def source_status_msg(status: SourceStatus) -> msg.SourceStatus:
    """Return a source's status as a message."""
    return msg.SourceStatus(
        source=status.source,
        modality=status.modality,
        state=int(status.state),
        reason=clipped(status.reason),
        warning=clipped(status.warning),
        contributed=status.contributed,
        stamp=time_msg(status.stamp_ns),
        age_s=status.age_s,
        silence_s=status.silence_s,
        rate_hz=status.rate_hz,
        received=saturated(status.received),
        dropped=saturated(status.dropped),
        refused=saturated(status.refused),
        late=saturated(status.late),
        clock_offset_s=status.clock_offset_s,
        latency=latency_msg(status.latency),
        inferred_stamp=time_msg(status.inferred_stamp_ns),
        skipped=saturated(status.skipped),
        given_up=clipped(status.given_up),
    )


def source_status_from_msg(status: msg.SourceStatus) -> SourceStatus:
    """Return a source's status."""
    return SourceStatus(
        source=status.source,
        modality=status.modality,
        state=SourceState(status.state),
        reason=status.reason,
        warning=status.warning,
        contributed=status.contributed,
        stamp_ns=stamp_ns(status.stamp),
        age_s=status.age_s,
        silence_s=status.silence_s,
        rate_hz=status.rate_hz,
        received=status.received,
        dropped=status.dropped,
        refused=status.refused,
        late=status.late,
        clock_offset_s=status.clock_offset_s,
        latency=latency_from_msg(status.latency),
        inferred_stamp_ns=stamp_ns(status.inferred_stamp),
        skipped=status.skipped,
        given_up=status.given_up,
    )


def latency_statistics_msgs(
    statistics: Mapping[str, LatencyStatistics],
) -> list[msg.LatencyStatistics]:
    """Return the statistics of every stage as messages."""
    return [
        msg.LatencyStatistics(stage=stage, **vars(found)) for stage, found in statistics.items()
    ]


def fused_msg(sent: PublishedView) -> msg.FusedPerception:
    """Return a fused view as a message; what the node counts is left at its default."""
    view = sent.view
    return msg.FusedPerception(
        header=header_msg(view.stamp_ns, view.frame_id),
        sequence=saturated(view.sequence),
        mode=int(view.mode),
        valid=view.valid,
        reason=clipped(view.reason, _MOST_REASON),
        confidence=view.confidence,
        safe_stop=bool(view.safe_stop_reason),
        safe_stop_reason=view.safe_stop_reason,
        level=int(view.level),
        level_reason=view.level_reason,
        closed_by=int(view.closed_by),
        sources=[source_status_msg(status) for status in view.sources],
        objects=object_msgs(view.objects),
        sound_events=[sound_event_msg(event) for event in view.sound_events],
        models=[model_msg(model) for model in view.models],
        wait_s=view.wait_s,
        fusion_s=view.fusion_s,
        end_to_end_s=sent.end_to_end_s,
        deadline_missed=sent.deadline_missed,
        conditions=[
            msg.Condition(name=name, confidence=sure) for name, sure in view.conditions.told
        ],
        speed_advice_mps=view.speed_advice_mps,
        late_evidence=[late_evidence_msg(late, sent.at_ns) for late in view.late_evidence],
    )


def view_from_msg(message: msg.FusedPerception) -> FusedView:
    """Return a fused view; what a message does not say is left out.

    Raises:
        ValueError: a mode, level or state of another version of the message.
    """
    return FusedView(
        stamp_ns=stamp_ns(message.header.stamp),
        oldest_stamp_ns=0,
        frame_id=message.header.frame_id,
        sequence=message.sequence,
        mode=Mode(message.mode),
        valid=message.valid,
        reason=message.reason,
        level=FusionLevel(message.level),
        level_reason=message.level_reason,
        closed_by=ClosedBy(message.closed_by),
        sources=tuple(source_status_from_msg(status) for status in message.sources),
        objects=tuple(object_from_msg(item) for item in message.objects),
        sound_events=tuple(sound_event_from_msg(event) for event in message.sound_events),
        models=tuple(model_from_msg(model) for model in message.models),
        opened_steady_ns=0,
        wait_s=message.wait_s,
        fusion_s=message.fusion_s,
        confidence=message.confidence,
        safe_stop_reason=message.safe_stop_reason,
        conditions=of_told((item.name, item.confidence) for item in message.conditions),
        speed_advice_mps=message.speed_advice_mps,
        late_evidence=tuple(late_evidence_from_msg(late) for late in message.late_evidence),
    )


def published_from_msg(message: msg.FusedPerception, at_ns: int) -> PublishedView:
    """Return a fused view that arrived at a time of the node clock.

    Raises:
        ValueError: as `view_from_msg`.
    """
    return PublishedView(
        view=view_from_msg(message),
        at_ns=at_ns,
        end_to_end_s=message.end_to_end_s,
        deadline_missed=message.deadline_missed,
    )
