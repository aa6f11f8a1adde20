"""The records of an MCAP file from the front to where it ends, chunks unopened.

Layout: https://mcap.dev/spec (version 1): a magic, records of opcode, length and body, a summary,
a footer, the magic again.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, ChunkIndex, Footer, Schema, Statistics

from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.storage import LATEST_NS

MAGIC = b"\x89MCAP0\r\n"
MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_RECORD = struct.Struct("<BQ")
_CHUNK = struct.Struct("<QQQII")  # first, last, unpacked size, CRC, length of the compression
_INDEX = struct.Struct("<HI")
_NEVER = 2**64
_LOOSE_BYTES = 4 * 1024 * 1024  # messages outside chunks are read in blocks of this size
_BUFFER_BYTES = 32 * 1024  # what is read where a walk looks
_DECLARATIONS = (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.STATISTICS)
_BODIES = (ValueError, struct.error, McapError, EOFError, UnicodeDecodeError)


@dataclass(kw_only=True)
class Reach:
    """How many messages there are, the first and last arrival, and how far arrivals went back."""

    count: int = 0
    first_ns: int = _NEVER
    last_ns: int = -1
    back_ns: int = 0

    def add(self, count: int, first_ns: int, last_ns: int, back_ns: int = 0) -> None:
        """Take in the messages that follow in the file."""
        self.count += count
        self.back_ns = max(self.back_ns, back_ns, self.last_ns - first_ns)
        self.first_ns = min(self.first_ns, first_ns)
        self.last_ns = max(self.last_ns, last_ns)


@dataclass(frozen=True, kw_only=True)
class ChunkHead:
    """How a chunk is packed."""

    compression: str
    unpacked_bytes: int
    crc: int  # of the unpacked records; 0: none


@dataclass(kw_only=True)
class Block:
    """A chunk, or a run of messages outside chunks."""

    at: int  # where its records begin in the file, packed as they are
    size: int
    chunk: ChunkHead | None  # None: records as they are
    channels: dict[int, Reach] = field(default_factory=dict)  # empty: it does not say
    whole: Reach = field(default_factory=Reach)
    untimed: Counter[int] = field(default_factory=Counter)  # by channel: their arrival is no time

    def note(self, channel: int, count: int, first_ns: int, last_ns: int, back_ns: int = 0) -> None:
        """Add messages of a channel."""
        self.channels.setdefault(channel, Reach()).add(count, first_ns, last_ns, back_ns)
        self.whole.add(count, first_ns, last_ns)


@dataclass(kw_only=True)
class Walk:
    """What was met on the way."""

    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    attachments: dict[str, tuple[int, int]] = field(default_factory=dict)  # name: body in the file
    metadata: dict[str, tuple[int, int]] = field(default_factory=dict)
    statistics: Statistics | None = None
    has_summary: bool = False
    behind: int = 0  # bytes behind its end
    damage: str = ""  # where the file ends too early; empty: it is whole

    def declare(self, opcode: int, body: bytes) -> None:
        """Take in what says what the file holds; anything else is left."""
        if opcode == Opcode.SCHEMA:
            schema = parse(Schema, body)
            self.schemas.setdefault(schema.id, schema)
        elif opcode == Opcode.CHANNEL:
            channel = parse(Channel, body)
            self.channels.setdefault(channel.id, channel)
        elif opcode == Opcode.STATISTICS:
            self.statistics = parse(Statistics, body)


def walk(path: Path) -> Walk:
    """Walk a file from record to record.

    Raises:
        ConfigurationError: it cannot be opened, or is no MCAP.
    """
    try:
        with path.open("rb", buffering=_BUFFER_BYTES) as file:
            size = path.stat().st_size
            if file.read(len(MAGIC)) != MAGIC:
                raise ConfigurationError(f"{path}: expected an MCAP recording, got {size} bytes")
            return _Walker(file, size).run()
    except OSError as error:
        raise ConfigurationError(f"{path}: expected an MCAP recording: {error}") from error


def each_record(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield opcode, start and end of the body of each record.

    Raises:
        ValueError: a record is longer than the data.
    """
    at = 0
    while at < len(data):
        if at + _RECORD.size > len(data):
            raise ValueError("a record is cut off")
        opcode, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if length > len(data) - at or (opcode == Opcode.MESSAGE and length < MESSAGE.size):
            raise ValueError("a record does not fit its chunk")
        yield opcode, at, at + length
        at += length


def parse(kind: Any, body: bytes) -> Any:
    """Return a record of the `mcap` library from its body."""
    return kind.read(ReadDataStream(BytesIO(body)))


