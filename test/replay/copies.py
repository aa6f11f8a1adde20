"""Copies of recordings, message by message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edge_perception.recordings.own_parameters import parameters_path
from edge_perception.recordings.reader import open_recording
from edge_perception.recordings.storage import RecordedMessage
from edge_perception.recordings.writer import RecordingWriter


def copy_recording(
    source: Path,
    path: Path,
    change: Callable[[RecordedMessage], RecordedMessage | None] = lambda message: message,
) -> Path:
    """Copy messages and parameters, not what else the file knows about itself; return the path.

    Args:
        source: what is copied.
        path: where to.
        change: gives what is written for a message; None: nothing.
    """
    bag = open_recording(source)
    changed = [one for message in bag.messages() if (one := change(message)) is not None]
    with RecordingWriter(path) as writer:
        for topic in bag.topics.values():
            writer.add_topic(topic)
        for one in sorted(changed, key=lambda message: message.log_time_ns):
            writer.write(one.topic, one.data, log_time_ns=one.log_time_ns)
    parameters_path(path).write_text(parameters_path(source).read_text())
    return path


def later(message: RecordedMessage, by_ns: int) -> RecordedMessage:
    """Return a message that arrived later."""
    return replace(message, log_time_ns=message.log_time_ns + by_ns)
