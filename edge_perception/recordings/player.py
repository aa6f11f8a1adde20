"""Plays a recording at real time, or faster, to whatever listens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from edge_perception.core.clock import Clock, SystemClock
from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.definitions import starts_with_header
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.sample_index import CHUNK, SampleIndex
from edge_perception.recordings.schedule import (
    Cut,
    Due,
    PlayPlan,
    StampMap,
    loop_period_ns,
    schedule,
)
from edge_perception.recordings.stamps import read_stamp_ns, with_stamp_ns

LATE_S = 0.02  # a message sent later than this is counted


class Sink(Protocol):
    """Where played messages go."""

    def publish(self, topic: str, data: bytes) -> None:
        """Send one serialised message."""
        ...

    def publish_clock(self, time_ns: int) -> None:
        """Send the recording's time on /clock."""
        ...


@dataclass(frozen=True, kw_only=True)
class CutEvent:
    """A cut as it happened, node clock."""

    cut: Cut
    first_missing_ns: int  # when the first withheld message was due
    returned_ns: int  # when the first message after it was sent; 0: never


@dataclass(kw_only=True)
class PlayReport:
    """What was played."""

    stamps: StampMap | None = None  # None: stamps were left as recorded
    sent: dict[str, int] = field(default_factory=dict)
    withheld: dict[str, int] = field(default_factory=dict)
    other_type: dict[str, int] = field(default_factory=dict)  # than their topic's publisher
    loops: int = 0  # started
    skipped_s: float = 0.0  # of the recording's time: jumps of its clock
    late: int = 0
    worst_lateness_s: float = 0.0
    cuts: list[CutEvent] = field(default_factory=list)


class Player:
    """Sends the messages of a recording at their times, paced on the steady clock.

    Args:
        recording: what to play.
        plan: which part, how fast, what to leave out.
        sink: where to.
        restamp: write the present into the header stamps, keeping their distances, and count
            samples of audio on from loop to loop; otherwise messages go out as they were recorded.
        clock_hz: how often to send the recording's time on /clock; 0: never.
        clock: the clocks; waiting follows its steady hand.
    """

    def __init__(
        self,
        recording: Recording,
        plan: PlayPlan,
        sink: Sink,
        *,
        restamp: bool = False,
        clock_hz: float = 0.0,
        clock: Clock | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        if restamp and clock_hz:
            raise ConfigurationError(
                "player: expected either restamping or /clock, got both: "
                "restamped messages live in the present"
            )
        self._recording, self._plan, self._sink = recording, plan, sink
        self._clock: Clock = clock or SystemClock()
        self._stop = Event()
        self._wait = wait or self._stop.wait
        self._clock_period_s = 1.0 / clock_hz if clock_hz else 0.0
        self._restamp = restamp
        self._stamped = {
            name
            for name in plan.topics or recording.topics
            if starts_with_header(recording.topics[name].type)
        }
        self._samples = {
            name: SampleIndex() for name in self._stamped if recording.topics[name].type == CHUNK
        }
        self.report = PlayReport()

    def stop(self) -> None:
        """End `run` soon, from any thread."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def run(self) -> PlayReport:
        """Play to the end or until stopped, and return what was done."""
        start = self._clock.now()
        period_ns = loop_period_ns(self._recording, self._plan)
        first_ns = self._recording.start_ns + round(self._plan.start_s * 1e9)
        stamps = StampMap(
            recording_start_ns=first_ns,
            play_start_ns=start.node_ns,
            period_ns=period_ns,
            rate=self._plan.rate,
        )
        self.report.stamps = stamps if self._restamp else None
        next_tick_s, skipped_ns = 0.0, 0
        for due in schedule(self._recording, self._plan):
            data = self._prepared(due, stamps)
            while self._clock_period_s and next_tick_s <= due.due_s:
                self._wait_until(start.steady_ns, next_tick_s)
                if self._stop.is_set():
                    return self.report
                elapsed_ns = round(next_tick_s * self._plan.rate * 1e9) + skipped_ns
                self._sink.publish_clock(first_ns + elapsed_ns % period_ns)
                next_tick_s += self._clock_period_s
            lateness_s = self._wait_until(start.steady_ns, due.due_s)
            if self._stop.is_set():
                return self.report
            if due.skipped_ns != skipped_ns:
                skipped_ns = due.skipped_ns
                self.report.skipped_s = skipped_ns * 1e-9
                if self._clock_period_s:  # the time of what comes is told before it
                    self._sink.publish_clock(due.message.log_time_ns)
            self.report.loops = due.loop + 1
            self._send(due, data, lateness_s)
        return self.report

    def _prepared(self, due: Due, stamps: StampMap) -> bytes:
        message = due.message
        if not self._restamp or message.topic not in self._stamped:
            return message.data
        data, samples = message.data, self._samples.get(message.topic)
        if samples is not None and message.type == CHUNK:
            data = samples.continued(data, due.loop)
        recorded_ns = read_stamp_ns(data)
        if recorded_ns == 0:  # an unset stamp stays unset
            return data
        shifted_ns = recorded_ns - due.skipped_ns
        return with_stamp_ns(data, stamps.to_played(shifted_ns, due.loop))

    def _wait_until(self, start_steady_ns: int, due_s: float) -> float:
        """Wait for a moment and return how late it is, s."""
        due_ns = start_steady_ns + round(due_s * 1e9)
        while True:
            remaining_ns = due_ns - self._clock.now().steady_ns
            if remaining_ns <= 0 or self._stop.is_set():
                return -remaining_ns * 1e-9
            self._wait(remaining_ns * 1e-9)

    def _send(self, due: Due, data: bytes, lateness_s: float) -> None:
        report, topic = self.report, due.message.topic
        if due.message.type != self._recording.topics[topic].type:
            report.other_type[topic] = report.other_type.get(topic, 0) + 1
            return
        if due.cut is not None:
            report.withheld[topic] = report.withheld.get(topic, 0) + 1
            self._note_cut(due.cut)
            return
        self._sink.publish(topic, data)
        report.sent[topic] = report.sent.get(topic, 0) + 1
        report.worst_lateness_s = max(report.worst_lateness_s, lateness_s)
        report.late += lateness_s > LATE_S
        self._note_return(topic)

    def _note_cut(self, cut: Cut) -> None:
        last = next((e for e in reversed(self.report.cuts) if e.cut == cut), None)
        if last is None or last.returned_ns:
            now_ns = self._clock.now().node_ns
            self.report.cuts.append(CutEvent(cut=cut, first_missing_ns=now_ns, returned_ns=0))

    def _note_return(self, topic: str) -> None:
        for index, event in enumerate(self.report.cuts):
            if not event.returned_ns and event.cut.matches(topic):
                self.report.cuts[index] = CutEvent(
                    cut=event.cut,
                    first_missing_ns=event.first_missing_ns,
                    returned_ns=self._clock.now().node_ns,
                )


def wait_for(condition: Callable[[], bool], *, timeout_s: float, poll_s: float = 0.02) -> bool:
    """Wait until a condition holds; return whether it did within the time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(poll_s)
    return True
