"""One sqlite3 file of rosbag2, with the write-ahead log that a killed recorder leaves beside it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import zstandard

from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.storage import (
    CDR,
    LATEST_NS,
    OnDamage,
    RecordedMessage,
    StoredChannel,
    clock_notes,
    ros_type,
)
from edge_perception.recordings.unpacking import copied, plain_message

MAGIC = b"SQLite format 3\0"
_TIMED = f"typeof(timestamp) = 'integer' AND timestamp BETWEEN 0 AND {LATEST_NS}"
# SQLite's own message cites a damaged schema; Python then fails to read the message.
_DAMAGE = (sqlite3.Error, UnicodeError)
_UNFINISHED = ("-wal", "-journal")  # beside a file: what was not written into it yet


class SqliteFile:
    """Messages of one `.db3`.

    Args:
        path: of the file.
        scratch: folder for a copy, where the file cannot be read where it lies.

    Raises:
        ConfigurationError: it is no database of rosbag2, or it is damaged.
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self.contradictions: list[str] = []
        self._uri = self._place(scratch)
        self._topics: dict[int, StoredChannel] = {}
        try:
            with self._connection() as base:
                self._read_topics(base)
        except _DAMAGE as error:
            raise ConfigurationError(
                f"{path}: expected a rosbag2 database: {error}; `sqlite3 FILE .recover` may help"
            ) from error
        self.channels = list(self._topics.values())

    def messages(
        self,
        topics: Collection[str],
        *,
        start_ns: int | None,
        end_ns: int | None,
        on_damage: OnDamage,
    ) -> Iterator[RecordedMessage]:
        """Yield messages in order of arrival; what lies behind damage is told and left out."""
        where, values = self._where(topics, start_ns, end_ns)
        order = "ORDER BY timestamp, id"
        yield from self._select(where, values, order, on_damage)

    def latest(
        self, topic: str, *, before_ns: int, count: int, on_damage: OnDamage
    ) -> list[RecordedMessage]:
        """Return the last messages of a topic before a moment, the oldest first."""
        where, values = self._where([topic], None, before_ns)
        order = f"ORDER BY timestamp DESC, id DESC LIMIT {count}"
        return list(self._select(where, values, order, on_damage))[::-1]

    def attachments(self) -> Mapping[str, Callable[[], bytes]]:
        """Return nothing: this form has none."""
        return {}

    def metadata(self) -> Mapping[str, Mapping[str, str]]:
        """Return nothing: this form has none."""
        return {}

    # -- opening --

    def _place(self, scratch: Path) -> str:
        """Return where the database is read, without changing what lies there."""
        rests = [self.path.with_name(self.path.name + end) for end in _UNFINISHED]
        rests = [rest for rest in rests if rest.is_file() and rest.stat().st_size]
        if not rests:
            return _uri(self.path, "immutable=1")
        names = ", ".join(rest.name for rest in rests)
        self.notes.append(f"{self.path.name}: read together with {names}, which lies beside it")
        # A database with a log is read through a third file, which SQLite would make beside it.
        copy = copied([self.path, *rests], scratch)
        return _uri(copy, "mode=rw")

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        base = sqlite3.connect(self._uri, uri=True)
        base.text_factory = _text  # a name may be damaged, and is then no name we know
        try:
            yield base
        finally:
            base.close()

    def _read_topics(self, base: sqlite3.Connection) -> None:
        columns = {row[1] for row in base.execute("PRAGMA table_info(topics)")}
        if not {"id", "name", "type"} <= columns:
            raise ConfigurationError(f"{self.path}: expected a rosbag2 database, it has no topics")
        counts = {
            key: (count, first, last)
            for key, count, first, last in base.execute(
                "SELECT topic_id, COUNT(*), MIN(timestamp), MAX(timestamp) "
                f"FROM messages WHERE {_TIMED} GROUP BY topic_id"
            )
        }
        ((back_ns,),) = base.execute(
            "SELECT MAX(before - timestamp) FROM (SELECT timestamp, LAG(timestamp) OVER "
            f"(PARTITION BY topic_id ORDER BY id) AS before FROM messages WHERE {_TIMED})"
        )
        self.notes += clock_notes(self.path, back_ns or 0)
        ((untimed,),) = base.execute(f"SELECT COUNT(*) FROM messages WHERE NOT ({_TIMED})")
        if untimed:
            self.contradictions.append(f"{self.path.name}: {untimed} messages without a time")
        definitions = _definitions(base)
        encoding = "serialization_format" if "serialization_format" in columns else "'cdr'"
        qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "NULL"
        for key, name, kind, form, profiles in base.execute(
            f"SELECT id, name, type, {encoding}, {qos} FROM topics ORDER BY id"
        ):
            count, first, last = counts.pop(key, (0, 0, 0))
            is_cdr = str(form or CDR).lower() == CDR
            self._topics[key] = StoredChannel(
                topic=str(name),
                type=ros_type(str(kind)) if is_cdr else str(kind),
                encoding=CDR if is_cdr else str(form),
                definition=definitions.get(kind, ("", "")),
                qos=profiles or None,
                count=count,
                first_ns=first,
                last_ns=last,
            )
        for key, (count, _, _) in sorted(counts.items(), key=str):
            self.contradictions.append(
                f"{self.path.name}: {count} messages of topic number {key}, which is not declared"
            )

    # -- reading --

    def _where(
        self, topics: Collection[str], start_ns: int | None, end_ns: int | None
    ) -> tuple[str, list[int]]:
        keys = [
            key
            for key, channel in self._topics.items()
            if channel.topic in topics and channel.encoding == CDR
        ]
        parts, values = [_TIMED, f"topic_id IN ({','.join('?' * len(keys))})"], list(keys)
        if start_ns is not None:
            parts.append("timestamp >= ?")
            values.append(start_ns)
        if end_ns is not None:
            parts.append("timestamp < ?")
            values.append(end_ns)
        return " AND ".join(parts), values

    def _select(
        self, where: str, values: list[int], order: str, on_damage: OnDamage
    ) -> Iterator[RecordedMessage]:
        command = f"SELECT topic_id, timestamp, data FROM messages WHERE {where} {order}"
        try:
            with self._connection() as base:
                for key, time_ns, data in base.execute(command, values):
                    channel = self._topics[key]
                    try:
                        plain = _unpacked(data)
                    except (zstandard.ZstdError, TypeError, ValueError) as error:
                        on_damage(
                            f"{self.path.name}: damaged: {channel.topic} at {time_ns * 1e-9:.3f} s "
                            f"({error}): 1 message lost"
                        )
                        continue
                    yield RecordedMessage(
                        topic=channel.topic,
                        type=channel.type,
                        log_time_ns=time_ns,
                        publish_time_ns=time_ns,
                        data=plain,
                    )
        except _DAMAGE as error:
            on_damage(f"{self.path.name}: damaged ({error}): the messages behind it are lost")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _unpacked(data: Any) -> bytes:
    """Return the bytes of a message, unpacked.

    Raises:
        TypeError: they are none.
        ValueError, ZstdError: as `plain_message`.
    """
    if not isinstance(data, bytes):  # SQLite holds any type in any column
        raise TypeError(f"expected bytes, got {type(data).__name__}")
    return plain_message(data)


def _definitions(base: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    rows: list[Any] = []
    with contextlib.suppress(sqlite3.OperationalError):  # of a schema before Jazzy
        rows = base.execute(
            "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        ).fetchall()
    return {kind: (str(form), str(text)) for kind, form, text in rows}


def _uri(path: Path, options: str) -> str:
    return f"file:{quote(os.path.abspath(path))}?{options}"
