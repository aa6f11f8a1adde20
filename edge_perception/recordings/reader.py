"""Any recording as one stream: MCAP and sqlite3 files, whole or damaged, alone or in folders.

What can be read is read. What cannot is named with its count (`skipped`, `notes`), and what a
recording says of itself and is not so is a contradiction: nobody may pass a verdict over it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from edge_perception.core.errors import ConfigurationError, UnknownNameError
from edge_perception.recordings import mcap_walk, sqlite_file
from edge_perception.recordings.bag_files import find_files
from edge_perception.recordings.contents import SkippedTopic, contents_of, is_readable
from edge_perception.recordings.mcap_file import McapFile
from edge_perception.recordings.other_files import HEAD_BYTES, what_it_is
from edge_perception.recordings.sqlite_file import SqliteFile
from edge_perception.recordings.storage import (
    OnDamage,
    RecordedMessage,
    Span,
    StorageFile,
    in_order,
    ties_by_topic,
)
from edge_perception.recordings.unpacking import ZSTD_MAGIC, own_scratch, unpacked
from edge_perception.recordings.writer import Topic


class Recording:
    """A recording, read in the order of arrival; ties by topic, then as recorded.

    Args:
        path: an `.mcap`, a `.db3`, either packed by zstd, or a folder of rosbag2.
        on_damage: takes what is found damaged while messages are read, and they go on behind it;
            None: that is an error.
        scratch: folder for what must be unpacked; None: one of this process.

    Raises:
        ConfigurationError: missing, empty, or of a kind that cannot be read.
    """

    def __init__(
        self, path: Path, *, on_damage: OnDamage | None = None, scratch: Path | None = None
    ) -> None:
        self.path = path
        self._on_damage = on_damage or _raise
        found = find_files(path)
        notes = [*found.notes]
        self._parts, unread = _all_opened(found.files, scratch or own_scratch(), notes)
        held = self._contents = contents_of(self._parts, found.metadata)
        self.topics: Mapping[str, Topic] = held.topics
        self.skipped: tuple[SkippedTopic, ...] = held.skipped
        self.notes: tuple[str, ...] = (*notes, *held.notes)  # what is odd and costs no message
        # What files and metadata.yaml say of the messages and is not so.
        self.contradictions: tuple[str, ...] = (*found.missing, *unread, *held.contradictions)
        full = [c for c in held.channels if is_readable(c) and c.count]
        self.start_ns = min((c.first_ns for c in full), default=0)
        self.end_ns = max((c.last_ns for c in full), default=0)
        self.message_count = sum(c.count for c in full)

    # -- what it says --

    @property
    def files(self) -> tuple[Path, ...]:
        """The files it is read from."""
        return tuple(part.path for part in self._parts)

    @property
    def duration_s(self) -> float:
        """First to last arrival."""
        return (self.end_ns - self.start_ns) * 1e-9

    @property
    def counts(self) -> Mapping[str, int]:
        """Messages by topic, also of those that cannot be read; 0: declared only."""
        return self._contents.counts

    def count(self, topic: str) -> int:
        """Return the number of messages of a topic, as its files count them."""
        return self.counts.get(topic, 0)

    def types_of(self, topic: str) -> set[str]:
        """Return the types a topic has; more than one where it changes within the recording."""
        mine = self._contents.readable(topic)
        return {c.type for c in mine if c.count} or {c.type for c in mine}

    def definitions(self) -> dict[str, tuple[str, str]]:
        """Return format and text of the message definitions by type."""
        found: dict[str, tuple[str, str]] = {}
        for channel in self._contents.channels:
            if is_readable(channel) and channel.definition[1].strip():
                found.setdefault(channel.type, channel.definition)
        return found

    # -- messages --

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
            UnknownNameError: the recording has no such topic that can be read.
            ConfigurationError: the file is damaged, and nobody takes that.
        """
        for name in topics or ():
            if name not in self.topics:
                raise UnknownNameError(kind="topic", name=name, known=list(self.topics))
        wanted = self.topics.keys() if topics is None else set(topics)
        spans = []
        for part in self._parts:
            mine = [c for c in part.channels if c.topic in wanted and c.count]
            if mine:
                read = partial(
                    part.messages, wanted, start_ns=start_ns, end_ns=end_ns,
                    on_damage=self._on_damage,
                )  # fmt: skip
                first_ns = min(c.first_ns for c in mine)
                spans.append(Span(start_ns=max(first_ns, start_ns or first_ns), open=read))
        return ties_by_topic(map(self._named, in_order(spans)))

    def latest(self, topic: str, *, before_ns: int, count: int = 1) -> list[RecordedMessage]:
        """Return the last messages of a topic before a moment, the oldest first."""
        found = [
            self._named(message)
            for part in self._parts
            for message in part.latest(
                topic, before_ns=before_ns, count=count, on_damage=self._on_damage
            )
        ]
        return sorted(found, key=lambda message: message.log_time_ns)[-count:]

    def attachment(self, name: str) -> bytes:
        """Return a file stored inside the recording.

        Raises:
            UnknownNameError: there is no such file.
        """
        known: dict[str, Callable[[], bytes]] = {}
        for part in self._parts:
            known |= part.attachments()
        if name not in known:
            raise UnknownNameError(kind=f"attachment of {self.path}", name=name, known=list(known))
        return known[name]()

    def metadata(self, name: str) -> Mapping[str, str]:
        """Return named texts stored inside the recording.

        Raises:
            UnknownNameError: there are none of that name.
        """
        known: dict[str, Mapping[str, str]] = {}
        for part in self._parts:
            known |= part.metadata()
        if name not in known:
            raise UnknownNameError(kind=f"metadata of {self.path}", name=name, known=list(known))
        return known[name]

    def _named(self, message: RecordedMessage) -> RecordedMessage:
        return message if message.type else replace(message, type=self.topics[message.topic].type)


