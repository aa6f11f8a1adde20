"""Do two models decide the same? Compared on what they decided of the same frames.

Tensors of two feature spaces have nothing in common, their decisions have: objects in the base
frame, sound events. Each frame gives counts to some checks (of the objects of this class, how many
have a partner?). A check is a ratio of sums; its error comes from blocks of frames, which are
nearly independent where single frames are not, and is never below that of the objects that a
second of one object stands for. `behaviour_verdict` stops a candidate whose bound lies outside the
bar, and passes one whose ratios all lie inside once there is enough evidence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject, ImageObject, SoundEvent

BLOCK_FRAMES = 10
MATCH_M = 2.0  # centres of one object in two models; nuScenes counts by the same distance
BANDS_M = (0.0, 15.0, 25.0, 35.0, math.inf)  # ranges that are looked at apart
_OTHER_CLASS_M = 1.0  # a partner of another class counts as so much farther
_FRAMES_A_SAMPLE = 10.0  # of one object at 10 Hz: what it does then says little new
_LEAST_IOU = 0.3  # of one object in the image in two models
IMAGE = "image "  # begins the checks of boxes in the image
_MEANS = ("shift", "score", "count", "bearing")  # checks that are no shares
Item = DetectedObject | ImageObject


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What a model, or a whole set, made of one frame."""

    objects: Sequence[DetectedObject] = ()  # base frame
    image_objects: Sequence[ImageObject] = ()
    sound_events: Sequence[SoundEvent] = ()
    hears: bool = False  # a window of sound was judged: no event means silence


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is known of one check."""

    mean: float  # ratio of sums
    error: float  # standard error of it
    count: float  # sum of what it is a share or mean of: objects, frames, windows
    blocks: int  # blocks of frames with evidence


@dataclass(kw_only=True)
class _Sums:
    """Sums over blocks of a numerator m and a denominator n."""

    blocks: int = 0
    n: float = 0.0
    m: float = 0.0
    nn: float = 0.0
    nm: float = 0.0
    mm: float = 0.0

    def add(self, m: float, n: float) -> None:
        if n <= 0.0:
            return
        self.blocks += 1
        self.n += n
        self.m += m
        self.nn += n * n
        self.nm += n * m
        self.mm += m * m

    def estimate(self, *, bounded: bool) -> Estimate:
        ratio = self.m / self.n
        squares = max(self.mm - 2 * ratio * self.nm + ratio * ratio * self.nn, 0.0)
        error = math.inf
        if self.blocks > 1:
            error = math.sqrt(squares * self.blocks / (self.blocks - 1)) / self.n
        if bounded:
            # Wilson: a share of 0 or 1 seen a few times is not certain.
            independent = self.n / _FRAMES_A_SAMPLE
            share = (min(max(ratio, 0.0), 1.0) * independent + 1.0) / (independent + 2.0)
            error = max(error, math.sqrt(share * (1 - share) / (independent + 2.0)))
        return Estimate(mean=ratio, error=error, count=self.n, blocks=self.blocks)


class BehaviourComparison:
    """Collects how a candidate's decisions differ from those of what serves. One thread adds."""

    def __init__(self) -> None:
        self.frames = 0
        self._block: dict[str, tuple[float, float]] = {}
        self._sums: dict[str, _Sums] = {}

    def add(self, candidate: Decisions, current: Decisions) -> None:
        """Take what both decided of one frame."""
        for name, m, n in _counts(candidate, current):
            before = self._block.get(name, (0.0, 0.0))
            self._block[name] = (before[0] + m, before[1] + n)
        self.frames += 1
        if self.frames % BLOCK_FRAMES == 0:
            for name, (m, n) in self._block.items():
                self._sums.setdefault(name, _Sums()).add(m, n)
            self._block.clear()

    def estimates(self) -> dict[str, Estimate]:
        """Return what is known, by check; checks without evidence are left out."""
        sums = dict(self._sums)  # another thread may be adding
        return {
            name: item.estimate(bounded=not name.removeprefix(IMAGE).startswith(_MEANS))
            for name, item in sorted(sums.items())
            if item.n > 0.0
        }


def _counts(candidate: Decisions, current: Decisions) -> Iterator[tuple[str, float, float]]:
    """Yield what one frame adds to numerator and denominator of each check."""
    pairs = match(candidate.objects, current.objects)
    yield from _alike(candidate.objects, current.objects, pairs)
    for item, hit in _hits(current.objects, pairs):
        yield f"found {band_of(item)}", hit, 1.0
    for i, j in pairs:
        one, other = candidate.objects[i].center_m, current.objects[j].center_m
        yield "shift x", one[0] - other[0], 1.0
        yield "shift y", one[1] - other[1], 1.0
    flat = match_images(candidate.image_objects, current.image_objects)
    for name, m, n in _alike(candidate.image_objects, current.image_objects, flat):
        yield IMAGE + name, m, n
    if candidate.hears and current.hears:
        yield from _heard(candidate.sound_events, current.sound_events)


