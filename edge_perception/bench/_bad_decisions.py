"""Ways in which a model set can be wrong, as changes of its decisions; and one that is not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edge_perception.core.types import DetectedObject

Objects = Sequence[DetectedObject]
Change = Callable[[Objects], list[DetectedObject]]
FAR_M = 25.0
SHIFT_M = 1.0
_EVERYWHERE_M = 6.0
_LEAST_SHARE = 0.04  # of all objects: a class that is hardly there cannot be missed


def kinds() -> dict[str, Callable[[np.random.Generator, Sequence[Objects]], Change]]:
    """Return what makes each kind of wrong decisions from a seed and the stream to come."""
    return {
        "blind": lambda _rng, _stream: lambda _objects: [],
        "everywhere": _everywhere,
        "mirrored": lambda _rng, _stream: _mirrored,
        "shifted": _shifted,
        "class_order": _class_order,
        "score_halved": lambda _rng, _stream: _score_halved,
        "class_lost": _class_lost,
        "far_lost": lambda _rng, _stream: _far_lost,
    }


def retrained(rng: np.random.Generator) -> Change:
    """Return how a set trained anew differs: weak and far objects come and go, boxes move a bit."""

    def change(objects: Objects) -> list[DetectedObject]:
        kept = []
        for item in objects:
            away_m = math.hypot(*item.center_m[:2])
            missed = 0.02 + 0.15 * min(away_m / 50.0, 1.0) * (1.0 - min(item.score, 1.0))
            if rng.random() < missed:
                continue
            moved = rng.normal(0.0, 0.1 + 0.005 * away_m, 2)
            x, y, z = item.center_m
            score = float(np.clip(item.score + rng.normal(0.0, 0.04), 0.01, 1.0))
            kept.append(replace(item, center_m=(x + moved[0], y + moved[1], z), score=score))
        if objects and rng.random() < 0.3:  # and something is seen that the other does not
            like = objects[int(rng.integers(len(objects)))]
            at = rng.uniform((-20.0, -20.0), (45.0, 20.0))
            kept.append(replace(like, center_m=(at[0], at[1], like.center_m[2]), score=0.3))
        return kept

    return change


def _everywhere(rng: np.random.Generator, stream: Sequence[Objects]) -> Change:
    classes = _classes(stream)
    grid = [
        DetectedObject(
            class_name=classes[int(rng.integers(len(classes)))],
            score=float(rng.uniform(0.3, 0.9)),
            center_m=(float(x), float(y), 0.8),
            size_m=(4.0, 1.8, 1.6),
            yaw_rad=0.0,
        )
        for x in np.arange(-24.0, 50.0, _EVERYWHERE_M)
        for y in np.arange(-24.0, 25.0, _EVERYWHERE_M)
    ]
    return lambda objects: [*objects, *grid]


def _mirrored(objects: Objects) -> list[DetectedObject]:
    return [
        replace(o, center_m=(o.center_m[0], -o.center_m[1], o.center_m[2]), yaw_rad=-o.yaw_rad)
        for o in objects
    ]


def _shifted(rng: np.random.Generator, _stream: Sequence[Objects]) -> Change:
    dx, dy = ((SHIFT_M, 0.0), (-SHIFT_M, 0.0), (0.0, SHIFT_M), (0.0, -SHIFT_M))[rng.integers(4)]
    return lambda objects: [
        replace(o, center_m=(o.center_m[0] + dx, o.center_m[1] + dy, o.center_m[2]))
        for o in objects
    ]


def _class_order(rng: np.random.Generator, stream: Sequence[Objects]) -> Change:
    names = ["car", "truck", "bus", "pedestrian", "cyclist"]
    names += sorted(set(_classes(stream)) - set(names))
    by = int(rng.integers(1, len(names)))
    to = {name: names[(index + by) % len(names)] for index, name in enumerate(names)}
    return lambda objects: [replace(o, class_name=to[o.class_name]) for o in objects]


def _score_halved(objects: Objects) -> list[DetectedObject]:
    return [replace(item, score=item.score / 2) for item in objects]


def _class_lost(rng: np.random.Generator, stream: Sequence[Objects]) -> Change:
    counts = Counter(item.class_name for objects in stream for item in objects)
    least = _LEAST_SHARE * sum(counts.values())
    there = sorted(name for name, count in counts.items() if count >= least)
    lost = there[int(rng.integers(len(there)))]
    return lambda objects: [item for item in objects if item.class_name != lost]


def _far_lost(objects: Objects) -> list[DetectedObject]:
    return [item for item in objects if math.hypot(*item.center_m[:2]) < FAR_M]


def _classes(stream: Sequence[Objects]) -> list[str]:
    return sorted({item.class_name for objects in stream for item in objects}) or ["car"]
