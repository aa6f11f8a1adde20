"""What of many log lines is written: repetitions are counted, details come around an anomaly.

Pure: the clock is an argument. `nodes/common/node_log.py` writes what is decided here.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

# A number that is no part of a name: lines that differ only in figures repeat one another, those of
# camera_1 and camera_2 do not.
_NUMBER = re.compile(r"(?<![A-Za-z_\d])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_KEY_CHARACTERS = 200
MOST_KEYS = 64  # different lines that are told apart at a time; those beyond share one count
RAISED_MOST = 3  # anomalies one after another keep details for so many times `details_s`,
REST = 9  # and then none for so many times: at most a quarter of the time
LINES_BEFORE = 20  # details from before an anomaly


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line to write."""

    severity: int
    text: str


@dataclass(kw_only=True)
class _Window:
    severity: int
    until_ns: int
    left: int
    swallowed: int = 0
    last: str = ""
    values: tuple[object, ...] | None = None  # that `last` is a template for


class RepeatLimit:
    """Lets so many lines of a kind pass in a window and says how many it swallowed when it ends.

    After a window that swallowed lines the next one begins at once, and the line with the count is
    the one that it lets pass: what goes on for an hour is one line a window.
    """

    def __init__(self, *, burst: int, window_s: float) -> None:
        """Make it.

        Args:
            burst: lines of a kind in a window; 0: no limit.
            window_s: its length.
        """
        self.burst, self.window_s = burst, window_s
        self._windows: dict[Hashable, _Window] = {}

    def take(
        self,
        severity: int,
        text: str,
        steady_ns: int,
        *,
        values: tuple[object, ...] | None = None,
        kind: Hashable = None,
    ) -> bool:
        """Return whether a line is written now; else it is counted.

        Args:
            severity: of the line.
            text: of the line, or what its values are put into.
            values: numbers and short texts; None: the text is whole.
            steady_ns: now, steady clock; ask `ended` first.
            kind: what it repeats; None: lines of the same severity and text but for numbers.
        """
        if self.burst <= 0:
            return True
        key = (severity, kind or _NUMBER.sub("#", text[:_KEY_CHARACTERS]))
        if key not in self._windows and len(self._windows) >= MOST_KEYS:
            key = (severity, None)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = self._opened(severity, steady_ns, self.burst)
        if window.left > 0:
            window.left -= 1
            return True
        window.swallowed += 1
        window.last, window.values = text, values
        return False

    def ended(self, steady_ns: int, *, all_windows: bool = False) -> list[Line]:
        """Return the counts of windows that are over.

        Args:
            steady_ns: now, steady clock.
            all_windows: also of those that are not: nothing will be asked any more.
        """
        over = [k for k, w in self._windows.items() if all_windows or w.until_ns <= steady_ns]
        lines = []
        for key in over:
            window = self._windows.pop(key)
            if not window.swallowed:
                continue
            what = "like it" if key[1] is not None else "of other kinds"  # type: ignore[index]
            last = window.last if window.values is None else window.last.format(*window.values)
            text = f"{last} (the last of {window.swallowed} {what} that were left out)"
            lines.append(Line(severity=window.severity, text=text))
            if not all_windows:
                self._windows[key] = self._opened(window.severity, steady_ns, 0)
        return lines

    def _opened(self, severity: int, steady_ns: int, left: int) -> _Window:
        return _Window(
            severity=severity, until_ns=steady_ns + round(self.window_s * 1e9), left=left
        )


class DetailTime:
    """When details are written: for a while after an anomaly, and not for ever.

    Another anomaly meanwhile makes the time longer, up to a limit; then details rest, so that a
    fault that comes and goes does not fill the log.
    """

    def __init__(self, *, details_s: float) -> None:
        """Make it.

        Args:
            details_s: details after an anomaly; 0: never.
        """
        self.details_s = details_s
        self._since_ns: int | None = None
        self._until_ns = self._rest_until_ns = 0
        self.anomalies = 0  # since details began, or since they ended

    @property
    def raised(self) -> bool:
        """Whether details are written."""
        return self._since_ns is not None

    def on_anomaly(self, steady_ns: int) -> bool:
        """Return whether details begin with this anomaly."""
        self.anomalies += 1
        span_ns = round(self.details_s * 1e9)
        if span_ns <= 0:
            return False
        if self._since_ns is not None:
            self._until_ns = min(steady_ns + span_ns, self._since_ns + RAISED_MOST * span_ns)
            return False
        if steady_ns < self._rest_until_ns:
            return False
        self._since_ns, self._until_ns = steady_ns, steady_ns + span_ns
        return True

    def ends(self, steady_ns: int) -> float | None:
        """Return how long details were written, s, if they end now; None: they do not."""
        if self._since_ns is None or steady_ns < self._until_ns:
            return None
        raised_ns, span_ns = self._until_ns - self._since_ns, round(self.details_s * 1e9)
        if raised_ns >= RAISED_MOST * span_ns:
            self._rest_until_ns = steady_ns + REST * span_ns
        self._since_ns = None
        return raised_ns / 1e9


class Before:
    """The last details, unwritten: what happened just before an anomaly.

    Templates and their values are kept, and made into text only when they are wanted: a detail a
    frame costs a fraction of a microsecond. Values must be numbers or short texts, never frames.
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[int, str, tuple[object, ...]]] = deque(maxlen=LINES_BEFORE)

    def keep(self, steady_ns: int, template: str, values: tuple[object, ...]) -> None:
        """Keep a detail."""
        self._kept.append((steady_ns, template, values))

    def take(self, steady_ns: int) -> list[str]:
        """Return the texts with their ages, oldest first, and forget them."""
        kept, self._kept = self._kept, deque(maxlen=LINES_BEFORE)
        return [
            f"{(steady_ns - at_ns) / 1e9:.3f} s before: {template.format(*values)}"
            for at_ns, template, values in kept
        ]


class Burst:
    """Finds so many events within a time; each event counts for one burst."""

    def __init__(self, *, count: int, within_s: float) -> None:
        self._within_ns = round(within_s * 1e9)
        self._times_ns: deque[int] = deque(maxlen=count)
        self._count = count

    def add(self, steady_ns: int) -> bool:
        """Note an event; return whether it completes a burst."""
        times = self._times_ns
        times.append(steady_ns)
        if len(times) < self._count or steady_ns - times[0] > self._within_ns:
            return False
        times.clear()
        return True
