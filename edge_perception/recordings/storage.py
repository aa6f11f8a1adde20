"""What the files of a recording have in common: channels, messages, and their order."""

from __future__ import annotations

import heapq
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Protocol

OnDamage = Callable[[str], None]
CDR = "cdr"
LATEST_NS = (2**31 - 1) * 10**9  # a time of ROS has seconds of int32; a later arrival is none
_STEP_NS = 10**9  # messages of one topic that are stored so much out of order were not sent so
_DDS_TYPE = re.compile(r"(?P<package>\w+)::(?P<kind>\w+)::(dds_::)?(?P<name>\w+?)_?")


@dataclass(frozen=True, kw_only=True)
class RecordedMessage:
    """One message of a recording."""

    topic: str
    type: str
    log_time_ns: int  # arrival
    publish_time_ns: int
    data: bytes  # CDR with encapsulation header


@dataclass(frozen=True, kw_only=True)
class StoredChannel:
    """What a file says of one publisher of a topic, and what it holds of it."""

    topic: str
    type: str  # package/msg/Name; empty: the file does not say
    encoding: str = CDR  # of the messages
    definition: tuple[str, str] = ("", "")  # format (ros2msg, ros2idl) and text
    qos: object = None  # offered profiles as they are written; None: the file has none
    count: int = 0
    first_ns: int = 0  # arrival; 0 where there is no message
    last_ns: int = 0


class StorageFile(Protocol):
    """One file of a recording."""

    path: Path
    channels: list[StoredChannel]
    notes: list[str]  # what is odd and costs nothing
    contradictions: list[str]  # what the file says of itself and is not so

    def messages(
        self,
        topics: Collection[str],
        *,
        start_ns: int | None,
        end_ns: int | None,
        on_damage: OnDamage,
    ) -> Iterator[RecordedMessage]:
        """Yield messages in order of arrival; what cannot be read is told and left out."""
        ...

    def latest(
        self, topic: str, *, before_ns: int, count: int, on_damage: OnDamage
    ) -> list[RecordedMessage]:
        """Return the last messages of a topic before a moment, the oldest first."""
        ...

    def attachments(self) -> Mapping[str, Callable[[], bytes]]:
        """Return files stored inside by name."""
        ...

    def metadata(self) -> Mapping[str, Mapping[str, str]]:
        """Return texts stored inside by name."""
        ...


@dataclass(frozen=True, kw_only=True)
class Span:
    """A part of a recording that is read when its time has come."""

    start_ns: int
    open: Callable[[], Iterator[RecordedMessage]] = field(repr=False)  # sorted by arrival


def in_order(spans: Iterable[Span]) -> Iterator[RecordedMessage]:
    """Merge spans by arrival, equal times in the order of the spans; few are open at a time."""
    waiting = deque(sorted(enumerate(spans), key=lambda item: item[1].start_ns))
    heap: list[tuple[int, int, RecordedMessage, Iterator[RecordedMessage]]] = []

    def push(rank: int, items: Iterator[RecordedMessage]) -> None:
        message = next(items, None)
        if message is not None:
            heapq.heappush(heap, (message.log_time_ns, rank, message, items))

    while waiting or heap:
        while waiting and (not heap or waiting[0][1].start_ns <= heap[0][0]):
            rank, span = waiting.popleft()
            push(rank, span.open())
        if heap:
            _, rank, message, items = heapq.heappop(heap)
            yield message
            push(rank, items)


def ties_by_topic(messages: Iterable[RecordedMessage]) -> Iterator[RecordedMessage]:
    """Order messages of equal arrival by topic and then as they come."""
    held: list[RecordedMessage] = []
    for message in messages:
        if held and message.log_time_ns != held[0].log_time_ns:
            yield from sorted(held, key=attrgetter("topic"))
            held = []
        held.append(message)
    yield from sorted(held, key=attrgetter("topic"))


def clock_notes(path: Path, back_ns: int) -> list[str]:
    """Say that arrivals of a topic go back in the order in which they are stored.

    Args:
        path: of the file.
        back_ns: the farthest.
    """
    if back_ns < _STEP_NS:
        return []
    return [
        f"{path.name}: arrivals go back by up to {back_ns * 1e-9:.1f} s: the clock of the recorder "
        "was set back, or files were joined; what was recorded then and before is mixed"
    ]


def ros_type(name: str) -> str:
    """Return a type's name as ROS 2 writes it: of ROS 1 and of DDS it is told differently."""
    parts = name.split("/")
    if len(parts) == 2 and all(parts):
        return f"{parts[0]}/msg/{parts[1]}"
    match = _DDS_TYPE.fullmatch(name)
    return f"{match['package']}/{match['kind']}/{match['name']}" if match else name
