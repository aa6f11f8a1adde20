"""Reads recordings as a stream: one chunk of the file is in memory at a time."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mcap.exceptions import McapError
from mcap.reader import SeekingReader
from mcap.summary import Summary

from edge_perception.core.errors import ConfigurationError, UnknownNameError
from edge_perception.recordings.qos import qos_from_yaml
from edge_perception.recordings.writer import Topic


@dataclass(frozen=True, kw_only=True)
class RecordedMessage:
    """One message of a recording."""

    topic: str
    type: str
    log_time_ns: int  # arrival
    publish_time_ns: int
    data: bytes  # CDR with encapsulation header


def recording_file(path: Path) -> Path:
    """Return the file of a recording: itself, or the one MCAP file of a rosbag2 folder.

    Raises:
        ConfigurationError: a folder holds none or several.
    """
    if not path.is_dir():
        return path
    files = sorted(path.glob("*.mcap"))
    if len(files) != 1:
        raise ConfigurationError(
            f"{path}: expected a folder with one .mcap file, got {[f.name for f in files]}"
        )
    return files[0]


class Recording:
    """An indexed MCAP file of ROS 2 messages, or the rosbag2 folder that holds it.

    Raises:
        ConfigurationError: the file is missing, damaged, has no index or holds no CDR messages.
    """

    def __init__(self, path: Path) -> None:
        path = self.path = recording_file(path)
        try:
            with path.open("rb") as file:
                summary = SeekingReader(file).get_summary()
        except (OSError, McapError, ValueError, struct.error) as error:
            raise ConfigurationError(f"{path}: expected an MCAP recording: {error}") from error
        if summary is None or summary.statistics is None:
            raise ConfigurationError(
                f"{path}: expected an MCAP with an index, got none; was the recorder killed? "
                "`mcap recover` repairs it"
            )
        self._summary: Summary = summary
        self.message_count = summary.statistics.message_count
        self.start_ns = summary.statistics.message_start_time
        self.end_ns = summary.statistics.message_end_time
        self.topics = {topic.name: topic for topic in self._read_topics()}

    def _read_topics(self) -> Iterator[Topic]:
        for channel in self._summary.channels.values():
            schema = self._summary.schemas.get(channel.schema_id)
            if channel.message_encoding != "cdr" or schema is None:
                raise ConfigurationError(
                    f"{self.path}: topic {channel.topic}: expected CDR with a schema, "
                    f"got '{channel.message_encoding}'"
                )
            yield Topic(
                name=channel.topic,
                type=schema.name,
                qos=qos_from_yaml(channel.metadata.get("offered_qos_profiles", "")),
            )

    @property
    def duration_s(self) -> float:
        """First to last arrival."""
        return (self.end_ns - self.start_ns) * 1e-9

    def count(self, topic: str) -> int:
        """Return the number of messages of a topic."""
        assert self._summary.statistics is not None
        counts = self._summary.statistics.channel_message_counts
        return sum(
            counts.get(key, 0)
            for key, channel in self._summary.channels.items()
            if channel.topic == topic
        )

    def messages(
        self,
        topics: Collection[str] | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[RecordedMessage]:
        """Yield messages in order of arrival.

        Args:
            topics: only these; None: all.
            start_ns: first arrival wanted; None: from the start.
            end_ns: arrivals before this; None: to the end.

        Raises:
            UnknownNameError: the recording has no such topic.
            ConfigurationError: the file is damaged.
        """
        for name in topics or ():
            if name not in self.topics:
                raise UnknownNameError(kind="topic", name=name, known=list(self.topics))
        with self.path.open("rb") as file:
            found = SeekingReader(file).iter_messages(
                topics, starting_at=start_ns, ending_before=end_ns
            )
            try:
                for schema, channel, message in found:
                    yield RecordedMessage(
                        topic=channel.topic,
                        type=schema.name if schema else self.topics[channel.topic].type,
                        log_time_ns=message.log_time,
                        publish_time_ns=message.publish_time,
                        data=message.data,
                    )
            except McapError as error:
                raise ConfigurationError(f"{self.path}: damaged: {error}") from error

    def attachment(self, name: str) -> bytes:
        """Return a file stored inside the recording.

        Raises:
            UnknownNameError: there is no such file.
        """
        known = []
        with self.path.open("rb") as file:
            for attachment in SeekingReader(file).iter_attachments():
                if attachment.name == name:
                    return attachment.data
                known.append(attachment.name)
        raise UnknownNameError(kind=f"attachment of {self.path}", name=name, known=known)

    def metadata(self, name: str) -> Mapping[str, str]:
        """Return named texts stored inside the recording.

        Raises:
            UnknownNameError: there are none of that name.
        """
        known = []
        with self.path.open("rb") as file:
            for metadata in SeekingReader(file).iter_metadata():
                if metadata.name == name:
                    return metadata.metadata
                known.append(metadata.name)
        raise UnknownNameError(kind=f"metadata of {self.path}", name=name, known=known)
