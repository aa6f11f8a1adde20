"""When a robot asks again: with jitter, so that a fleet does not ask at once, and backing off."""

from __future__ import annotations

import math
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_perception.core.errors import ConfigurationError, LinkError

_JITTER = 0.2  # of the period, to either side
_LONGEST_S = 6 * 3600.0
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class PollSchedule:
    """The time until the next poll."""

    def __init__(self, period_s: float, rng: random.Random) -> None:
        self._period_s, self._rng = period_s, rng
        self.failures = 0

    def first_s(self) -> float:
        """Return the wait after a start: anywhere in a period, as a fleet may start at once."""
        return self._rng.uniform(0.0, self._period_s)

    def next_s(self, *, failed: bool) -> float:
        """Return the wait after a poll."""
        self.failures = self.failures + 1 if failed else 0
        longest_s = max(_LONGEST_S, self._period_s)
        wait_s = min(self._period_s * 2 ** min(self.failures, 16), longest_s)
        return wait_s * self._rng.uniform(1.0 - _JITTER, 1.0 + _JITTER)


@dataclass(frozen=True, kw_only=True)
class QuietHours:
    """A time of the day, UTC, in which nothing is fetched or changed."""

    begin_min: int
    end_min: int

    def holds(self, now_ns: int) -> bool:
        """Whether it is that time."""
        minute = now_ns // 60_000_000_000 % 1440
        if self.begin_min <= self.end_min:
            return self.begin_min <= minute < self.end_min
        return minute >= self.begin_min or minute < self.end_min


def parse_quiet_hours(text: str) -> QuietHours | None:
    """Read hours such as 22:00-06:00; empty: none.

    Raises:
        ConfigurationError: they are none.
    """
    if not text:
        return None
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"quiet_hours: expected HH:MM-HH:MM in UTC, got '{text}'")
    begin_h, begin_m, end_h, end_m = map(int, match.groups())
    return QuietHours(begin_min=begin_h * 60 + begin_m, end_min=end_h * 60 + end_m)


class AskAgainError(LinkError):
    """The registry is to be asked again; what came stays, and the rest goes on after that."""


class Pace:
    """Between pieces of what is fetched or sent: no faster than allowed, none in quiet hours.

    Args:
        most_kb_s: on average; 0: as fast as it goes.
        quiet: when nothing moves.
        ended: set when the node ends.
        now_ns: wall clock.
        steady_s: steady clock.

    Attributes:
        until_s: steady; from then on something more urgent is to be asked for.
    """

    def __init__(
        self,
        most_kb_s: float,
        quiet: QuietHours | None,
        ended: threading.Event,
        now_ns: Callable[[], int],
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kb_s, self._quiet, self._ended, self._now_ns = most_kb_s, quiet, ended, now_ns
        self._steady_s, self.until_s = steady_s, math.inf

    def __call__(self, count: int) -> None:
        """Wait after so many bytes.

        Raises:
            LinkError: the node ends, quiet hours began, or it is `until_s`; what came stays.
        """
        if self._ended.wait(count / (self._kb_s * 1000.0) if self._kb_s else 0.0):
            raise LinkError("the node ends")
        if self.is_quiet:
            raise LinkError("quiet hours began")
        if self._steady_s() > self.until_s:
            raise AskAgainError("the registry is asked again in between")

    @property
    def is_quiet(self) -> bool:
        """Whether it is a time in which no piece moves and no release is changed to."""
        return self._quiet is not None and self._quiet.holds(self._now_ns())
