"""What a robot tells of its views and its sources between two readings: figures, and drift."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

NONE = "none"  # what an encoder says where nothing drifted
_NOT_KNOWN = "not "  # … where it cannot tell: not known, and why
_MOST_TIMES = 10_000


def is_drift(said: str) -> bool:
    """Whether what an encoder says of drift is that there is some."""
    return said != NONE and not said.startswith(_NOT_KNOWN)


class Figures:
    """Views since the last reading; counted in one thread, taken in another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._times_ms: deque[float] = deque(maxlen=_MOST_TIMES)
        self._counts: Counter[str] = Counter()
        self._modes: Counter[str] = Counter()
        self._not_ok: Counter[str] = Counter()

    def view(
        self, *, end_to_end_ms: float, mode: str, valid: bool, missed: bool, not_ok: list[str]
    ) -> None:
        """Count a view.

        Args:
            end_to_end_ms: NaN: none contributed.
            mode: FULL, DEGRADED, MINIMAL or NONE.
            valid: whether it may be acted on.
            missed: its deadline was.
            not_ok: sources that were not OK in it.
        """
        with self._lock:
            if math.isfinite(end_to_end_ms):
                self._times_ms.append(end_to_end_ms)
            self._modes[mode] += 1
            self._counts.update(views=1, invalid=int(not valid), deadline_missed=int(missed))
            self._not_ok.update(not_ok)

    def take(self) -> dict[str, Any] | None:
        """Return what was counted, and begin anew; None: there was no view."""
        with self._lock:
            counts, modes, not_ok = self._counts, self._modes, self._not_ok
            times = sorted(self._times_ms)
            self._begin()
        if not counts["views"]:
            return None
        return {
            **counts,
            "modes": dict(modes),
            "not_ok": dict(not_ok),
            "end_to_end_ms": {
                name: round(times[min(round(share * len(times)), len(times) - 1)], 2)
                for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
            }
            if times
            else {},
        }


class DriftSeen:
    """What encoders say of drift, told where it changes."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def look(self, source: str, said: str) -> Mapping[str, str] | None:
        """Return a change to be told; None: nothing is new.

        Args:
            source: of the encoder.
            said: value of its diagnostics.
        """
        before = self._said.get(source)
        if said == before:
            return None
        self._said[source] = said
        if before is None and not self.drifted(source):
            return None  # a robot that starts tells what is wrong only
        return {"source": source, "drift": said, "before": before or NONE}

    def drifted(self, source: str) -> bool:
        """Whether a source has drifted, as far as anybody knows."""
        return is_drift(self._said.get(source, NONE))

    @property
    def any(self) -> bool:
        """Whether one of them has."""
        return any(map(self.drifted, self._said))
