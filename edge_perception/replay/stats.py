"""What a replay met and cost, counted on the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from edge_perception.core.types import FrameLatency

MAX_GAP_NS = 30_000_000_000  # a longer silence of all topics is a jump of the recorder's clock
_LEAST_S, _LEAST_MESSAGES = 0.5, 5  # shorter streams tell nothing of their times
# A rate of whole seconds aside, stamps are anywhere in a second.
_SECONDS, _FRACTION_NS, _EACH_S = 2.0, 2_000_000, 0.5
_UNALIKE = 10.0  # times as long: a pause, a loop and a drift are less
_OTHER_TIME_NS, _ALIKE_NS = 10_000_000_000, 2_000_000_000  # no delay; the same distance


def jump_told(gap_ns: int) -> str:
    """Say that nothing arrived for longer than `MAX_GAP_NS`."""
    return f"nothing arrived for {gap_ns * 1e-9:.1f} s: taken as a jump of the recorder's clock"


@dataclass(kw_only=True)
class TimeSpan:
    """First and last stamp and arrival of a topic."""

    stamps_ns: tuple[int, int]
    arrivals_ns: tuple[int, int]
    messages: int = 1
    is_backward: bool = False
    fraction_ns: int = 0  # the largest part of a second among the stamps behind the first

    def add(self, stamp_ns: int, arrival_ns: int) -> None:
        """Take in a later message."""
        self.is_backward |= stamp_ns < self.stamps_ns[1]
        self.stamps_ns = self.stamps_ns[0], stamp_ns
        self.arrivals_ns = self.arrivals_ns[0], arrival_ns
        self.messages += 1
        self.fraction_ns = max(self.fraction_ns, stamp_ns % 10**9)

    @property
    def fault(self) -> str:
        """Say that one of the two is no time in nanoseconds; empty: nothing is odd."""
        stamped_s = (self.stamps_ns[1] - self.stamps_ns[0]) * 1e-9
        arrived_s = (self.arrivals_ns[1] - self.arrivals_ns[0]) * 1e-9
        if self.messages < _LEAST_MESSAGES or self.is_backward:
            return ""
        told = f"{self.messages} messages of {stamped_s:.3g} s by their stamps arrived in "
        told += f"{arrived_s:.3g} s"
        if stamped_s > _LEAST_S and arrived_s * _UNALIKE < stamped_s:
            return f"{told}: the recording has no times of arrival, or not in nanoseconds"
        is_fast = stamped_s < _EACH_S * self.messages
        if stamped_s > _SECONDS and is_fast and self.fraction_ns < _FRACTION_NS:
            return (
                f"of {self.messages} stamps over {stamped_s:.3g} s none is more than "
                f"{self.fraction_ns * 1e-6:.3g} ms past a second: microseconds where nanoseconds "
                "belong?"
            )
        if arrived_s > _LEAST_S and 0 < stamped_s * _UNALIKE < arrived_s:
            return f"{told}: are the stamps in another unit?"
        return ""


@dataclass(kw_only=True)
class ReplayStats:
    """What a replay cost and what it met."""

    wall_s: float = 0.0  # without the loops of the bare models
    messages: int = 0
    outputs: int = 0
    errors: Counter[str] = field(default_factory=Counter)  # by topic or source
    undecoded: Counter[str] = field(default_factory=Counter)  # by topic: no such message
    first_error: dict[str, str] = field(default_factory=dict)
    clock_jumps: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)  # of messages that are used all the same
    repeated: Counter[str] = field(default_factory=Counter)  # by topic: the message before again
    notes: list[str] = field(default_factory=list)  # of inputs read otherwise than they say
    dropped: dict[str, int] = field(default_factory=dict)
    bare_s: float = 0.0  # inference alone in a loop, for as many frames
    work_s: float = 0.0  # the same with their pre- and postprocessing
    measured: dict[str, list[FrameLatency]] = field(default_factory=dict)
    fusion_measured_s: list[float] = field(default_factory=list)
    spans: dict[str, TimeSpan] = field(default_factory=dict)  # by topic

    def note_error(self, where: str, error: Exception) -> None:
        """Count an error of a topic or source; the first of each is kept."""
        self.errors[where] += 1
        self.first_error.setdefault(where, f"{error}")

    def forget_counts(self) -> None:
        """Begin to count what messages are; what came before counts elsewhere."""
        for counts in (self.errors, self.undecoded, self.faults, self.repeated):
            counts.clear()
        self.first_error.clear()

    def note_stamp(self, topic: str, stamp_ns: int, arrival_ns: int) -> None:
        """Count stamps of a topic that repeat or go back, and keep what span they have."""
        span = self.spans.get(topic)
        if span is None:
            self.spans[topic] = TimeSpan(
                stamps_ns=(stamp_ns, stamp_ns), arrivals_ns=(arrival_ns, arrival_ns)
            )
            return
        if stamp_ns <= span.stamps_ns[1]:
            what = "repeat" if stamp_ns == span.stamps_ns[1] else "go back"
            self.faults[f"{topic}: stamps {what}"] += 1
        span.add(stamp_ns, arrival_ns)

    def note_odometry(self, topic: str, *, jumped: bool, fault: str) -> None:
        """Count poses that jump, and those that fusion does not use."""
        self.faults[f"{topic}: the pose jumps"] += jumped
        self.faults[f"{topic}: pose and twist contradict each other"] += bool(fault)

    def other_time(self) -> str:
        """Say that all topics arrived equally long after or before their stamps; empty: not so.

        A recording that is made while another one is played keeps its stamps and gets the arrivals
        of the present, and so does one of a simulation that is recorded without its time.
        """
        apart_ns = {
            topic: span.arrivals_ns[0] - span.stamps_ns[0]
            for topic, span in sorted(self.spans.items())
        }
        least_ns = min(apart_ns.values(), default=0)
        if len(apart_ns) < 2 or any(
            self.spans[topic].fault
            or not self.spans[topic].stamps_ns[0]
            or abs(ns) < _OTHER_TIME_NS
            or ns - least_ns > _ALIKE_NS
            for topic, ns in apart_ns.items()
        ):
            return ""
        shift = " ".join(f"--shift {topic}:{least_ns * 1e-9:.3f}s" for topic in apart_ns)
        when = "after" if least_ns > 0 else "before"
        return (
            f"all sources arrived {abs(least_ns) * 1e-9:.3f} s {when} their stamps: recorded while "
            "another recording or a simulation gave the time (`ros2 bag record --use-sim-time` "
            "takes its time from /clock), or by drivers of another clock; "
            f"{shift} brings the two together"
        )
