"""Whether the sources that set the pace ever stand in one view.

Two sources in time whose stamps never fit the alignment window take turns: each view has one of
them, none is late, and nothing is ever fused.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from edge_perception.fusion.config import NS
from edge_perception.fusion.state import Arrival, SourceTrack


@dataclass(kw_only=True)
class _Pair:
    since_ns: int  # of the last view with both, or of the first one that both were there for
    met: bool = False
    spread_ns: int | None = None  # smallest since then


@dataclass(frozen=True, kw_only=True)
class Apart:
    """Two sources that do not meet."""

    sources: tuple[str, str]
    text: str  # why, with value and limit
    long: bool  # for so long that it is no matter of a lost frame or of a start


class Meetings:
    """When each two of the sources that set the pace were last in one view."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], _Pair] = {}

    def on_view(
        self,
        pacing: Collection[str],
        picks: Mapping[str, Arrival],
        tracks: Mapping[str, SourceTrack],
        now_ns: int,
    ) -> None:
        """Note a view.

        Args:
            pacing: sources that set the pace and are in time.
            picks: those that are in the view.
            tracks: of all sources.
            now_ns: steady clock.
        """
        pairs = {}
        for pair in itertools.combinations(sorted(pacing), 2):
            known = self._pairs.get(pair) or _Pair(since_ns=now_ns)
            if pair[0] in picks and pair[1] in picks:
                known = _Pair(since_ns=now_ns, met=True)
            elif pair[0] in picks or pair[1] in picks:
                spread_ns = _spread_ns(pair, picks, tracks)
                if spread_ns is not None:
                    known.spread_ns = min(spread_ns, known.spread_ns or spread_ns)
            pairs[pair] = known
        self._pairs = pairs

    def apart(
        self, tracks: Mapping[str, SourceTrack], now_ns: int, window_ns: int
    ) -> tuple[Apart, ...]:
        """Return the pairs that do not meet: not yet, or not any more."""
        found = []
        for pair, known in self._pairs.items():
            waited_ns = now_ns - known.since_ns
            long = waited_ns > max(tracks[name].stale_ns for name in pair)
            if long or not known.met:
                text = _text(pair, known, waited_ns, window_ns) if long else _not_yet(pair)
                found.append(Apart(sources=pair, text=text, long=long))
        return tuple(found)


def _spread_ns(
    pair: tuple[str, str], picks: Mapping[str, Arrival], tracks: Mapping[str, SourceTrack]
) -> int | None:
    there, absent = pair if pair[0] in picks else pair[::-1]
    newest = tracks[absent].newest
    return None if newest is None else abs(newest.stamp_ns - picks[there].stamp_ns)


def _not_yet(pair: tuple[str, str]) -> str:
    return f"{pair[0]} and {pair[1]} have not met in one message yet"


def _text(pair: tuple[str, str], known: _Pair, waited_ns: int, window_ns: int) -> str:
    names = f"{pair[0]} and {pair[1]}"
    if known.spread_ns is None or known.spread_ns <= window_ns:
        return f"{names} have not met in one message for {waited_ns / NS:.1f} s"
    spread_ms, window_ms = known.spread_ns / 1e6, window_ns / 1e6
    return f"{names} never align: spread {spread_ms:.0f} ms > {window_ms:.0f} ms"
