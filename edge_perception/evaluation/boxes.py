"""Boxes against labelled boxes, as KITTI and nuScenes ask: overlap, and errors of what is found.

KITTI (Geiger et al., 2012): AP over 40 recalls, found is what overlaps a label of its class by 0.7
(vehicles) or 0.5, seen from above and in space. Its difficulties need labels of occlusion, which
recordings do not have; distance takes their place. nuScenes (Caesar et al., 2020): errors of place,
size and heading of what is found within 2 m. A box whose front and back are mixed up has its axis
right and its heading wrong by half a turn: both are told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject
from edge_perception.evaluation.frames import Truth
from edge_perception.evaluation.matching import (
    BANDS_M,
    CLASSES,
    COUNTED_AT,
    MATCH_M,
    X_M,
    Y_M,
    Curve,
    Judged,
    curve,
    judge_frame,
)
from edge_perception.fusion.geometry import bev_iou, shared_area

OVERLAPS = ("bev", "3d", "bev_loose", "3d_loose")
_LEAST = {"car": 0.7, "truck": 0.7, "bus": 0.7, "pedestrian": 0.5, "cyclist": 0.5}
_LOOSE = {"car": 0.5, "truck": 0.5, "bus": 0.5, "pedestrian": 0.25, "cyclist": 0.25}
_RECALLS = np.arange(1, 41) / 40.0
ERRORS = ("translation_m", "scale", "orientation_rad")
# Of these nuScenes' score is made; the others say what an error of the heading is made of: of the
# axis, whichever end is the front, and the share that faces the wrong way.
TOLD = (*ERRORS, "axis_rad", "turned")
_FROM_RECALL = 0.1  # errors below are noise, as nuScenes has it
_REACH_M = 12.0  # centres further apart belong to no two boxes that overlap


@dataclass(frozen=True, kw_only=True)
class BoxTruth(Truth):
    """Labels with all of their boxes."""

    boxes: tuple[DetectedObject, ...]  # score 1, in the order of the other fields
    in_image: NDArray[np.bool_]  # (M,), whether the camera's image holds any part of it


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is found within 2 m of its label, with the errors."""

    label: NDArray[np.int8]  # (N,), index into CLASSES
    score: NDArray[np.float32]  # (N,)
    range_m: NDArray[np.float32]  # (N,), of the label
    errors: NDArray[np.float32]  # (N, 5), as TOLD


@dataclass(frozen=True, kw_only=True)
class JudgedFrame:
    """One frame by all rules."""

    centers: Judged
    overlaps: Judged  # columns as OVERLAPS
    found: Found


def judge_boxes(
    objects: Sequence[DetectedObject],
    truth: BoxTruth,
    *,
    wanted: NDArray[np.bool_],
    detected_in: NDArray[np.bool_] | None = None,
) -> JudgedFrame:
    """Match one frame; arguments as `judge_frame`."""
    centers = judge_frame(objects, truth, wanted=wanted, detected_in=detected_in)
    inside = _asked(truth, wanted)
    overlaps = np.zeros((len(objects), len(OVERLAPS)), bool)
    counts = centers.counts.copy()
    rows = []
    order = sorted(range(len(objects)), key=lambda i: -objects[i].score)
    for name in CLASSES:
        mine = [i for i in order if objects[i].class_name == name]
        theirs = [j for j, box in enumerate(truth.boxes) if box.class_name == name and inside[j]]
        excused = [
            j
            for j, box in enumerate(truth.boxes)
            if (box.class_name == name and not inside[j]) or box.class_name not in CLASSES
        ]
        shares = _shares(objects, mine, truth.boxes, theirs)
        spare = _shares(objects, mine, truth.boxes, excused).max(axis=1, initial=0.0)
        for column, limit in enumerate((_LEAST, _LEAST, _LOOSE, _LOOSE)):
            kind = column % 2  # from above, in space
            hits = _greedy(-shares[:, :, kind], -limit[name])
            for row, index in enumerate(mine):
                if row in hits:
                    overlaps[index, column] = counts[index, column] = True
                elif spare[row, kind] >= limit[name]:
                    counts[index, column] = False
        rows += _errors(objects, mine, truth.boxes, theirs)
    table = np.array(rows, np.float32).reshape(-1, 3 + len(TOLD))
    return JudgedFrame(
        centers=centers,
        overlaps=Judged(
            label=centers.label,
            score=centers.score,
            hit=overlaps,
            counts=counts,
            range_m=centers.range_m,
            wanted_label=centers.wanted_label,
            wanted_range_m=centers.wanted_range_m,
        ),
        found=Found(
            label=table[:, 0].astype(np.int8),
            score=table[:, 1],
            range_m=table[:, 2],
            errors=table[:, 3:],
        ),
    )


