"""Centre-distance average precision, and precision and recall at the shipped threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject
from training.samples import CLASSES


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where objects count."""

    x_range_m: tuple[float, float] = (-25.0, 50.0)
    y_range_m: tuple[float, float] = (-25.0, 25.0)
    max_range_m: float = 100.0

    def holds(self, x: NDArray, y: NDArray, margin_m: float = 0.0) -> NDArray[np.bool_]:
        """Return which positions lie inside, grown by a margin."""
        return (
            (x > self.x_range_m[0] - margin_m)
            & (x < self.x_range_m[1] + margin_m)
            & (np.abs(y) < self.y_range_m[1] + margin_m)
            & (np.hypot(x, y) < self.max_range_m + margin_m)
        )


AHEAD = Region(x_range_m=(0.0, 40.0), max_range_m=40.0)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What one frame holds."""

    boxes: NDArray  # (M, 9)
    labels: NDArray  # (M,)
    points: NDArray  # (M,), LiDAR returns of each; large where that does not matter


@dataclass(frozen=True, kw_only=True)
class Matches:
    """The detections of one class that count, in no order, and how many objects are wanted."""

    scores: NDArray[np.float64]  # (N,)
    hits: NDArray[np.bool_]  # (N,)
    fronts: NDArray[np.bool_]  # (N,), hits whose front is where it is
    wanted: int


def matches(
    label: int,
    frames: Sequence[tuple[Truth, Sequence[DetectedObject]]],
    *,
    region: Region,
    match_m: float = 2.0,
    least_points: int = 5,
) -> Matches:
    """Match detections and objects of a class, strongest first.

    Objects with fewer than `least_points` returns, ignored ones and those outside the region
    are neither wanted nor false.
    """
    scores, hits, fronts, wanted = [], [], [], 0
    for truth, detections in frames:
        mine = truth.labels == label
        counted = region.holds(truth.boxes[:, 0], truth.boxes[:, 1]) & mine
        counted &= truth.points >= least_points
        wanted += int(counted.sum())
        neutral = (mine & ~counted) | (truth.labels < 0)
        taken = np.zeros(len(truth.boxes), bool)
        found = [d for d in detections if d.class_name == CLASSES[label]]
        for item in sorted(found, key=lambda d: -d.score):
            x, y = item.center_m[:2]
            gap = np.hypot(truth.boxes[:, 0] - x, truth.boxes[:, 1] - y)
            best = _nearest(np.where(counted & ~taken, gap, np.inf), match_m)
            if best is not None:
                taken[best] = True
            else:
                excused = _nearest(np.where(neutral, gap, np.inf), match_m) is not None
                if excused or not region.holds(np.array(x), np.array(y)):
                    continue
            scores.append(item.score)
            hits.append(best is not None)
            fronts.append(best is not None and np.cos(item.yaw_rad - truth.boxes[best, 6]) > 0)
    return Matches(
        scores=np.array(scores), hits=np.array(hits, bool), fronts=np.array(fronts, bool),
        wanted=wanted,
    )  # fmt: skip


def evaluate_class(
    label: int,
    frames: Sequence[tuple[Truth, Sequence[DetectedObject]]],
    *,
    region: Region,
    match_m: float = 2.0,
    least_points: int = 5,
) -> dict[str, float]:
    """Return ap, recall, precision, true and false positives, wanted and correct objects.

    `front` is the share of the correct ones whose front is where it is. Recall and precision are
    those of all given detections; see `matches` for what counts.
    """
    found = matches(label, frames, region=region, match_m=match_m, least_points=least_points)
    front = float(found.fronts.sum() / max(found.hits.sum(), 1))
    return {**_summary(found.scores, found.hits, found.wanted), "front": front}


def _nearest(gap: NDArray, limit: float) -> int | None:
    if len(gap) == 0:
        return None
    best = int(np.argmin(gap))
    return best if gap[best] < limit else None


def _summary(scores: NDArray, hits: NDArray, wanted: int) -> dict[str, float]:
    order = np.argsort(-scores, kind="stable")
    hits = hits[order]
    correct = np.cumsum(hits)
    precision = correct / np.arange(1, len(hits) + 1)
    recall = correct / max(wanted, 1)
    # The envelope of precision, integrated over recall.
    envelope = np.maximum.accumulate(precision[::-1])[::-1] if len(hits) else precision
    steps = np.diff(np.concatenate([[0.0], recall]))
    total = int(hits.sum())
    return {
        "ap": float((envelope * steps).sum()),
        "recall": total / max(wanted, 1),
        "precision": total / max(len(hits), 1),
        "wanted": wanted,
        "correct": total,
        "false": len(hits) - total,
    }


def best_threshold(
    label: int, frames: Sequence[tuple[Truth, Sequence[DetectedObject]]], *, region: Region
) -> float:
    """Return the score threshold with the best F1 of a class, 0.3 where it has no objects."""
    best, best_score = 0.3, -1.0
    for threshold in np.arange(0.1, 0.7, 0.02):
        kept = [(t, [d for d in ds if d.score >= threshold]) for t, ds in frames]
        result = evaluate_class(label, kept, region=region)
        total = result["recall"] + result["precision"]
        f1 = 2 * result["recall"] * result["precision"] / total if total else 0.0
        if f1 > best_score:
            best, best_score = float(round(threshold, 2)), f1
    return best
