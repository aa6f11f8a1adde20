"""When the next message of a recording may be sent to nodes: at its time, and where they have room.

Strict: a source gets its next frame only when few of its frames are on their way, so a slow machine
plays slower. Of a stream more parts may be on their way, which queues hold.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from edge_perception.core.errors import EdgePerceptionError
from edge_perception.encoders import encoders, modality_of
from edge_perception.recordings.stamps import NS, read_stamp_ns
from edge_perception.recordings.storage import RecordedMessage
from edge_perception.replay.binding import Binding

IN_FLIGHT = 1  # frames of one source between player and feature: input queues hold one
STREAM_WAIT_S = 1.0  # for a stream to catch up; a part of it need not give a feature
WAIT_S = 20.0  # for one feature: model and machine may be slow, silence is an error
LAST_S = 2.0  # for the last features where some may have been dropped


class LiveReplayError(EdgePerceptionError):
    """The nodes lost a frame, or did not answer."""


class StreamLag:
    """How far the features of a stream lie behind its parts, and how far they may.

    How many parts make a feature is the model's affair. The least distances that were seen say
    it: losses only make them longer.
    """

    def __init__(self) -> None:
        self._sent_ns = self._came_ns = 0
        self._part_ns = self._hop_ns = self._lag_ns = 0  # 0: not seen yet

    def sent(self, stamp_ns: int) -> None:
        """Note a part on its way."""
        if self._sent_ns:
            self._part_ns = _least(self._part_ns, stamp_ns - self._sent_ns)
        self._sent_ns = stamp_ns

    def came(self, stamp_ns: int) -> None:
        """Note a feature."""
        if self._came_ns:
            self._hop_ns = _least(self._hop_ns, stamp_ns - self._came_ns)
        self._came_ns = stamp_ns
        if self._sent_ns:
            self._lag_ns = _least(self._lag_ns, self._sent_ns - stamp_ns)

    def behind(self) -> bool:
        """Whether a feature of what was sent is still to come."""
        if not (self._part_ns and self._hop_ns and self._lag_ns):
            return False
        return self._sent_ns - self._came_ns > self._lag_ns + max(0, self._hop_ns - self._part_ns)

    def give_up(self) -> None:
        """Take the present distance for a usual one: these parts gave no feature."""
        self._lag_ns = self._sent_ns - self._came_ns


def _least(known: int, seen: int) -> int:
    return known if seen <= 0 else min(known or seen, seen)


class Listener(Protocol):
    """Hears what comes of what is sent."""

    features: Counter[str]  # that came, by source
    streams: dict[str, StreamLag]  # by source

    def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until it is done; return whether it is."""
        ...


class Pacer:
    """Sends messages at their time, and not before the nodes have room for them.

    Args:
        sink: publishes messages and clock.
        listener: counts features, and waits for them.
        binding: what the topics mean.
        start_ns: of the recording; the clock stands there already.
        strict: wait for features.
    """

    def __init__(
        self, sink: Any, listener: Listener, binding: Binding, start_ns: int, *, strict: bool
    ) -> None:
        self._sink, self._listener, self._binding = sink, listener, binding
        self._start_ns, self._strict = start_ns, strict
        self._origin_s = time.monotonic()
        self._clock_ns = start_ns
        self.sent: Counter[str] = Counter()

    def send(self, message: RecordedMessage) -> None:
        """Wait for the moment of a message and send it."""
        self._advance(message.log_time_ns)
        source = self._binding.inputs.get(message.topic)
        if source is not None and self.counts(source):
            if self._strict:
                self._make_room(source)
            self.sent[source] += 1
        elif self._strict and source is not None:
            self._let_catch_up(source, message)
        self._sink.publish(message.topic, message.data)

    def finish(self) -> None:
        """Wait for the features of the last frames, and for the last cycle.

        Raises:
            LiveReplayError: strict, and a frame gave no feature.
        """
        features = self._listener.features
        come = self._listener.wait(
            lambda: all(features[name] >= n for name, n in self.sent.items()),
            WAIT_S if self._strict else LAST_S,
        )
        if self._strict and not come:
            raise LiveReplayError(f"sent {dict(self.sent)}, features {dict(features)}")
        self._advance(self._clock_ns + NS // 2)

    @staticmethod
    def counts(source: str) -> bool:
        """Whether each message of a source gives a feature."""
        return not encoders()[modality_of(source)].stateful  # of a stream, parts fill windows

    def _make_room(self, source: str) -> None:
        features, limit = self._listener.features, self.sent[source] - IN_FLIGHT
        began = time.monotonic()
        if not self._listener.wait(lambda: features[source] > limit, WAIT_S):
            raise LiveReplayError(
                f"{source}: {self.sent[source]} frames sent, {features[source]} features came "
                f"within {WAIT_S:g} s"
            )
        self._origin_s += time.monotonic() - began  # the recording's time stood still

    def _let_catch_up(self, source: str, message: RecordedMessage) -> None:
        lag = self._listener.streams[source]
        began = time.monotonic()
        if not self._listener.wait(lambda: not lag.behind(), STREAM_WAIT_S):
            lag.give_up()
        self._origin_s += time.monotonic() - began
        lag.sent(read_stamp_ns(message.data))

    def _advance(self, node_ns: int) -> None:
        """Let the recording's time run to a moment, at most at real time."""
        while self._clock_ns < node_ns:
            self._clock_ns = min(self._clock_ns + NS // 100, node_ns)
            due_s = self._origin_s + (self._clock_ns - self._start_ns) / NS
            late_s = time.monotonic() - due_s
            if late_s <= 0.0:
                self._listener.wait(lambda: False, -late_s)
            elif self._strict:  # no burst afterwards: it would overrun streams, which none paces
                self._origin_s += late_s
            self._sink.publish_clock(self._clock_ns)
