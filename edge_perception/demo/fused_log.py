"""The fused messages of a run, with their time of arrival."""

from __future__ import annotations

from pathlib import Path

from edge_perception.core.types import PublishedView
from edge_perception.recordings.reader import Recording


def read_fused(path: Path, topic: str) -> list[PublishedView]:
    """Read all fused messages of a recording; `at_ns` is the recorder's time of arrival."""
    from rclpy.serialization import deserialize_message

    from edge_perception.msg import FusedPerception
    from edge_perception.nodes.conversion import published_from_msg

    return [
        published_from_msg(deserialize_message(message.data, FusedPerception), message.log_time_ns)
        for message in Recording(path).messages([topic])
    ]
