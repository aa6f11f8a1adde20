"""One sensor that is published in several ways, such as raw and compressed: one of them counts.

Drivers with image_transport publish every image twice. Taken both, each frame comes twice, with the
same stamp. Pure logic; steady clock only.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable

from edge_perception.core.errors import ConfigurationError

AUTO = "auto"
NS = 1_000_000_000
_STEADY = 3  # messages in a row until a way that was silent is taken for alive
_OVERLAP_NS = NS  # for so long after a change what the way before gave already is left out


class WayChoice:
    """Which way of one source is listened to.

    The first one that is published, unless a parameter names one. One that falls silent is left for
    the next. A better one that comes later is taken at once; one that was silent before, once it
    is steady again.
    """

    def __init__(self, ways: Iterable[str], wanted: str = AUTO) -> None:
        """Start without a way.

        Args:
            ways: names, the better first.
            wanted: one of them: it alone counts; `auto`: see above.

        Raises:
            ConfigurationError: there is no such way.
        """
        known = tuple(ways)
        if wanted not in (AUTO, *known):
            raise ConfigurationError(f"input: expected {', '.join((AUTO, *known))}, got '{wanted}'")
        self._ways = known if wanted == AUTO else (wanted,)
        self._lock = threading.Lock()
        self._current = self._ways[0] if len(self._ways) == 1 else ""
        self._since_ns: int | None = None  # of the current way
        self._last_ns: dict[str, int] = {}  # newest message of each way
        self._in_a_row: dict[str, int] = {}
        self._left: set[str] = set()  # ways that were silent once
        self._last_stamp_ns = 0  # taken
        self._given_ns = 0  # the newest stamp that the way before gave

    @property
    def current(self) -> str:
        """The way that counts; empty: none has come yet."""
        return self._current

    def offer(self, offered: Collection[str], now_ns: int) -> None:
        """Begin with the best of the ways that are known to be there."""
        with self._lock:
            best = next((way for way in self._ways if way in offered), "")
            if best and not self._current:
                self._change(best, now_ns)

    def to_listen(self, offered: Collection[str], now_ns: int, silence_ns: int) -> frozenset[str]:
        """Return the ways that need a subscription now.

        Args:
            offered: ways that somebody publishes.
            now_ns: steady clock.
            silence_ns: without a message for so long a way is silent.
        """
        with self._lock:
            if not self._current or self._is_silent(now_ns, silence_ns):
                return frozenset(self._ways)
            better = self._ways[: self._ways.index(self._current)]
            return frozenset((self._current, *(way for way in better if way in offered)))

    def take(self, way: str, stamp_ns: int, now_ns: int, silence_ns: int) -> bool:
        """Return whether a message counts that came on a way just now."""
        with self._lock:
            if way not in self._ways:
                return False
            before_ns = self._last_ns.get(way)
            self._last_ns[way] = now_ns
            steady = before_ns is not None and now_ns - before_ns <= silence_ns
            self._in_a_row[way] = self._in_a_row.get(way, 0) + 1 if steady else 1
            if way != self._current:
                if not self._is_due(way, now_ns, silence_ns):
                    return False
                self._change(way, now_ns)
            changed = self._since_ns is not None and now_ns - self._since_ns < _OVERLAP_NS
            if changed and 0 < stamp_ns <= self._given_ns:
                return False
            self._last_stamp_ns = stamp_ns
            return True

    def _is_due(self, way: str, now_ns: int, silence_ns: int) -> bool:
        if not self._current or self._is_silent(now_ns, silence_ns):
            return True
        better = self._ways.index(way) < self._ways.index(self._current)
        return better and (way not in self._left or self._in_a_row[way] >= _STEADY)

    def _is_silent(self, now_ns: int, silence_ns: int) -> bool:
        since_ns = self._last_ns.get(self._current, self._since_ns)
        return since_ns is not None and now_ns - max(since_ns, self._since_ns or 0) > silence_ns

    def _change(self, way: str, now_ns: int) -> None:
        if self._current and self._ways.index(way) > self._ways.index(self._current):
            self._left.add(self._current)
        self._given_ns = self._last_stamp_ns
        self._current, self._since_ns = way, now_ns
