"""The fused messages of a run, as dataclasses with their time of arrival."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_perception.core.types import (
    ClosedBy,
    DetectedObject,
    FrameLatency,
    FusionLevel,
    Mode,
    ModelVersion,
    SoundEvent,
    SourceState,
    SourceStatus,
)
from edge_perception.recordings.reader import Recording


@dataclass(frozen=True, kw_only=True)
class FusedEntry:
    """One fused message."""

    arrival_ns: int  # node clock of the recorder
    stamp_ns: int
    sequence: int
    mode: Mode
    valid: bool
    level: FusionLevel
    closed_by: ClosedBy
    sources: tuple[SourceStatus, ...]
    objects: tuple[DetectedObject, ...] = ()
    sound_events: tuple[SoundEvent, ...] = ()
    models: tuple[ModelVersion, ...] = ()
    wait_s: float
    fusion_s: float
    end_to_end_s: float
    deadline_missed: bool

    def source(self, name: str) -> SourceStatus | None:
        """Return the status of a source."""
        return next((status for status in self.sources if status.source == name), None)


def read_fused(path: Path, topic: str) -> list[FusedEntry]:
    """Read all fused messages of a recording."""
    from rclpy.serialization import deserialize_message

    from edge_perception.msg import FusedPerception

    return [
        entry_from_msg(deserialize_message(message.data, FusedPerception), message.log_time_ns)
        for message in Recording(path).messages([topic])
    ]


def entry_from_msg(message: Any, arrival_ns: int) -> FusedEntry:
    """Convert a FusedPerception message."""
    from edge_perception.nodes.conversion import (
        model_from_msg,
        object_from_msg,
        sound_event_from_msg,
        stamp_ns,
    )

    return FusedEntry(
        arrival_ns=arrival_ns,
        stamp_ns=stamp_ns(message.header.stamp),
        sequence=message.sequence,
        mode=Mode(message.mode),
        valid=message.valid,
        level=FusionLevel(message.level),
        closed_by=ClosedBy(message.closed_by),
        sources=tuple(_status(status) for status in message.sources),
        objects=tuple(object_from_msg(item) for item in message.objects),
        sound_events=tuple(sound_event_from_msg(event) for event in message.sound_events),
        models=tuple(model_from_msg(model) for model in message.models),
        wait_s=message.wait_s,
        fusion_s=message.fusion_s,
        end_to_end_s=message.end_to_end_s,
        deadline_missed=message.deadline_missed,
    )


def _status(status: Any) -> SourceStatus:
    from edge_perception.nodes.conversion import latency_from_msg, stamp_ns

    latency: FrameLatency = latency_from_msg(status.latency)
    return SourceStatus(
        source=status.source,
        modality=status.modality,
        state=SourceState(status.state),
        reason=status.reason,
        contributed=status.contributed,
        stamp_ns=stamp_ns(status.stamp),
        age_s=status.age_s,
        silence_s=status.silence_s,
        rate_hz=status.rate_hz,
        received=status.received,
        dropped=status.dropped,
        refused=status.refused,
        late=status.late,
        latency=latency,
    )
