"""Bytes in any hour, counted by minutes."""

from __future__ import annotations

from collections import deque

_MINUTE_S = 60.0
_KEPT = 61  # minutes: the oldest may have begun an hour ago, and counts whole


class HourBudget:
    """What may be spent in any hour. One thread spends; any may look."""

    def __init__(self, most_bytes: float) -> None:
        self.most_bytes = most_bytes
        self._minutes: deque[tuple[int, int]] = deque(maxlen=_KEPT)  # number and bytes

    def used(self, now_s: float) -> int:
        """Return what the last hour took, never less than it did (steady clock)."""
        first = int(now_s // _MINUTE_S) - _KEPT + 1
        return sum(count for minute, count in list(self._minutes) if minute >= first)

    def fits(self, count: int, now_s: float) -> bool:
        """Whether so many bytes more may be spent now."""
        return self.used(now_s) + count <= self.most_bytes

    def spend(self, count: int, now_s: float) -> None:
        """Note bytes that were sent or received."""
        minute = int(now_s // _MINUTE_S)
        if self._minutes and self._minutes[-1][0] == minute:
            count += self._minutes.pop()[1]
        self._minutes.append((minute, count))
