"""Tracks across the cut of two segments: one object keeps its id and its age.

Each segment counts ids of its own. What it saw in its warm-up the one before it saw too: equal
objects of equal views have one id from there on. The rest are new, in the order of their birth, as
in a replay without a cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

_KEPT_NS = 2_000_000_000  # longer than a track may be hidden
_NS = 1e9

# Published, x and y of the centre, id and birth of an object.
Seen = tuple[int, float, float, int, int]


class Overlap:
    """The objects of the newest two seconds of a stream of records."""

    def __init__(self) -> None:
        self._views: deque[list[Seen]] = deque()

    def add(self, record: dict[str, Any]) -> None:
        """Take in the next record."""
        seen = list(_seen(record))
        self._views.append(seen)
        at_ns = record["published_ns"]
        while self._views and (not self._views[0] or self._views[0][0][0] < at_ns - _KEPT_NS):
            self._views.popleft()

    @property
    def tracks(self) -> list[Seen]:
        """What was seen, oldest first."""
        return [item for view in self._views for item in view]


class SameTracks:
    """Gives the objects of all segments the ids that a replay without cuts gives them."""

    def __init__(self) -> None:
        self._overlap = Overlap()
        self._last_id = 0
        self._known: dict[int, tuple[int, int | None]] = {}  # of this segment: id, birth

    def start(self, tracks_before: Sequence[Sequence[Any]]) -> None:
        """Begin a segment; `tracks_before` is what it saw in its warm-up."""
        there = {(at, x, y): (name, born) for at, x, y, name, born in self._overlap.tracks}
        self._known = {}
        owners: dict[int, int] = {}
        for at, x, y, name, _ in tracks_before:
            if (at, x, y) in there:
                same = there[at, x, y]
                if owners.get(same[0], name) != name:  # too short a warm-up: the newest is right
                    self._known.pop(owners[same[0]], None)
                self._known[int(name)] = same
                owners[same[0]] = int(name)

    def apply(self, record: dict[str, Any]) -> None:
        """Rename the tracks of a record."""
        for name in sorted(item["track_id"] for item in record["objects"] if item["track_id"]):
            if name not in self._known:
                self._last_id += 1
                self._known[name] = (self._last_id, None)
        for item in record["objects"]:
            if item["track_id"]:
                item["track_id"], born_ns = self._known[item["track_id"]]
                if born_ns is not None:
                    item["age_s"] = plain_s(record["stamp_ns"] - born_ns)
                self._last_id = max(self._last_id, item["track_id"])
        for event in record["sound_events"]:
            event["track_id"] = self._known.get(event["track_id"], (0, 0))[0]
            event["candidates"] = [
                [self._known[name][0], share]
                for name, share in event["candidates"]
                if name in self._known
            ]
        self._overlap.add(record)


def plain_s(duration_ns: int) -> float | int:
    """Return seconds as canonical records have them: without a fraction where there is none."""
    value = duration_ns / _NS
    return int(value) if value.is_integer() else value


def _seen(record: dict[str, Any]) -> Iterator[Seen]:
    for item in record["objects"]:
        if item["track_id"]:
            born_ns = record["stamp_ns"] - round((item["age_s"] or 0.0) * _NS)
            x, y = item["center_m"][:2]
            yield record["published_ns"], x, y, item["track_id"], born_ns