class _Walker:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._found = Walk()
        self._summary = False  # behind the data
        self._loose: Block | None = None
        self._chunk: Block | None = None  # whose message indexes come

    def run(self) -> Walk:
        at = len(MAGIC)
        while True:
            self._file.seek(at)
            head = self._file.read(_RECORD.size)
            if len(head) < _RECORD.size:
                break
            opcode, length = _RECORD.unpack(head)
            body = at + _RECORD.size
            if length > self._size - body or opcode == 0:
                self._found.damage = f"damaged near byte {at} (the record there is cut off)"
                break
            try:
                self._record(opcode, body, length)
            except _BODIES as error:
                self._found.damage = f"damaged near byte {at} ({error or type(error).__name__})"
                break
            at = body + length
            if opcode == Opcode.FOOTER:
                self._found.behind = max(0, self._size - at - len(MAGIC))
                return self._found
        if not self._found.damage:
            self._found.damage = f"damaged near byte {at} (the file ends without a footer)"
        self._beyond(at)
        return self._found

    def _record(self, opcode: int, at: int, length: int) -> None:
        found = self._found
        if opcode == Opcode.CHUNK:
            self._take_chunk(at, length)
        elif opcode == Opcode.MESSAGE_INDEX:
            self._take_index(self._file.read(length))
        elif opcode == Opcode.MESSAGE:
            self._take_message(at, length)
        elif opcode in _DECLARATIONS:
            found.declare(opcode, self._file.read(length))
        elif opcode == Opcode.ATTACHMENT:
            head = self._file.read(min(length, 16 + 4 + 4096))
            found.attachments[_text(head, 16)] = (at, length)
        elif opcode == Opcode.METADATA:
            found.metadata[_text(self._file.read(length), 0)] = (at, length)
        elif opcode == Opcode.FOOTER:
            found.has_summary = parse(Footer, self._file.read(length)).summary_start > 0

    def _take_chunk(self, at: int, length: int) -> None:
        self._loose = None
        head = self._file.read(_CHUNK.size)
        _, _, unpacked, crc, name_length = _CHUNK.unpack(head)
        if name_length > 64:
            raise ValueError("a chunk without a compression")
        compression = self._file.read(name_length).decode()
        (packed,) = struct.unpack("<Q", self._file.read(8))
        begins = at + _CHUNK.size + name_length + 8
        if begins + packed > at + length:
            raise ValueError("a chunk longer than its record")
        self._chunk = Block(
            at=begins,
            size=packed,
            chunk=ChunkHead(compression=compression, unpacked_bytes=unpacked, crc=crc),
        )
        if unpacked:
            self._found.blocks.append(self._chunk)

    def _take_index(self, body: bytes) -> None:
        channel, length = _INDEX.unpack_from(body)
        stored = np.frombuffer(body, "<u8", length // 8, _INDEX.size)[::2]
        if self._chunk is None or not len(stored):
            return
        times = stored[stored <= LATEST_NS]
        if len(times) < len(stored):
            self._chunk.untimed[channel] += len(stored) - len(times)
        if len(times):
            back_ns = int((np.maximum.accumulate(times) - times).max())
            self._chunk.note(channel, len(times), int(times.min()), int(times.max()), back_ns)

    def _take_message(self, at: int, length: int) -> None:
        channel, _, log_ns, _ = MESSAGE.unpack(self._file.read(MESSAGE.size))
        begins, ends = at - _RECORD.size, at + length
        if self._loose is None or ends - self._loose.at > _LOOSE_BYTES:
            self._loose = Block(at=begins, size=0, chunk=None)
            self._found.blocks.append(self._loose)
        self._loose.size = ends - self._loose.at
        if log_ns > LATEST_NS:
            self._loose.untimed[channel] += 1
        else:
            self._loose.note(channel, 1, log_ns, log_ns)

    def _beyond(self, at: int) -> None:
        """Take from the summary, where there is one, what lies behind the damage."""
        for chunk in self._indexes():
            if not at <= chunk.chunk_start_offset <= self._size - _RECORD.size:
                continue
            self._file.seek(chunk.chunk_start_offset)
            opcode, length = _RECORD.unpack(self._file.read(_RECORD.size))
            begins = chunk.chunk_start_offset + _RECORD.size
            if opcode == Opcode.CHUNK and length <= self._size - begins:
                try:
                    self._take_chunk(begins, length)
                except _BODIES:
                    continue

    def _indexes(self) -> Iterator[ChunkIndex]:
        tail = _RECORD.size + 20 + len(MAGIC)
        if self._size < 2 * tail:
            return
        self._file.seek(self._size - tail)
        end = self._file.read(tail)
        if not end.endswith(MAGIC) or end[0] != Opcode.FOOTER:
            return
        footer = parse(Footer, end[_RECORD.size :])
        if not 0 < footer.summary_start <= self._size - tail:
            return
        self._file.seek(footer.summary_start)
        data = self._file.read(self._size - tail - footer.summary_start)
        try:
            for opcode, start, stop in each_record(data):
                if opcode == Opcode.CHUNK_INDEX:
                    yield parse(ChunkIndex, data[start:stop])
                else:
                    self._found.declare(opcode, data[start:stop])
        except _BODIES:
            return


def _text(body: bytes, at: int) -> str:
    (length,) = struct.unpack_from("<I", body, at)
    return body[at + 4 : at + 4 + length].decode("utf-8", "replace")
