"""How far a sensor's clock is from ours: estimated and reported, applied only when asked."""

from __future__ import annotations

from collections import deque

from edge_perception.core.types import UNKNOWN, Instant
from edge_perception.fusion.config import NS

BUCKET_NS = NS  # a minimum is kept of each second
BUCKETS = 10


class ClockOffset:
    """Smallest arrival minus stamp over the last ten seconds, node clock.

    The minimum over a window is the least delayed message, so queueing does not blur it (the
    filter of NTP, RFC 5905 section 10). What is left is the constant delay of the path plus the
    offset of the two clocks; a value below zero can only be a clock that runs ahead. The value may
    be given as `time_offset_s` of the source to apply it.
    """

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, int]] = deque(maxlen=BUCKETS)  # (second, least delay, ns)

    def add(self, stamp_ns: int, now: Instant) -> None:
        """Note one arrival."""
        second, delay_ns = now.steady_ns // BUCKET_NS, now.node_ns - stamp_ns
        if self._buckets and self._buckets[-1][0] == second:
            self._buckets[-1] = (second, min(self._buckets[-1][1], delay_ns))
        else:
            self._buckets.append((second, delay_ns))

    def clear(self) -> None:
        """Forget everything, as after a jump of the node clock."""
        self._buckets.clear()

    @property
    def offset_s(self) -> float:
        """The estimate; NaN: nothing arrived yet."""
        return min((delay for _, delay in self._buckets), default=UNKNOWN) / NS

    @property
    def drift_ppm(self) -> float:
        """Slope of the minima, microseconds a second; NaN: less than five seconds are known."""
        if len(self._buckets) < BUCKETS // 2:
            return UNKNOWN
        (first, low), (last, high) = self._buckets[0], self._buckets[-1]
        return (high - low) / 1000.0 / (last - first)
