"""Which features belong together: a few unused ones of each source, matched by stamp.

No source is the anchor. The picked set lies around the newest moment of which every delivered
source knows something: the oldest of the sources' newest stamps. A source that delivers twice
while others are slow is therefore matched by stamp and not by arrival.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping

from edge_perception.fusion.one_set import Sets, fits, in_order, space_of
from edge_perception.fusion.state import Arrival, SourceTrack

HISTORY = 4  # unused features kept of each source
JITTER_SHARE = 10  # of a period: stamps of two live sources vary by so much against each other


class Selection:
    """Features picked for one cycle."""

    __slots__ = ("left_out", "picks", "spread_ns")

    def __init__(self, picks: dict[str, Arrival], left_out: list[str], spread_ns: int) -> None:
        self.picks = picks
        self.left_out = left_out  # sources whose newest is too old for the others
        self.spread_ns = spread_ns


class Aligner:
    """Unused features of the sources that set the pace, since the last output."""

    def __init__(self) -> None:
        self._unused: dict[str, list[Arrival]] = {}
        self.opened_ns: int | None = None  # steady clock; None: no cycle is open

    def add(self, track: SourceTrack, arrival: Arrival) -> None:
        """Add a feature; opens a cycle when none is open."""
        unused = self._unused.setdefault(track.config.source, [])
        if unused and unused[-1].stamp_ns >= arrival.stamp_ns:
            track.superseded += len(unused)  # its stamps start again
            unused.clear()
        unused.append(arrival)
        if len(unused) > HISTORY:
            del unused[0]
            track.superseded += 1
        if self.opened_ns is None:
            self.opened_ns = arrival.arrived_ns

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        self._unused.clear()
        self.opened_ns = None

    def keep(self, sources: Iterable[str]) -> None:
        """Forget sources that are not configured any more."""
        self._unused = {name: self._unused[name] for name in sources if name in self._unused}
        if not self._unused:
            self.opened_ns = None

    def select(self, window_ns: int) -> Selection:
        """Pick one feature of each source so that the stamps fit the window."""
        candidates = {name: unused for name, unused in self._unused.items() if unused}
        left_out: list[str] = []
        while True:
            picks = _around_newest_common(candidates)
            stamps = [pick.stamp_ns for pick in picks.values()]
            spread_ns = max(stamps) - min(stamps) if stamps else 0
            if spread_ns <= window_ns:
                return Selection(picks, left_out, spread_ns)
            oldest = min(candidates, key=lambda name: candidates[name][-1].stamp_ns)
            left_out.append(oldest)
            del candidates[oldest]

    def select_one_set(self, window_ns: int, pacing: Collection[str], sets: Sets) -> Selection:
        """Pick as `select` does, but never features of two sets that replace one another.

        While a set of models is swapped at a stamp, unused features of both sets are here. The
        old set goes first where every source of `pacing` still has a feature of it; otherwise the
        newest set is picked, and what is left of the older one has no partner any more.
        """
        selection = self.select(window_ns)
        if fits(selection.picks.values(), sets):
            return selection
        known = frozenset().union(*sets)
        for each in in_order(itertools.chain(*self._unused.values()), sets):
            selection = self._select_without(known - each, window_ns)
            if all(name in selection.picks for name in pacing):
                break
        return selection

    def _select_without(self, spaces: frozenset[str], window_ns: int) -> Selection:
        everything = self._unused
        self._unused = {
            name: [item for item in unused if space_of(item) not in spaces]
            for name, unused in everything.items()
        }
        try:
            return self.select(window_ns)
        finally:
            self._unused = everything

    def consume(self, selection: Selection, tracks: dict[str, SourceTrack], now_ns: int) -> None:
        """Remove what was used and what is older; newer ones open the next cycle."""
        self.opened_ns = None
        for name, pick in selection.picks.items():
            unused = self._unused[name]
            used = unused.index(pick) + 1
            tracks[name].superseded += used - 1
            del unused[:used]
            if unused:
                self.opened_ns = now_ns
        for name in selection.left_out:
            count_late(tracks[name], self._unused[name][-1])

    def drop_older(self, tracks: dict[str, SourceTrack], node_ns: int) -> None:
        """Remove features that passed their age limit while they waited."""
        if self.opened_ns is None:
            return
        for name, unused in self._unused.items():
            track = tracks[name]
            while unused and node_ns - unused[0].evidence_ns > track.max_age_ns:
                count_late(track, unused.pop(0))
        if not any(self._unused.values()):
            self.opened_ns = None


def count_late(track: SourceTrack, arrival: Arrival) -> None:
    """Count a feature that missed its cycle, once."""
    if not arrival.counted_late:
        arrival.counted_late = True
        track.late += 1


def settle_ns(selection: Selection, tracks: Mapping[str, SourceTrack], window_ns: int) -> int:
    """Until when waiting promises a better match; 0: publish now. Steady clock.

    With sources of equal rate in a bad phase (70 of 100 ms apart) the oldest source's next feature
    is the nearer partner. Waiting for it once moves all later cycles to the good phase, after a
    lost frame too. A gain below the jitter of the stamps is not worth a wait.
    """
    if 2 * selection.spread_ns <= window_ns:  # good enough; also a single source
        return 0
    stamps = {name: pick.stamp_ns for name, pick in selection.picks.items()}
    oldest = min(stamps, key=stamps.__getitem__)
    period_ns = tracks[oldest].period_ns
    stamps[oldest] += period_ns
    spread_ns = max(stamps.values()) - min(stamps.values())
    if selection.spread_ns - spread_ns <= period_ns // JITTER_SHARE:
        return 0
    return selection.picks[oldest].arrived_ns + period_ns + 2 * period_ns // JITTER_SHARE


def _around_newest_common(candidates: dict[str, list[Arrival]]) -> dict[str, Arrival]:
    if not candidates:
        return {}
    common_ns = min(unused[-1].stamp_ns for unused in candidates.values())
    picks = {}
    for name, unused in candidates.items():
        best = unused[-1]
        if len(unused) > 1:
            best = min(reversed(unused), key=lambda item: abs(item.stamp_ns - common_ns))
        picks[name] = best
    return picks
