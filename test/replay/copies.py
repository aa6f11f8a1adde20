"""Copies of recordings, message by message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from edge_perception.recordings.own_parameters import parameters_path
from edge_perception.recordings.reader import open_recording
from edge_perception.recordings.storage import RecordedMessage
from edge_perception.recordings.writer import RecordingWriter
from edge_perception.samples.truth import ATTACHMENT

_LAST_INTENSITY = -9  # lowest byte of it in a sweep of ours: its time and `is_dense` follow


def copy_recording(
    source: Path,
    path: Path,
    change: Callable[[RecordedMessage], RecordedMessage | None] = lambda message: message,
    *,
    attachments: Mapping[str, bytes] | None = None,
) -> Path:
    """Copy messages and parameters, not what else the file knows about itself; return the path.

    Args:
        source: what is copied.
        path: where to.
        change: gives what is written for a message; None: nothing.
        attachments: JSON files that the copy carries.
    """
    bag = open_recording(source)
    changed = [one for message in bag.messages() if (one := change(message)) is not None]
    with RecordingWriter(path) as writer:
        for topic in bag.topics.values():
            writer.add_topic(topic)
        for one in sorted(changed, key=lambda message: message.log_time_ns):
            writer.write(one.topic, one.data, log_time_ns=one.log_time_ns)
        for name, data in (attachments or {}).items():
            writer.add_attachment(name, data, media_type="application/json")
    parameters_path(path).write_text(parameters_path(source).read_text())
    return path


def later(message: RecordedMessage, by_ns: int) -> RecordedMessage:
    """Return a message that arrived later."""
    return replace(message, log_time_ns=message.log_time_ns + by_ns)


def brighter(message: RecordedMessage, number: int) -> RecordedMessage:
    """Return a message; the last return of a sweep of ours is a trace brighter or darker.

    What is the same to the last bit is one witness, however often it is given.
    """
    if message.topic != "/lidar/points":
        return message
    data = bytearray(message.data)
    data[_LAST_INTENSITY] ^= number + 1
    return replace(message, data=bytes(data))


def another_drive(source: Path, path: Path, number: int, *, labels: bool = True) -> Path:
    """Copy a drive of ours, with its labels, with sweeps that are not the same to the last bit."""

    carried = {ATTACHMENT: open_recording(source).attachment(ATTACHMENT)} if labels else {}
    return copy_recording(
        source, path, lambda message: brighter(message, number), attachments=carried
    )
