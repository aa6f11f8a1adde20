"""When each message of a recording is due, and which stamp it then carries. No clock, no ROS."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from edge_perception.core.errors import ConfigurationError, UnknownNameError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import check_limits
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.storage import RecordedMessage

# A longer silence of all topics is a jump of the recorder's clock, as messages from before /clock,
# which arrive at time 0: it is not waited for. A replay without ROS goes by the same rule.
LONGEST_GAP_NS = 30 * 10**9
GAP_NS = 10**9  # what is left of it
_CUT = re.compile(r"(?P<name>[^:]+):(?P<start>\d+(\.\d+)?)-(?P<end>\d+(\.\d+)?)")


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Silences topics for a while, as a pulled plug does."""

    name: str  # one or more whole parts of a topic's name: lidar cuts /lidar/points
    start_s: float  # since the start of the recording, in its own time
    end_s: float

    def __post_init__(self) -> None:
        """Refuse a cut that ends before it starts."""
        if not 0.0 <= self.start_s < self.end_s:
            raise ConfigurationError(
                f"cut {self.name}: expected 0 <= start < end, "
                f"got {self.start_s:g} to {self.end_s:g} s"
            )

    def matches(self, topic: str) -> bool:
        """Whether this cut is about a topic."""
        return has_part(topic, self.name)

    def covers(self, time_s: float) -> bool:
        """Whether a moment lies inside the cut."""
        return self.start_s <= time_s < self.end_s


def parse_cut(text: str) -> Cut:
    """Read ``lidar:6-9``: topics with the part ``lidar``, from 6 s to 9 s.

    Raises:
        ConfigurationError: the text has another form.
    """
    match = _CUT.fullmatch(text.strip())
    if match is None:
        raise ConfigurationError(f"cut: expected name:start-end in seconds, got '{text}'")
    return Cut(name=match["name"], start_s=float(match["start"]), end_s=float(match["end"]))


def has_part(topic: str, name: str) -> bool:
    """Whether a name is one or more whole parts of that of a topic."""
    return f"/{name.strip('/')}/" in f"/{topic.strip('/')}/"


def check_parts(what: str, names: Iterable[str], topics: Collection[str]) -> None:
    """Refuse names that no topic has: what is asked for must not be passed over in silence.

    Args:
        what: the option.
        names: each one or more whole parts of a topic's name.
        topics: that there are.

    Raises:
        UnknownNameError: a name is part of no topic.
    """
    for name in names:
        if not any(has_part(topic, name) for topic in topics):
            raise UnknownNameError(
                kind=f"part of a topic in {what}", name=name, known=sorted(topics)
            )


@dataclass(frozen=True, kw_only=True)
class PlayPlan:
    """What is played, and how fast."""

    rate: float = parameter(1.0, low=0.01, high=100.0)
    loops: int = parameter(1, low=0, high=1_000_000)  # 0: endless
    start_s: float = parameter(0.0, unit="s", low=0.0, high=1e9)
    duration_s: float = parameter(1e10, unit="s", low=1e-3, high=1e10)
    topics: tuple[str, ...] = ()  # empty: all
    cuts: tuple[Cut, ...] = ()

    def __post_init__(self) -> None:
        """Check the limits of the fields."""
        for spec in ("rate", "loops", "start_s", "duration_s"):
            check_limits(
                getattr(self, spec), self.__dataclass_fields__[spec].metadata, f"play.{spec}"
            )


@dataclass(frozen=True, kw_only=True)
class Due:
    """One message and its moment."""

    due_s: float  # since the start of playing
    loop: int
    cut: Cut | None  # set: not to be sent
    message: RecordedMessage
    skipped_ns: int = 0  # of the recording's time, since the start of playing


@dataclass(frozen=True, kw_only=True)
class StampMap:
    """Between the stamps of a recording and those sent when it is played into the present."""

    recording_start_ns: int
    play_start_ns: int  # node clock when playing started
    period_ns: int  # of one loop, in the recording's time
    rate: float = 1.0

    def to_played(self, stamp_ns: int, loop: int = 0) -> int:
        """Return the stamp to send instead of a recorded one."""
        offset = stamp_ns - self.recording_start_ns + loop * self.period_ns
        return self.play_start_ns + round(offset / self.rate)

    def to_recorded(self, played_ns: int) -> int:
        """Return the recorded stamp behind one that was sent.

        Stamps from just before the recording's start come out one loop too late when the
        recording was looped.
        """
        loop = self.loop_of(played_ns)
        return self.recording_start_ns + self._offset(played_ns) - loop * self.period_ns

    def loop_of(self, played_ns: int) -> int:
        """Return in which loop a stamp was sent, with the same limit."""
        return max(0, self._offset(played_ns) // self.period_ns)

    def _offset(self, played_ns: int) -> int:
        return round((played_ns - self.play_start_ns) * self.rate)


def loop_period_ns(recording: Recording, plan: PlayPlan) -> int:
    """Return the time from one loop's start to the next.

    It is the length of what is played plus one interval of the densest topic, a second at most,
    so that the topics stay periodic across the seam.
    """
    length_ns = _end_ns(recording, plan) - _start_ns(recording, plan)
    busiest = max((recording.count(name) for name in recording.topics), default=0)
    whole_ns = recording.end_ns - recording.start_ns
    return length_ns + (min(whole_ns // (busiest - 1), GAP_NS) if busiest > 1 else 0)


def schedule(recording: Recording, plan: PlayPlan) -> Iterator[Due]:
    """Yield the messages of all loops in the order of their moments.

    Raises:
        UnknownNameError: a topic is not in the recording.
        ConfigurationError: nothing is left to play.
    """
    start_ns, end_ns = _start_ns(recording, plan), _end_ns(recording, plan)
    if start_ns >= end_ns:
        raise ConfigurationError(
            f"{recording.path}: expected a start before {recording.duration_s:g} s, "
            f"got {plan.start_s:g} s"
        )
    period_ns = loop_period_ns(recording, plan)
    duration_ns = round(plan.duration_s * 1e9)
    between_ns = period_ns - (end_ns - start_ns)  # loops
    loop = began_ns = 0
    while plan.loops == 0 or loop < plan.loops:
        removed_ns, last_ns = 0, start_ns
        for message in recording.messages(plan.topics or None, start_ns=start_ns):
            if message.log_time_ns - last_ns > LONGEST_GAP_NS:
                removed_ns += message.log_time_ns - last_ns - GAP_NS
            last_ns = message.log_time_ns
            played_ns = message.log_time_ns - start_ns - removed_ns
            if played_ns >= duration_ns:
                break
            yield Due(
                due_s=(began_ns + played_ns) * 1e-9 / plan.rate,
                loop=loop,
                cut=active_cut(
                    plan.cuts, message.topic, (message.log_time_ns - recording.start_ns) * 1e-9
                ),
                message=message,
                skipped_ns=loop * period_ns + removed_ns - began_ns,
            )
        whole_ns = recording.end_ns + 1 - start_ns
        began_ns += min(whole_ns - removed_ns, duration_ns) + between_ns
        loop += 1


def active_cut(cuts: Collection[Cut], topic: str, time_s: float) -> Cut | None:
    """Return the cut that silences a topic at a moment of the recording, if any."""
    return next((cut for cut in cuts if cut.matches(topic) and cut.covers(time_s)), None)


def _start_ns(recording: Recording, plan: PlayPlan) -> int:
    return recording.start_ns + round(plan.start_s * 1e9)


def _end_ns(recording: Recording, plan: PlayPlan) -> int:
    return min(recording.end_ns + 1, _start_ns(recording, plan) + round(plan.duration_s * 1e9))