def open_recording(
    path: Path, *, on_damage: OnDamage | None = None, scratch: Path | None = None
) -> Recording:
    """Open a recording of which messages are wanted; arguments as of `Recording`.

    Raises:
        ConfigurationError: it cannot be read, or holds no message that can.
    """
    recording = Recording(path, on_damage=on_damage, scratch=scratch)
    if not recording.message_count:
        skipped = "; ".join(f"{s.name} ({s.count}): {s.reason}" for s in recording.skipped)
        held = f" that can be read: {skipped}" if skipped else ""
        told = "".join(f"; {text}" for text in recording.contradictions)
        raise ConfigurationError(f"{path}: the recording holds no message{held}{told}")
    return recording


def _all_opened(
    files: Sequence[Path], scratch: Path, notes: list[str]
) -> tuple[list[StorageFile], list[str]]:
    """Open the files of a recording; also return why some of several cannot be read.

    A recorder that is killed leaves its last file empty, and the others are whole.

    Raises:
        ConfigurationError: not one can be read.
    """
    opened: list[StorageFile] = []
    errors: list[ConfigurationError] = []
    for file in files:
        try:
            opened.append(_opened(file, scratch, notes))
        except ConfigurationError as error:
            errors.append(error)
    if errors and not opened:
        raise errors[0]
    return opened, [f"one of {len(files)} files is not read: {error}" for error in errors]


def _opened(file: Path, scratch: Path, notes: list[str]) -> StorageFile:
    """Open a file by what it begins with; its name says little."""
    head = _head(file)
    if head.startswith(ZSTD_MAGIC):
        file, damage = unpacked(file, scratch)
        notes += [damage] if damage else []
        head = _head(file)
    if head.startswith(sqlite_file.MAGIC):
        return SqliteFile(file, scratch)
    if head.startswith(mcap_walk.MAGIC):
        return McapFile(file)
    other = what_it_is(head)
    if other:
        raise ConfigurationError(f"{file}: expected a recording, got {other}")
    if file.suffix == ".mcap":
        return McapFile(file)
    if file.suffix == ".db3":
        raise ConfigurationError(f"{file}: expected a rosbag2 database, it is none")
    raise ConfigurationError(
        f"{file}: expected an .mcap, a .db3 or a rosbag2 folder, got '{file.suffix}'"
    )


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(HEAD_BYTES)
    except OSError as error:
        raise ConfigurationError(f"{file}: expected a recording: {error}") from error


def _raise(text: str) -> None:
    raise ConfigurationError(text)