def _alike(
    ours: Sequence[Item], theirs: Sequence[Item], pairs: Sequence[tuple[int, int]]
) -> Iterator[tuple[str, float, float]]:
    if theirs:
        yield "empty", float(not ours), 1.0
        yield "count", float(len(ours)), float(len(theirs))
        yield "found", float(len(pairs)), float(len(theirs))
    if ours:
        yield "confirmed", float(len(pairs)), float(len(ours))
    for item, hit in _hits(theirs, pairs):
        yield f"found {item.class_name}", hit, 1.0
    for i, j in pairs:
        same = float(ours[i].class_name == theirs[j].class_name)
        yield "class", same, 1.0
        yield f"class {theirs[j].class_name}", same, 1.0
        yield "score", ours[i].score, theirs[j].score


def _hits(items: Sequence[Any], pairs: Sequence[tuple[int, int]]) -> Iterator[tuple[Any, float]]:
    seen = {j for _, j in pairs}
    return ((item, float(index in seen)) for index, item in enumerate(items))


def _heard(
    ours: Sequence[SoundEvent], theirs: Sequence[SoundEvent]
) -> Iterator[tuple[str, float, float]]:
    mine = {event.class_name: event for event in ours}
    others = {event.class_name: event for event in theirs}
    for name in others:
        yield "heard", float(name in mine), 1.0
        yield f"heard {name}", float(name in mine), 1.0
    for name in mine:
        yield "sounds confirmed", float(name in others), 1.0
    if not others:
        yield "silence", float(not mine), 1.0
    for name in mine.keys() & others.keys():
        turn = mine[name].bearing_rad - others[name].bearing_rad
        if math.isfinite(turn):
            yield "bearing", abs(math.remainder(turn, math.tau)), 1.0


def band_of(item: DetectedObject) -> str:
    """Return the range an object lies in, such as `15-25 m`."""
    away_m = math.hypot(*item.center_m[:2])
    for low, high in pairwise(BANDS_M):
        if away_m < high:
            return f"{low:g} m+" if math.isinf(high) else f"{low:g}-{high:g} m"
    return f"{BANDS_M[-2]:g} m+"  # not finite


def match(
    ours: Sequence[DetectedObject], theirs: Sequence[DetectedObject]
) -> list[tuple[int, int]]:
    """Pair objects within `MATCH_M` on the ground, nearest first, one partner each."""
    if not ours or not theirs:
        return []
    gaps_m = np.linalg.norm(_centers(ours)[:, None] - _centers(theirs)[None], axis=-1)
    return _paired(gaps_m + _OTHER_CLASS_M * _unlike(ours, theirs), gaps_m <= MATCH_M)


def match_images(
    ours: Sequence[ImageObject], theirs: Sequence[ImageObject]
) -> list[tuple[int, int]]:
    """Pair boxes that overlap, most first, one partner each."""
    if not ours or not theirs:
        return []
    one, other = _boxes(ours)[:, None], _boxes(theirs)[None]
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=-1)
    areas = [np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1) for boxes in (one, other)]
    iou = shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)
    return _paired(0.5 * _unlike(ours, theirs) - iou, iou >= _LEAST_IOU)


def _paired(costs: NDArray, near: NDArray[np.bool_]) -> list[tuple[int, int]]:
    rows, columns = np.nonzero(near)
    pairs: list[tuple[int, int]] = []
    mine, others = set(), set()
    for index in np.argsort(costs[rows, columns], kind="stable"):
        i, j = int(rows[index]), int(columns[index])
        if i not in mine and j not in others:
            mine.add(i)
            others.add(j)
            pairs.append((i, j))
    return pairs


def _unlike(ours: Sequence[Item], theirs: Sequence[Item]) -> NDArray[np.bool_]:
    mine, others = ([item.class_name for item in items] for items in (ours, theirs))
    unlike: NDArray[np.bool_] = np.array(mine)[:, None] != np.array(others)[None]
    return unlike


def _centers(objects: Sequence[DetectedObject]) -> NDArray[np.float64]:
    return np.array([item.center_m[:2] for item in objects], np.float64)


def _boxes(objects: Sequence[ImageObject]) -> NDArray[np.float64]:
    return np.array([(o.x_min, o.y_min, o.x_max, o.y_max) for o in objects], np.float64)