def overlap_table(judged: Judged) -> dict[str, Any]:
    """Return AP over 40 recalls by class, kind of overlap and distance."""
    table: dict[str, Any] = {}
    for label, name in enumerate(CLASSES):
        if not (judged.wanted_label == label).any():
            continue
        table[name] = {
            kind: {
                "all": ap_r40(curve(judged, label, column)),
                **{
                    f"{low:g}-{high:g} m": ap_r40(curve(judged, label, column, (low, high)))
                    for low, high in BANDS_M
                },
            }
            for column, kind in enumerate(OVERLAPS)
        }
    return table


def ap_r40(found: Curve) -> float:
    """Return AP as KITTI has it since 2019, NaN where nothing is wanted."""
    if not found.wanted:
        return float("nan")
    if not len(found.recall):
        return 0.0
    best = np.maximum.accumulate(found.precision[::-1])[::-1]
    at = np.searchsorted(found.recall, _RECALLS - 1e-9)
    return float(np.where(at < len(best), best[np.minimum(at, len(best) - 1)], 0.0).mean())


def error_table(frames: Sequence[JudgedFrame]) -> dict[str, Any]:
    """Return the mean errors of what is found by class and distance; NaN: nothing is."""
    found = Found(
        **{
            n: np.concatenate([getattr(f.found, n) for f in frames])
            for n in ("label", "score", "range_m", "errors")
        }
    )
    wanted = np.concatenate([f.centers.wanted_label for f in frames])
    far = np.concatenate([f.centers.wanted_range_m for f in frames])
    table: dict[str, Any] = {}
    for label, name in enumerate(CLASSES):
        if not (wanted == label).any():
            continue
        table[name] = {
            band: _mean_errors(
                found,
                (found.label == label) & (found.range_m >= low) & (found.range_m < high),
                int(((wanted == label) & (far >= low) & (far < high)).sum()),
            )
            for band, (low, high) in (
                ("all", (0.0, np.inf)),
                *((f"{low:g}-{high:g} m", (low, high)) for low, high in BANDS_M),
            )
        }
    return table


def detection_score(ap: Mapping[str, float], errors: Mapping[str, Any]) -> float:
    """Return nuScenes' detection score without velocity and attributes, which nobody labelled."""
    if not ap:
        return float("nan")
    parts = []
    for kind in ERRORS:
        values = [errors[name]["all"][kind] for name in ap]
        each = [1.0 if np.isnan(value) else min(value, 1.0) for value in values]
        parts.append(1.0 - float(np.mean(each)))
    mean = float(np.mean(list(ap.values())))
    return (5.0 * mean + sum(parts)) / (5.0 + len(parts))


