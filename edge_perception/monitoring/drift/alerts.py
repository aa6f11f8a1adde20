"""Alerts of drift: what shifted, from what to what, since when; and their damping."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_perception.core.parameter import parameter

_HISTORY = 32  # alerts that are remembered after they ended


@dataclass(frozen=True, kw_only=True)
class DriftAlert:
    """One quantity that has shifted."""

    source: str
    quantity: str
    statistic: str  # psi, ks, mean or page_hinkley
    value: float
    limit: float
    before: str  # what the reference says
    now: str  # what the window says
    since_ns: int  # stamp from which on it was seen, node clock
    condition: str  # section of the reference

    @property
    def text(self) -> str:
        """One line for people."""
        return (
            f"{self.source}: drift of {self.quantity}: {self.before} -> {self.now} since "
            f"{self.since_ns / 1e9:.1f} s ({self.statistic} {self.value:.2f} > {self.limit:.2f}, "
            f"reference '{self.condition}')"
        )


@dataclass(frozen=True, kw_only=True)
class Damping:
    """How slowly alerts come and go."""

    confirm: int = parameter(3, "looks in a row until an alert", low=1, high=100)
    clear: int = parameter(6, "looks below until it ends", low=1, high=1000)
    clear_share: float = parameter(0.7, "of the limit: below it counts as below", low=0, high=1)
    most_new: int = parameter(4, "new alerts in `storm_s`; more are counted", low=1, high=100)
    storm_s: float = parameter(600.0, unit="s", low=1.0, high=86400.0)


@dataclass(kw_only=True)
class _Track:
    above: int = 0
    below: int = 0
    since_ns: int = 0
    alert: DriftAlert | None = None
    waiting: bool = False  # kept back by the storm limit, and counted


class AlertBook:
    """Turns looks at quantities into alerts that neither flicker nor flood."""

    def __init__(self, damping: Damping) -> None:
        self._damping = damping
        self._tracks: dict[str, _Track] = {}
        self._raised_ns: deque[int] = deque(maxlen=damping.most_new)
        self.raised = 0  # alerts since start
        self.history: deque[DriftAlert] = deque(maxlen=_HISTORY)  # as they were raised

    @property
    def open(self) -> tuple[DriftAlert, ...]:
        """Alerts that hold, the oldest first."""
        found = [track.alert for track in self._tracks.values() if track.alert is not None]
        return tuple(sorted(found, key=lambda alert: (alert.since_ns, alert.quantity)))

    @property
    def held_back(self) -> int:
        """Quantities that shifted too while more alerts came than are told one by one."""
        return sum(track.waiting for track in self._tracks.values())

    def look(
        self, quantity: str, ratio: float, make: Callable[[], DriftAlert], now_ns: int
    ) -> None:
        """Take one look.

        Args:
            quantity: its name.
            ratio: of the worst statistic to its limit; above 1: beyond it.
            make: makes what would be said.
            now_ns: stamp of the look.
        """
        track = self._tracks.setdefault(quantity, _Track())
        if ratio > 1.0:
            alert = make()
            track.since_ns = track.since_ns or alert.since_ns
            track.above, track.below = track.above + 1, 0
            if track.alert is not None:
                track.alert = replace(alert, since_ns=track.since_ns)
            elif track.above >= self._damping.confirm:
                self._raise(track, alert, now_ns)
        elif track.alert is None:
            track.above = 0
        elif ratio < self._damping.clear_share:
            track.below += 1
        if track.below >= self._damping.clear or (track.alert is None and not track.above):
            self._tracks[quantity] = _Track()

    def _raise(self, track: _Track, alert: DriftAlert, now_ns: int) -> None:
        limit_ns = round(self._damping.storm_s * 1e9)
        full = len(self._raised_ns) == self._raised_ns.maxlen
        if full and now_ns - self._raised_ns[0] < limit_ns:
            track.waiting = True
            return
        track.waiting = False
        self._raised_ns.append(now_ns)
        self.raised += 1
        track.alert = replace(alert, since_ns=track.since_ns)
        self.history.append(track.alert)

    def forget(self) -> None:
        """Close everything: another reference holds."""
        self._tracks.clear()
