"""Answers that serve again for frames that hardly differ, found by a perceptual hash.

The hash is a difference hash (dHash, N. Krawetz, "Kind of Like That", 2013) in both directions, of
the sketch that a modality makes of its frames. It narrows; the sketch decides, cell by cell: a hash
hides what changes in one place only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_perception.encoders.likeness import LikenessSpec

T = TypeVar("T")
_SIDE = 8  # differences a row and a column: 64 bits a direction


def difference_hash(sketch: NDArray) -> int:
    """Return 128 bits: whether brightness rises to the right, and downwards, in 8 x 8 places."""
    cells = np.atleast_2d(np.asarray(sketch, np.float64))
    right = np.diff(_reduced(cells, _SIDE, _SIDE + 1), axis=1) > 0
    down = np.diff(_reduced(cells, _SIDE + 1, _SIDE), axis=0) > 0
    bits = np.concatenate([right.ravel(), down.ravel()])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def distance_bits(a: int, b: int) -> int:
    """Return how many bits differ."""
    return (a ^ b).bit_count()


def _reduced(cells: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    """Return the means of as many parts; fewer where there are not so many cells."""
    for axis, parts in ((0, rows), (1, columns)):
        size = cells.shape[axis]
        edges = np.unique(np.linspace(0, size, min(parts, size) + 1).astype(int))
        cells = np.add.reduceat(cells, edges[:-1], axis=axis)
        shape = [1, 1]
        shape[axis] = -1
        cells = cells / np.diff(edges).reshape(shape)
    return cells


@dataclass(frozen=True, kw_only=True)
class _Entry(Generic[T]):
    key: Hashable
    hash: int
    sketch: NDArray
    answer: T
    at_s: float


class AnswerCache(Generic[T]):
    """The answers used last. One thread uses it.

    Args:
        likeness: how frames of the modality are compared.
        entries: most answers.
        keep_s: how long an answer may serve; 0: none does.
        most_bits: of the hash, how many may differ.
    """

    def __init__(
        self, likeness: LikenessSpec, *, entries: int, keep_s: float, most_bits: int
    ) -> None:
        self._likeness = likeness
        self._most, self._keep_s, self._most_bits = entries, keep_s, most_bits
        self._entries: OrderedDict[int, _Entry[T]] = OrderedDict()
        self._number = 0
        self.asked = self.hits = 0

    def sketch(self, frame: object) -> NDArray:
        """Return what `find` and `put` know a frame by."""
        return self._likeness.sketch(frame)

    def find(
        self,
        key: Hashable,
        sketch: NDArray,
        now_s: float,
        *,
        serves: Callable[[T], bool] = lambda _: True,
    ) -> T | None:
        """Return the answer of a frame that hardly differs; None: there is none.

        Args:
            key: of models and of where the sensor sits; others' answers do not serve.
            sketch: of the frame.
            now_s: steady clock.
            serves: whether an answer says what is asked now.
        """
        self.asked += 1
        code = difference_hash(sketch)
        for number, entry in reversed(list(self._entries.items())):
            if now_s - entry.at_s > self._keep_s:
                del self._entries[number]
                continue
            if entry.key != key or distance_bits(entry.hash, code) > self._most_bits:
                continue
            alike = self._likeness.difference(entry.sketch, sketch) <= self._likeness.limit
            if alike and serves(entry.answer):
                self._entries.move_to_end(number)
                self.hits += 1
                return entry.answer
        return None

    def put(self, key: Hashable, sketch: NDArray, answer: T, now_s: float) -> None:
        """Keep an answer; the one not used for longest leaves."""
        if self._keep_s <= 0.0:
            return
        self._number += 1
        self._entries[self._number] = _Entry(
            key=key, hash=difference_hash(sketch), sketch=sketch, answer=answer, at_s=now_s
        )
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)

    @property
    def size(self) -> int:
        """Answers that are kept."""
        return len(self._entries)
