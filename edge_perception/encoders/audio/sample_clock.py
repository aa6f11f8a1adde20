"""When a sample was taken: the sound card's own count, fitted to the stamps of its blocks.

A sound card has a clock of its own, some ten parts in a million off, and its blocks are stamped
when the system gets to them: late by milliseconds that vary. The count of samples has no jitter,
the stamps have no drift; a line through the least delayed stamps has neither.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from edge_perception.core.types import UNKNOWN

NS = 1_000_000_000
KEPT_S = 60  # the least delayed block of each of so many seconds is kept
NEEDED_S = 5  # fewer give no line
STEP_NS = NS // 20  # a stamp this far off the line: the system's clock was set


class SampleClock:
    """Time of samples of one uninterrupted stretch. One thread adds; any thread may read."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._start: tuple[int, int] | None = None  # sample index and stamp of the first block
        self._least: deque[tuple[int, float, float]] = deque(maxlen=KEPT_S)  # second, s, delay in s
        self._line = (0.0, 0.0)  # seconds of delay a second of samples, and at the start
        self.drift_ppm = UNKNOWN  # by how much the card's second is longer than the system's
        self.jitter_s = UNKNOWN  # how late the newest block was stamped

    def add(self, index: int, stamp_ns: int) -> None:
        """Note the stamp of the sample at `index`; indices grow."""
        if self._start is None or abs(stamp_ns - self.time_ns(index)) > STEP_NS:
            self._start = (index, stamp_ns)
            self._least.clear()
            self._line, self.drift_ppm = (0.0, 0.0), UNKNOWN
        moment_s = (index - self._start[0]) / self._rate_hz
        delay_s = (stamp_ns - self._start[1]) / NS - moment_s
        self.jitter_s = delay_s - self._line[0] * moment_s - self._line[1]
        second = int(moment_s)
        if not self._least or self._least[-1][0] != second:
            self._fit()
            self._least.append((second, moment_s, delay_s))
        elif delay_s < self._least[-1][2]:
            self._least[-1] = (second, moment_s, delay_s)
        if len(self._least) < NEEDED_S:  # no drift yet: the least delayed block of all
            self._line = (0.0, min(delay_s for _, _, delay_s in self._least))

    def _fit(self) -> None:
        if len(self._least) < NEEDED_S:
            return
        points = np.array(self._least)
        slope, start = np.polyfit(points[:, 1], points[:, 2], 1)
        self._line = (float(slope), float(start))
        self.drift_ppm = slope * 1e6

    def time_ns(self, index: float) -> int:
        """Return when a sample was taken, in the system's clock; `add` must have been called."""
        assert self._start is not None
        moment_s = (index - self._start[0]) / self._rate_hz
        return self._start[1] + round((moment_s * (1.0 + self._line[0]) + self._line[1]) * NS)
