"""What-if: the same recording with silenced, delayed, shifted, foggy or noisy sensors.

Changes name a part of a topic (`lidar` is /lidar/points), as cuts do. Random numbers depend on the
seed and on a message's own stamp, so a message is changed alike in every run and every segment.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge_perception.core.errors import ConfigurationError
from edge_perception.encoders import encoders
from edge_perception.recordings.schedule import Cut, active_cut, check_parts, has_part, parse_cut
from edge_perception.recordings.stamps import read_stamp_ns, with_stamp_ns
from edge_perception.recordings.storage import RecordedMessage
from edge_perception.replay.virtual import NS, parse_seconds

_MOST_S = 2.0**31  # stamps of a message end in 2038
MAX_PERIOD_S = 1.0  # a message to lose comes within this time
_STAMPED = 12  # bytes of CDR up to the end of a header's stamp


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A time that topics with a name part are delayed or shifted by."""

    name: str
    seconds: float

    def matches(self, topic: str) -> bool:
        """Whether this is about a topic."""
        return has_part(topic, self.name)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """All changes of one run."""

    drops: tuple[Cut, ...] = ()
    delays: tuple[Timed, ...] = ()  # arrival
    shifts: tuple[Timed, ...] = ()  # header stamp
    losses: tuple[Timed, ...] = ()  # one message a topic: the first at or after a moment
    fog: float = 0.0  # 0: clear, 1: visibility of 50 m
    noise: Mapping[str, float] | None = None  # by modality: grey values, m, full scale
    seed: int = 0

    def check_topics(self, topics: Collection[str]) -> None:
        """Refuse a change of topics that there are none of: nothing would be changed.

        Raises:
            UnknownNameError: a name is part of no topic.
        """
        for what, items in (
            ("drop", self.drops),
            ("delay", self.delays),
            ("shift", self.shifts),
            ("lose", self.losses),
        ):
            check_parts(what, (item.name for item in items), topics)


def parse_changes(
    *,
    drop: Sequence[str] = (),
    delay: Sequence[str] = (),
    shift: Sequence[str] = (),
    lose: Sequence[str] = (),
    fog: float = 0.0,
    noise: Sequence[str] = (),
    seed: int = 0,
) -> Changes:
    """Read the what-if options of the command line.

    Raises:
        ConfigurationError: one has another form.
    """
    if not 0.0 <= fog <= 10.0:
        raise ConfigurationError(f"fog: expected 0 to 10, got {fog:g}")
    noisy = sorted(name for name, spec in encoders().specs.items() if spec.alter is not None)
    levels = {}
    for text in noise:
        name, colon, value = text.partition(":")
        level = _number(value) if colon else None
        if level is None or level < 0.0 or name not in noisy:
            raise ConfigurationError(
                f"noise: expected one of {', '.join(noisy)} and a level as lidar:0.05, got '{text}'"
            )
        levels[name] = level
    delays = tuple(_timed(text, "delay") for text in delay)
    if any(item.seconds < 0 for item in delays):
        raise ConfigurationError("delay: expected a time above 0; nothing arrives early")
    return Changes(
        drops=tuple(parse_cut(text) for text in drop),
        delays=delays,
        shifts=tuple(_timed(text, "shift") for text in shift),
        losses=tuple(_timed(text, "lose") for text in lose),
        fog=fog,
        noise=levels or None,
        seed=seed,
    )


def _timed(text: str, what: str) -> Timed:
    name, colon, value = text.partition(":")
    if not colon or not name:
        raise ConfigurationError(f"{what}: expected name:time as camera:120ms, got '{text}'")
    seconds = parse_seconds(value, what)
    if abs(seconds) > _MOST_S:
        raise ConfigurationError(f"{what}: expected at most {_MOST_S:g} s, got '{text}'")
    return Timed(name=name, seconds=seconds)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


# -- arrivals and stamps --


def changed_stream(
    messages: Iterable[RecordedMessage],
    changes: Changes,
    *,
    start_ns: int,
) -> Iterator[RecordedMessage]:
    """Apply what changes arrival and stamps; the order stays that of arrival.

    Args:
        messages: in order of arrival.
        changes: what to change.
        start_ns: of the recording; cuts count from there.
    """
    kept: Iterable[RecordedMessage] = _kept(messages, changes, start_ns)
    if not changes.delays:
        yield from kept
        return
    heap: list[tuple[int, str, int, RecordedMessage]] = []
    for index, message in enumerate(kept):
        late_ns = sum(
            round(item.seconds * NS) for item in changes.delays if item.matches(message.topic)
        )
        # What is not delayed comes next at the earliest: all before it can go.
        while heap and heap[0][0] < message.log_time_ns:
            yield heapq.heappop(heap)[-1]
        arrival_ns = message.log_time_ns + late_ns
        delayed = replace(message, log_time_ns=arrival_ns) if late_ns else message
        heapq.heappush(heap, (arrival_ns, message.topic, index, delayed))
    while heap:
        yield heapq.heappop(heap)[-1]


def _kept(
    messages: Iterable[RecordedMessage],
    changes: Changes,
    start_ns: int,
) -> Iterator[RecordedMessage]:
    done: set[tuple[Timed, str]] = set()
    for message in messages:
        time_s = (message.log_time_ns - start_ns) / NS
        if changes.drops and active_cut(changes.drops, message.topic, time_s):
            continue
        due = {i for i in changes.losses if i.matches(message.topic) and time_s >= i.seconds}
        new = {(item, message.topic) for item in due} - done
        done |= new
        # In a segment that starts later it was lost before.
        if any(time_s - item.seconds < MAX_PERIOD_S for item, _ in new):
            continue
        shift_ns = sum(
            round(item.seconds * NS) for item in changes.shifts if item.matches(message.topic)
        )
        if shift_ns and len(message.data) >= _STAMPED:
            stamp_ns = read_stamp_ns(message.data)
            if stamp_ns:
                yield replace(message, data=with_stamp_ns(message.data, stamp_ns + shift_ns))
                continue
        yield message


# -- content --


def alter(message: Any, modality: str, changes: Changes) -> Any:
    """Return a decoded message with fog and noise."""
    noise = (changes.noise or {}).get(modality, 0.0)
    alter_message = encoders()[modality].alter
    if alter_message is None or not (noise or changes.fog):
        return message
    stamp = message.header.stamp
    rng = np.random.default_rng([changes.seed, stamp.sec & 0x7FFFFFFF, stamp.nanosec])
    return alter_message(message, changes.fog, noise, rng)
