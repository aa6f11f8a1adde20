"""What identifies a recording, and how many messages of it were read."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from edge_perception.recordings.stamps import read_stamp_ns
from edge_perception.recordings.storage import RecordedMessage
from edge_perception.validation.segments import Segment

_MODULUS = 1 << 256


class RecordingDigest:
    """Identifies a recording by what it holds, not by how its file is packed.

    Sums of hashes of messages: segments can be added up in any order. `content` covers every byte
    that is replayed, `timing` only topics, arrivals and stamps: a recording rendered on another
    machine has the same timing and may differ in the last bit of a picture.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self.content = self.timing = 0
        self.counts: Counter[str] = Counter()  # messages by topic
        self.spans: dict[str, list[int]] = {}  # arrival of the first and the last one, by topic

    def over(self, messages: Iterator[RecordedMessage]) -> Iterator[RecordedMessage]:
        """Pass messages on and note those of the segment."""
        for message in messages:
            self._note(message)
            yield message

    def _note(self, message: RecordedMessage) -> None:
        if message.log_time_ns < self._segment.start_ns:
            return
        head = f"{message.topic}|{message.type}|{message.log_time_ns}|"
        stamp = read_stamp_ns(message.data) if len(message.data) >= 12 else 0
        self.timing += _number(hashlib.sha256(f"{head}{stamp}".encode()))
        checksum = zlib.crc32(message.data)  # as MCAP's own; SHA-256 takes as long as reading
        self.content += _number(hashlib.sha256(f"{head}{len(message.data)}|{checksum}".encode()))
        self.counts[message.topic] += 1
        span = self.spans.setdefault(message.topic, [message.log_time_ns] * 2)
        span[:] = min(span[0], message.log_time_ns), max(span[1], message.log_time_ns)


def _number(digest: Any) -> int:
    return int.from_bytes(digest.digest(), "big")


def as_hex(number: int) -> str:
    """Return a sum of hashes as 64 hexadecimal digits."""
    return f"{number % _MODULUS:064x}"
