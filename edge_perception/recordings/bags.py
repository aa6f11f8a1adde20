"""Any recording as one stream: MCAP files whole or damaged, and rosbag2 folders and files."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from mcap.exceptions import McapError
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader

from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.reader import RecordedMessage, Recording
from edge_perception.recordings.writer import Topic


class Bag(Protocol):
    """A recording, read in the order of arrival; ties by topic, then as recorded."""

    path: Path
    start_ns: int
    end_ns: int
    message_count: int

    @property
    def topics(self) -> Mapping[str, Topic]:
        """Topics by name."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the file."""
        ...

    def types_of(self, topic: str) -> set[str]:
        """Return the types a topic has; more than one where it changes within the file."""
        ...

    def messages(
        self,
        topics: Collection[str] | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[RecordedMessage]:
        """Yield messages; of these topics, arrived from `start_ns` and before `end_ns`."""
        ...

    def definitions(self) -> dict[str, tuple[str, str]]:
        """Return format and text of the message definitions by type."""
        ...

    def attachment(self, name: str) -> bytes:
        """Return a file stored inside."""
        ...


def open_bag(path: Path) -> Bag:
    """Open an `.mcap`, a `.db3` or a rosbag2 folder.

    An MCAP without its index (the recorder was killed, the copy broke off) is read as far as it
    goes, and the bag's notes say so.

    Raises:
        ConfigurationError: missing, empty, or of a kind that cannot be read.
    """
    if not path.exists():
        raise ConfigurationError(f"{path}: expected a recording, there is nothing")
    bag: Bag
    if path.is_dir() or path.suffix in (".db3", ".zstd"):
        bag = Rosbag2(path)
    elif path.suffix == ".mcap":
        bag = McapBag(path) if _has_index(path) else DamagedMcap(path)
    else:
        raise ConfigurationError(
            f"{path}: expected an .mcap, a .db3 or a rosbag2 folder, got '{path.suffix}'"
        )
    if not bag.message_count:
        raise ConfigurationError(f"{path}: the recording holds no message")
    return bag


def _has_index(path: Path) -> bool:
    try:
        Recording(path)
    except ConfigurationError as error:
        if "CDR" in str(error) or not path.stat().st_size:
            raise
        return False
    return True


class McapBag(Recording):
    """An MCAP file with its index."""

    notes: tuple[str, ...] = ()

    def types_of(self, topic: str) -> set[str]:
        """Return the types a topic has."""
        channels = [c for c in self._summary.channels.values() if c.topic == topic]
        return {self._summary.schemas[channel.schema_id].name for channel in channels}

    def definitions(self) -> dict[str, tuple[str, str]]:
        """Return format and text of the message definitions by type."""
        return {
            schema.name: (schema.encoding, schema.data.decode("utf-8", "replace"))
            for schema in self._summary.schemas.values()
        }

    def messages(
        self,
        topics: Collection[str] | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[RecordedMessage]:
        """Yield messages; ties by topic."""
        return _ties_by_topic(super().messages(topics, start_ns=start_ns, end_ns=end_ns))


class DamagedMcap:
    """An MCAP without index: read from the front up to the damage, in the order of the file.

    Messages within one chunk are sorted; a file written in order of arrival, as recorders do,
    comes out in order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self.message_count, self.start_ns, self.end_ns = 0, 2**63, 0
        damage = ""
        for _, message in self._stream():
            self.message_count += 1
            self.start_ns = min(self.start_ns, message.log_time)
            self.end_ns = max(self.end_ns, message.log_time)
        damage = self._damage
        if not self.message_count:
            raise ConfigurationError(
                f"{path}: expected an MCAP recording, no message can be recovered: {damage}"
            )
        self.topics = {
            channel.topic: Topic(name=channel.topic, type=self._type_of(channel))
            for channel in self._channels.values()
        }
        length_s = (self.end_ns - self.start_ns) * 1e-9
        self.notes = (
            f"{path.name}: {damage or 'it has no index'}; recovered {self.message_count} messages, "
            f"{length_s:.2f} s, up to there",
        )

    def types_of(self, topic: str) -> set[str]:
        """Return the types a topic has."""
        return {self._type_of(c) for c in self._channels.values() if c.topic == topic}

    def messages(
        self,
        topics: Collection[str] | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[RecordedMessage]:
        """Yield what can be recovered."""

        def found() -> Iterator[RecordedMessage]:
            for channel, message in self._stream():
                inside = (start_ns is None or message.log_time >= start_ns) and (
                    end_ns is None or message.log_time < end_ns
                )
                if inside and (topics is None or channel.topic in topics):
                    yield RecordedMessage(
                        topic=channel.topic,
                        type=self._type_of(channel),
                        log_time_ns=message.log_time,
                        publish_time_ns=message.publish_time,
                        data=message.data,
                    )

        return _ties_by_topic(_sorted_within(found(), window=32))

    def definitions(self) -> dict[str, tuple[str, str]]:
        """Return format and text of the message definitions by type."""
        return {
            schema.name: (schema.encoding, schema.data.decode("utf-8", "replace"))
            for schema in self._schemas.values()
        }

    def attachment(self, name: str) -> bytes:
        """Raise: attachments lie at the end, where the damage is."""
        raise ConfigurationError(f"{self.path}: damaged, it has no attachment '{name}'")

    def _type_of(self, channel: Channel) -> str:
        schema = self._schemas.get(channel.schema_id)
        return schema.name if schema else ""

    def _stream(self) -> Iterator[tuple[Channel, Message]]:
        self._damage = ""
        with self.path.open("rb") as file:
            try:
                for record in StreamReader(file).records:
                    if isinstance(record, Schema):
                        self._schemas[record.id] = record
                    elif isinstance(record, Channel):
                        self._channels[record.id] = record
                    elif isinstance(record, Message) and record.channel_id in self._channels:
                        yield self._channels[record.channel_id], record
            except (McapError, EOFError, ValueError, RuntimeError, OSError, MemoryError) as error:
                self._damage = f"damaged near byte {file.tell()} ({error or type(error).__name__})"
            except Exception as error:  # struct, lz4 and zstd errors of cut records
                self._damage = f"damaged near byte {file.tell()} ({type(error).__name__}: {error})"


class Rosbag2:
    """A rosbag2 folder or file: sqlite3 or MCAP, plain or compressed."""

    def __init__(self, path: Path) -> None:
        from rosbags.rosbag2 import Reader

        self.path = path
        try:
            self._reader: Any = Reader(path)
            self._reader.open()
        except Exception as error:  # rosbags raises errors of its storages too
            raise ConfigurationError(f"{path}: expected a rosbag2 recording: {error}") from error
        self.start_ns, self.end_ns = self._reader.start_time, self._reader.end_time - 1
        self.message_count = self._reader.message_count
        self.topics = {
            item.topic: Topic(name=item.topic, type=item.msgtype)
            for item in self._reader.connections
        }
        self.notes: tuple[str, ...] = ()

    def types_of(self, topic: str) -> set[str]:
        """Return the types a topic has."""
        return {c.msgtype for c in self._reader.connections if c.topic == topic}

    def messages(
        self,
        topics: Collection[str] | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[RecordedMessage]:
        """Yield messages; ties by topic."""
        wanted = [c for c in self._reader.connections if topics is None or c.topic in topics]

        def found() -> Iterator[RecordedMessage]:
            try:
                for item, time_ns, data in self._reader.messages(wanted, start_ns, end_ns):
                    yield RecordedMessage(
                        topic=item.topic,
                        type=item.msgtype,
                        log_time_ns=time_ns,
                        publish_time_ns=time_ns,
                        data=bytes(data),
                    )
            except ConfigurationError:
                raise
            except Exception as error:
                raise ConfigurationError(f"{self.path}: damaged: {error}") from error

        return _ties_by_topic(found() if wanted else iter(()))

    def definitions(self) -> dict[str, tuple[str, str]]:
        """Return format and text of the message definitions by type."""
        formats = {1: "ros2msg", 2: "ros2idl"}
        return {
            item.msgtype: (formats.get(int(item.msgdef.format.value), ""), item.msgdef.data)
            for item in self._reader.connections
            if item.msgdef.data
        }

    def attachment(self, name: str) -> bytes:
        """Raise: this form has none."""
        raise ConfigurationError(f"{self.path}: rosbag2 keeps no attachments, wanted '{name}'")


def _ties_by_topic(messages: Iterator[RecordedMessage]) -> Iterator[RecordedMessage]:
    """Order messages of equal arrival by topic and then as they come."""
    held: list[RecordedMessage] = []
    for message in messages:
        if held and message.log_time_ns != held[0].log_time_ns:
            yield from sorted(held, key=lambda item: item.topic)
            held = []
        held.append(message)
    yield from sorted(held, key=lambda item: item.topic)


def _sorted_within(
    messages: Iterator[RecordedMessage], *, window: int
) -> Iterator[RecordedMessage]:
    """Sort a nearly sorted stream by arrival with a heap of `window` messages."""
    heap: list[tuple[int, int, RecordedMessage]] = []
    for index, message in enumerate(messages):
        heapq.heappush(heap, (message.log_time_ns, index, message))
        if len(heap) > window:
            yield heapq.heappop(heap)[2]
    while heap:
        yield heapq.heappop(heap)[2]
