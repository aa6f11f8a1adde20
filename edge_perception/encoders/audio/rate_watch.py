"""Whether as many samples come as sample_rate says, by the stamps of their blocks.

A wrong rate, or a wrong number of channels, leaves every block readable: what is heard then is too
fast or too slow, and nothing of it is a siren any more. Only the stamps tell.
"""

from __future__ import annotations

from edge_perception.core.types import UNKNOWN

NS = 1_000_000_000
PERIOD_S = 5.0  # of sound or of time; blocks come in bursts, and are stamped when they come
JUMP_S, JUMP_BLOCKS = 1.0, 5.0  # a clock that is set moves one stamp, a wrong rate moves all


class RateWatch:
    """Compares one uninterrupted stretch of samples with its stamps, period by period."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._start: tuple[int, int] | None = None  # sample index and stamp
        self._last = (0, 0)
        self.ratio = UNKNOWN  # samples of the last period to those that sample_rate promises

    def add(self, index: int, stamp_ns: int) -> None:
        """Note the stamp of the sample at `index`; indices grow."""
        jumped = self._jumped(index, stamp_ns)
        self._last = (index, stamp_ns)
        if self._start is None or jumped or stamp_ns < self._start[1]:
            self._start, self.ratio = self._last, UNKNOWN
            return
        heard_s = (index - self._start[0]) / self._rate_hz
        passed_s = (stamp_ns - self._start[1]) / NS
        if max(heard_s, passed_s) >= PERIOD_S:
            self.ratio = heard_s / max(passed_s, 1e-3)
            self._start = self._last

    def _jumped(self, index: int, stamp_ns: int) -> bool:
        """Whether the clock of the stamps was set: a period of before and after tells nothing."""
        heard_s = (index - self._last[0]) / self._rate_hz
        passed_s = (stamp_ns - self._last[1]) / NS
        return abs(passed_s - heard_s) > max(JUMP_S, JUMP_BLOCKS * heard_s)
