"""How a recording is cut for replay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.schema import check_limits
from edge_perception.recordings.reader import open_recording
from edge_perception.replay.virtual import NS
from edge_perception.validation.settings import ReplaySettings

_SEGMENTS, _MIN_SEGMENT_S, _MAX_SEGMENT_S = 8, 10.0, 60.0
_LONGEST_S = 1e9


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of a recording; its outputs are those published in [start, end)."""

    index: int
    start_ns: int
    end_ns: int | None  # None: to the end
    warm_up_ns: int  # replayed before it, its outputs thrown away


def segment_length_s(settings: ReplaySettings, duration_s: float) -> float:
    """Return how long segments are; a share of a short recording, so that two cores help it.

    0: it is not cut.
    """
    if settings.segment_s is not None:
        return settings.segment_s
    return min(max(duration_s / _SEGMENTS, _MIN_SEGMENT_S), _MAX_SEGMENT_S)


def plan_segments(settings: ReplaySettings, scratch: Path | None = None) -> list[Segment]:
    """Cut a recording; depends on the settings and the recording only, not on the jobs.

    Args:
        settings: name the recording.
        scratch: folder for what must be unpacked; None: one of this process.

    Raises:
        ConfigurationError: the recording cannot be read.
    """
    bag = open_recording(Path(settings.bag), on_damage=_later, scratch=scratch)
    duration_ns = bag.end_ns - bag.start_ns
    length_s = segment_length_s(settings, duration_ns / NS)
    if length_s != 0.0 and not 1.0 <= length_s <= _LONGEST_S:  # also refuses NaN
        raise ConfigurationError(
            f"--segment: expected 1 to {_LONGEST_S:g} s, or 0 for none, got {length_s:g} s"
        )
    fields = ReplaySettings.__dataclass_fields__
    check_limits(settings.warm_up_s, fields["warm_up_s"].metadata, "--warm-up")
    length_ns = round(length_s * NS)
    # A rest of less than half a segment stays with the one before it.
    count = max(1, round(duration_ns / length_ns)) if length_ns else 1
    if settings.segment_s is None and count > bag.message_count:
        count = 1  # hardly a message a segment: the recorder's clock jumped within
    warm_up_ns = round(settings.warm_up_s * NS)
    return [
        Segment(
            index=index,
            start_ns=bag.start_ns + index * length_ns,
            end_ns=None if index == count - 1 else bag.start_ns + (index + 1) * length_ns,
            warm_up_ns=warm_up_ns if index else 0,
        )
        for index in range(count)
    ]


def _later(_text: str) -> None:
    """Leave damage to the replay, which reads all messages and counts them."""
