"""Pairs messages by the nearest time of publication, and objects by the nearest centre."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

PAIR_NS = 60_000_000
Record = Mapping[str, Any]


def pair(
    current: Iterable[Record], baseline: Iterable[Record]
) -> Iterator[tuple[Record | None, Record | None]]:
    """Pair two streams by time of publication; None: the other has no partner."""
    left, right = _Peek(current), _Peek(baseline)
    while left.head is not None or right.head is not None:
        if left.head is None or right.head is None:
            yield left.take(), right.take()
            continue
        gap = left.head["published_ns"] - right.head["published_ns"]
        # A partner may be nearer to the one after: then the first stands alone.
        if abs(gap) <= PAIR_NS and not _better_next(left, right, gap):
            yield left.take(), right.take()
        elif gap > 0:
            yield None, right.take()
        else:
            yield left.take(), None


def _better_next(left: _Peek, right: _Peek, gap: int) -> bool:
    earlier, other = (right, left) if gap > 0 else (left, right)
    following = earlier.following
    if following is None or other.head is None:
        return False
    return abs(following["published_ns"] - other.head["published_ns"]) < abs(gap)


class _Peek:
    """An iterator with two items in sight."""

    def __init__(self, items: Iterable[Record]) -> None:
        self._items = iter(items)
        self.head = next(self._items, None)
        self.following = next(self._items, None)

    def take(self) -> Record | None:
        head, self.head = self.head, self.following
        self.following = next(self._items, None) if self.head is not None else None
        return head


def match_objects(
    now: list[Record], then: list[Record], match_m: float
) -> tuple[list[tuple[Record, Record]], list[Record], list[Record]]:
    """Pair objects by the nearest centre, equal classes first; return the others too."""
    near = sorted(
        (a["class_name"] != b["class_name"], distance, i, j)
        for i, a in enumerate(now)
        for j, b in enumerate(then)
        # Most are far apart already by their first coordinate.
        if abs(a["center_m"][0] - b["center_m"][0]) <= match_m
        and (distance := distance_m(a["center_m"], b["center_m"])) <= match_m
    )
    left, right, pairs = set(range(len(now))), set(range(len(then))), []
    for _, _, i, j in near:
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
            pairs.append((now[i], then[j]))
    return pairs, [now[i] for i in sorted(left)], [then[j] for j in sorted(right)]


def distance_m(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the distance of two points on the ground."""
    return math.dist(a[:2], b[:2])
