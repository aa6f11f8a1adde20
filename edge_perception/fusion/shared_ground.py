"""Which tracks are of one thing: solid things share no ground.

A detector sometimes puts two boxes on one long vehicle, each with a track of its own; and where
vehicles meet a track may go on with the box of the other one, whose own is lost that moment, or a
new one begins there. Such tracks are taken for one thing until they are seen apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from edge_perception.core.types import DetectedObject
from edge_perception.fusion.classes import group_of
from edge_perception.fusion.geometry import shared_area
from edge_perception.fusion.tracks import TrackPlace

_LEAST_SHARE = 0.2  # of the smaller footprint: boxes of neighbours touch by their errors


class SharedGround:
    """Pairs of tracks that were last seen on the same ground. One thread uses it."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[int, int], int] = {}  # the lower id first; when that was seen
        self._seen: frozenset[int] = frozenset()  # tracks in the view before
        self._known: frozenset[int] = frozenset()  # and those that coasted too

    def forget(self) -> None:
        """Begin anew."""
        self._pairs.clear()
        self._seen = self._known = frozenset()

    def note(
        self,
        objects: Sequence[DetectedObject],
        places: Sequence[TrackPlace],
        stamp_ns: int,
        oldest_ns: int,
    ) -> None:
        """Look at a view.

        Args:
            objects: of the view, with their tracks.
            places: of all tracks at its stamp, those that coast too.
            stamp_ns: of the view.
            oldest_ns: pairs that were not seen since are forgotten.
        """
        for first, second in self._to_compare(objects):
            one, other = objects[first], objects[second]
            self._tell(one.track_id, other.track_id, _overlap(one, other), stamp_ns)
        fresh = [item for item in objects if item.track_id not in self._known]
        for place in places:
            if place.index < 0:  # what is not seen is not seen apart either
                for item in objects if place.track_id in self._seen else fresh:
                    if _stands_on(item, place):
                        self._tell(place.track_id, item.track_id, True, stamp_ns)
        self._seen = frozenset(item.track_id for item in objects)
        self._known = frozenset(place.track_id for place in places)
        self._pairs = {pair: at for pair, at in self._pairs.items() if at >= oldest_ns}

    def _to_compare(self, objects: Sequence[DetectedObject]) -> set[tuple[int, int]]:
        """Return which objects, by index, may touch, or are of one thing so far."""
        index = {item.track_id: number for number, item in enumerate(objects)}
        known = {
            (index[first], index[second])
            for first, second in self._pairs
            if first in index and second in index
        }
        return known | _near(objects)

    def together(self, names: Iterable[int]) -> list[tuple[int, ...]]:
        """Return tracks by what they are of, in ascending order; most are alone."""
        group_of_name = {name: {name} for name in names}
        for pair in self._pairs:
            first, second = (group_of_name.get(name) for name in pair)
            if first is None or second is None or first is second:
                continue
            first |= second
            group_of_name.update(dict.fromkeys(second, first))
        return sorted({tuple(sorted(group)) for group in group_of_name.values()})

    def _tell(self, first: int, second: int, same: bool, stamp_ns: int) -> None:
        pair = _pair(first, second)
        if same:
            self._pairs[pair] = stamp_ns
        else:
            self._pairs.pop(pair, None)


def _pair(first: int, second: int) -> tuple[int, int]:
    return (first, second) if first < second else (second, first)


def _near(objects: Sequence[DetectedObject]) -> set[tuple[int, int]]:
    """Return the pairs of a group that are close enough to touch, by index."""
    centers = np.array([item.center_m[:2] for item in objects]).reshape(-1, 2)
    halves = np.array([math.hypot(*item.size_m[:2]) / 2 for item in objects])
    gaps = np.hypot(*(centers[:, None] - centers).T)
    close = np.argwhere(np.triu(gaps < halves[:, None] + halves, 1)).tolist()
    groups = [group_of(item.class_name) for item in objects]
    return {(first, second) for first, second in close if groups[first] == groups[second]}


def _overlap(one: DetectedObject, other: DetectedObject) -> bool:
    """Whether two boxes share more ground than their errors explain."""
    smaller = min(box.size_m[0] * box.size_m[1] for box in (one, other))
    return shared_area(one, other) > _LEAST_SHARE * smaller


def _stands_on(box: DetectedObject, place: TrackPlace) -> bool:
    """Whether a box of the same group is where a track should be."""
    x, y = place.center_m[0] - box.center_m[0], place.center_m[1] - box.center_m[1]
    cos, sin = math.cos(box.yaw_rad), math.sin(box.yaw_rad)
    return (
        group_of(box.class_name) == place.group
        and abs(x * cos + y * sin) < box.size_m[0] / 2
        and abs(y * cos - x * sin) < box.size_m[1] / 2
    )
