"""Cars ahead on real frames: the figures that aims are set for.

Cars whose centre lies 0 to 40 m ahead, found within 2 m; AP is the area under precision over
recall, precision made to fall only. The camera alone is judged twice: of what it shows, and of all
that the LiDAR sees. Who is hidden is not labelled, so that nobody is asked for a car without
returns of the LiDAR.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject
from edge_perception.evaluation.frames import Truth
from edge_perception.evaluation.matching import (
    CLASSES,
    COUNTED_AT,
    Curve,
    Judged,
    curve,
    judge_frame,
)
from edge_perception.evaluation.resampling import FEW, intervals

REACH_M = 40.0
SHOWN = "camera, of what it shows"
_CAR = CLASSES.index("car")
# What the reference models are to reach on the sequence of PandaSet that no training has seen.
_AIMS = {
    "camera+lidar": ("cars ahead, all sensors, AP", 0.94),
    SHOWN: ("cars ahead that the camera shows, camera alone, AP", 0.6),
    "camera": ("all cars ahead that the LiDAR sees, camera alone, AP", 0.6),
}


def judge_ahead(
    objects: Mapping[str, Sequence[DetectedObject]],
    truth: Truth,
    labelled: NDArray[np.bool_],
    framed: Mapping[str, NDArray[np.bool_]],
) -> dict[str, Judged]:
    """Match one frame, by subset and `SHOWN`.

    Args:
        objects: by subset.
        truth: labels.
        labelled: (M,), which of them lie where objects are labelled.
        framed: by subset, which objects do, (N,).
    """
    ahead = _ahead(truth.center_m)
    seen = truth.in_lidar & labelled
    judged = {}
    for subset, found in objects.items():
        centers = np.array([item.center_m for item in found], np.float32).reshape(-1, 3)
        inside = _ahead(centers) & framed[subset]
        rows = {subset: seen, SHOWN: seen & truth.in_camera}
        for name, wanted in rows.items():
            if name == subset or subset == "camera":
                judged[name] = judge_frame(
                    found, truth, wanted=wanted, region=ahead, detected_in=inside
                )
    return judged


def ahead_table(frames: Sequence[Mapping[str, Judged]]) -> dict[str, dict[str, Any]]:
    """Return AP and number of cars by subset and `SHOWN`; of few frames the interval too."""
    table: dict[str, dict[str, Any]] = {
        name: {"ap": value, "cars": _curve(frames, name).wanted}
        for name, value in _figures(frames).items()
    }
    if len(frames) < FEW:
        for name, ends in intervals(frames, _figures).items():
            table[name]["interval"] = ends
    return table


def ahead_targets(table: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what was aimed at for these figures, and whether it is reached; none without cars."""
    return {
        title: {
            "value": table[name]["ap"],
            "limit": f">= {least:g}",
            "reached": bool(table[name]["ap"] >= least),
        }
        for name, (title, least) in _AIMS.items()
        if name in table and table[name]["cars"]
    }


def area(found: Curve) -> float:
    """Return the area under the falling envelope of precision over recall; NaN: nothing asked."""
    if not found.wanted:
        return float("nan")
    best = np.maximum.accumulate(found.precision[::-1])[::-1]
    return float((best * np.diff(found.recall, prepend=0.0)).sum())


def _figures(frames: Sequence[Mapping[str, Judged]]) -> dict[str, float]:
    return {name: area(_curve(frames, name)) for name in frames[0]}


def _curve(frames: Sequence[Mapping[str, Judged]], name: str) -> Curve:
    return curve(Judged.joined([frame[name] for frame in frames]), _CAR, COUNTED_AT)


def _ahead(centers_m: NDArray) -> NDArray[np.bool_]:
    x, y = centers_m[:, 0], centers_m[:, 1]
    return np.asarray((x > 0.0) & (x < REACH_M) & (np.hypot(x, y) < REACH_M), bool)
