"""Writes recordings: MCAP with the ROS 2 profile, readable by rosbag2, Foxglove and rosbags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from mcap.writer import CompressionType, Writer

from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.definitions import full_definition
from edge_perception.recordings.qos import RELIABLE, TopicQos, qos_to_yaml

_COMPRESSION = {
    "none": CompressionType.NONE,
    "lz4": CompressionType.LZ4,
    "zstd": CompressionType.ZSTD,
}


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic of a recording."""

    name: str  # as on the wire, for example /lidar/points
    type: str  # package/msg/Name
    qos: TopicQos = RELIABLE
    definition: str = ""  # full ros2msg text; empty: that of the installed package


class RecordingWriter:
    """Writes serialised messages to one file as they come; a context manager.

    The file appears under its name only when it is complete. Not thread-safe.
    """

    def __init__(
        self, path: Path, *, compression: str = "lz4", chunk_bytes: int = 4 * 1024 * 1024
    ) -> None:
        if compression not in _COMPRESSION:
            raise ConfigurationError(
                f"compression: expected one of {', '.join(_COMPRESSION)}, got '{compression}'"
            )
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._file: BinaryIO = self._partial.open("wb")
        self._writer: Any = Writer(
            self._file, chunk_size=chunk_bytes, compression=_COMPRESSION[compression]
        )
        self._writer.start(profile="ros2", library="edge_perception")
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._sequences: dict[str, int] = {}

    def add_topic(self, topic: Topic) -> None:
        """Declare a topic before its first message.

        Raises:
            ConfigurationError: the type's definition is not installed.
        """
        if topic.type not in self._schemas:
            self._schemas[topic.type] = self._writer.register_schema(
                topic.type, "ros2msg", (topic.definition or full_definition(topic.type)).encode()
            )
        self._channels[topic.name] = self._writer.register_channel(
            topic.name,
            "cdr",
            self._schemas[topic.type],
            {"offered_qos_profiles": qos_to_yaml(topic.qos)},
        )
        self._sequences[topic.name] = 0

    def write(
        self, topic: str, data: bytes, *, log_time_ns: int, publish_time_ns: int | None = None
    ) -> None:
        """Append one message.

        Args:
            topic: name of a declared topic.
            data: the message in CDR, with its encapsulation header.
            log_time_ns: when it arrived; the player keeps to these times.
            publish_time_ns: when it was sent; None: the same.
        """
        if topic not in self._channels:
            raise ConfigurationError(
                f"{self._path.name}: expected a topic of {sorted(self._channels)}, got '{topic}'"
            )
        self._writer.add_message(
            self._channels[topic],
            log_time=log_time_ns,
            data=data,
            publish_time=log_time_ns if publish_time_ns is None else publish_time_ns,
            sequence=self._sequences[topic],
        )
        self._sequences[topic] += 1

    def add_attachment(self, name: str, data: bytes, *, media_type: str, time_ns: int = 0) -> None:
        """Store a file inside the recording."""
        self._writer.add_attachment(time_ns, time_ns, name, media_type, data)

    def add_metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Store named texts inside the recording."""
        self._writer.add_metadata(name, dict(values))

    def close(self) -> None:
        """Write the index and give the file its name."""
        self._writer.finish()
        self._file.close()
        self._partial.replace(self._path)

    def discard(self) -> None:
        """Stop and remove what was written."""
        try:
            self._file.close()  # writes what is left: a full disk says so once more
        finally:
            self._partial.unlink(missing_ok=True)

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()