def _asked(truth: Truth, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which labels are asked for: wanted, and on the grid."""
    x, y = truth.center_m[:, 0], truth.center_m[:, 1]
    return np.asarray(wanted & (x > X_M[0]) & (x < X_M[1]) & (np.abs(y) < Y_M))


def _shares(
    objects: Sequence[DetectedObject],
    mine: Sequence[int],
    boxes: Sequence[DetectedObject],
    theirs: Sequence[int],
) -> NDArray[np.float64]:
    """Return the overlaps, (mine, theirs, 2): from above, in space; intersection over union."""
    table = np.zeros((len(mine), len(theirs), 2))
    for row, i in enumerate(mine):
        for column, j in enumerate(theirs):
            one, other = objects[i], boxes[j]
            gap = np.subtract(one.center_m[:2], other.center_m[:2])
            if np.hypot(*gap) < _REACH_M:
                table[row, column] = overlap(one, other)
    return table


def overlap(one: DetectedObject, other: DetectedObject) -> tuple[float, float]:
    """Return intersection over union of two boxes from above and in space."""
    flat, shared = bev_iou(one, other), shared_area(one, other)
    areas = [box.size_m[0] * box.size_m[1] for box in (one, other)]
    low = max(box.center_m[2] - 0.5 * box.size_m[2] for box in (one, other))
    high = min(box.center_m[2] + 0.5 * box.size_m[2] for box in (one, other))
    inside = shared * max(high - low, 0.0)
    volumes = [area * box.size_m[2] for area, box in zip(areas, (one, other), strict=True)]
    return flat, inside / max(sum(volumes) - inside, 1e-9)


def _greedy(cost: NDArray[np.float64], most: float) -> dict[int, int]:
    """Return which column each row takes, in order, of those not taken with a cost up to `most`."""
    taken: dict[int, int] = {}
    open_cost = cost.copy()
    for row in range(len(cost)):
        best = int(np.argmin(open_cost[row])) if cost.shape[1] else -1
        if best >= 0 and open_cost[row, best] <= most:
            taken[row] = best
            open_cost[:, best] = np.inf
    return taken


def _errors(
    objects: Sequence[DetectedObject],
    mine: Sequence[int],
    boxes: Sequence[DetectedObject],
    theirs: Sequence[int],
) -> list[tuple[float, ...]]:
    places = np.array([objects[i].center_m[:2] for i in mine]).reshape(-1, 1, 2)
    labels = np.array([boxes[j].center_m[:2] for j in theirs]).reshape(1, -1, 2)
    gap = np.linalg.norm(places - labels, axis=-1)
    rows: list[tuple[float, ...]] = []
    for row, column in _greedy(gap, MATCH_M[COUNTED_AT]).items():
        one, other = objects[mine[row]], boxes[theirs[column]]
        least = np.minimum(one.size_m, other.size_m)
        shared = float(np.prod(least))
        scale = 1.0 - shared / (float(np.prod(one.size_m) + np.prod(other.size_m)) - shared)
        turn = one.yaw_rad - other.yaw_rad
        heading = abs(float(np.arctan2(np.sin(turn), np.cos(turn))))
        rows.append(
            (
                float(CLASSES.index(other.class_name)),
                one.score,
                float(np.hypot(*other.center_m[:2])),
                float(gap[row, column]),
                scale,
                heading,
                min(heading, np.pi - heading),
                float(heading > 0.5 * np.pi),
            )
        )
    return rows


def _mean_errors(found: Found, picked: NDArray[np.bool_], wanted: int) -> dict[str, Any]:
    """Return errors as nuScenes: the mean so far, averaged over recalls from 10 % on."""
    errors = found.errors[picked][np.argsort(-found.score[picked], kind="stable")]
    count = len(errors)
    if not count:
        return {**dict.fromkeys(TOLD, float("nan")), "found": 0, "wanted": wanted}
    so_far = np.cumsum(errors, axis=0) / np.arange(1, count + 1)[:, None]
    first = min(int(np.ceil(_FROM_RECALL * wanted)), count) - 1
    means = so_far[max(first, 0) :].mean(axis=0)
    return {
        **{name: float(value) for name, value in zip(TOLD, means, strict=True)},
        "found": count,
        "wanted": wanted,
    }
