"""Fused views from their bytes, without their objects: who counts and times needs only how many."""

from __future__ import annotations

import functools
from typing import Any

from rclpy.serialization import deserialize_message

from edge_perception import msg
from edge_perception.cdr import CdrReader, UnsupportedCdrError
from edge_perception.nodes.topics.message_types import message_type


def read_view(data: bytes) -> Any:
    """Return a fused view; its objects are only counted: to read them costs most."""
    try:
        return _reader()(data)
    except UnsupportedCdrError:  # an encapsulation of another middleware
        return deserialize_message(data, msg.FusedPerception)


@functools.cache
def _reader() -> CdrReader:
    counted = ("objects", "sound_events", "latency")
    return CdrReader("edge_perception/msg/FusedPerception", message_type, counted=counted)
