"""Detections against ground truth, as nuScenes does it: by the distance of the centres.

AP after Caesar et al., "nuScenes: A multimodal dataset for autonomous driving" (2020): matches
within 0.5, 1, 2 and 4 m, precision over recall at 101 points, recall and precision below 10 %
left out, the mean of the four.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject
from edge_perception.evaluation.frames import Truth
from edge_perception.fusion.label_names import OTHER
from edge_perception.samples.truth import LabelledBox

CLASSES = ("car", "truck", "bus", "pedestrian", "cyclist")
MATCH_M = (0.5, 1.0, 2.0, 4.0)
COUNTED_AT = MATCH_M.index(2.0)  # what "right" means where one distance is needed
BANDS_M = ((0.0, 20.0), (20.0, 35.0), (35.0, 52.0))  # distance from the base origin
X_M, Y_M = (-25.0, 50.0), 25.0  # where objects count: the grid of the reference models
_EITHER = ("Pickup Truck",)  # labels that are a car to some and a truck to others
_LEAST = 0.1  # recall and precision below are left out
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One frame's detections that count, and the objects that are wanted."""

    label: NDArray[np.int8]  # (N,), index into CLASSES
    score: NDArray[np.float32]  # (N,)
    hit: NDArray[np.bool_]  # (N, 4), at each of MATCH_M
    counts: NDArray[np.bool_]  # (N, 4), False: lies on an object that is not wanted
    range_m: NDArray[np.float32]  # (N,)
    wanted_label: NDArray[np.int8]  # (M,)
    wanted_range_m: NDArray[np.float32]  # (M,)

    @staticmethod
    def joined(parts: Sequence[Judged]) -> Judged:
        """Return many frames as one."""
        names = ("label", "score", "hit", "counts", "range_m", "wanted_label", "wanted_range_m")
        return Judged(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


def class_asked_for(box: LabelledBox) -> str:
    """Return the class of a label, `other` where people do not agree: nothing is false there."""
    return OTHER if box.label in _EITHER else box.class_name


def judge_frame(
    objects: Sequence[DetectedObject], truth: Truth, *, wanted: NDArray[np.bool_],
    region: NDArray[np.bool_] | None = None, detected_in: NDArray[np.bool_] | None = None,
) -> Judged:  # fmt: skip
    """Match one frame.

    Args:
        objects: detections.
        truth: all objects; those that are not wanted excuse detections on them.
        wanted: (M,), which of them must be found; outside the grid none is.
        region: (M,), further limit of where objects are wanted; the rest excuses.
        detected_in: (N,), which detections may be false; the others count only where they hit.
    """
    inside = (truth.center_m[:, 0] > X_M[0]) & (truth.center_m[:, 0] < X_M[1])
    inside &= np.abs(truth.center_m[:, 1]) < Y_M
    wanted = wanted & inside & (True if region is None else region)
    labels = np.array([CLASSES.index(o.class_name) for o in objects], np.int8)
    centers = np.array([o.center_m[:2] for o in objects], np.float32).reshape(-1, 2)
    scores = np.array([o.score for o in objects], np.float32)
    hit = np.zeros((len(objects), len(MATCH_M)), bool)
    counts = np.ones_like(hit)
    if detected_in is not None:
        counts &= detected_in[:, None]
    outside = (centers[:, 0] < X_M[0]) | (centers[:, 0] > X_M[1]) | (np.abs(centers[:, 1]) > Y_M)
    counts[outside] = False
    true_labels = np.array([CLASSES.index(n) if n in CLASSES else -1 for n in truth.class_name])
    unasked = true_labels < 0  # a van, a trailer: nobody asks for it, and a car there is no fault
    for label in range(len(CLASSES)):
        mine = np.flatnonzero(labels == label)
        mine = mine[np.argsort(-scores[mine], kind="stable")]
        theirs = true_labels == label
        if len(mine):
            gap = np.linalg.norm(centers[mine, None] - truth.center_m[None, :, :2], axis=-1)
            _match(mine, gap, theirs & wanted, (theirs & ~wanted) | unasked, hit, counts)
    return Judged(
        label=labels,
        score=scores,
        hit=hit,
        counts=counts,
        range_m=np.linalg.norm(centers, axis=1),
        wanted_label=true_labels[wanted & ~unasked].astype(np.int8),
        wanted_range_m=np.linalg.norm(truth.center_m[wanted & ~unasked, :2], axis=1).astype(
            np.float32
        ),
    )


def _match(
    order: NDArray[np.int64], gap: NDArray, wanted: NDArray, neutral: NDArray,
    hit: NDArray[np.bool_], counts: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Fill the rows of one class, strongest detection first."""
    spare = np.where(neutral, gap, np.inf).min(axis=1, initial=np.inf)
    for column, limit in enumerate(MATCH_M):
        open_gap = np.where(wanted, gap, np.inf)
        for row, index in enumerate(order):
            best = int(np.argmin(open_gap[row])) if open_gap.shape[1] else -1
            if best >= 0 and open_gap[row, best] < limit:
                open_gap[:, best] = np.inf
                hit[index, column] = counts[index, column] = True
            elif spare[row] < limit:
                counts[index, column] = False


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Precision over recall of one class at one distance."""

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    wanted: int


def curve(
    judged: Judged, label: int, column: int, band: tuple[float, float] | None = None
) -> Curve:
    """Return the curve of a class; `band`: of objects at that distance from the vehicle only."""
    low, high = band or (0.0, np.inf)
    picked = (judged.label == label) & judged.counts[:, column]
    picked &= (judged.range_m >= low) & (judged.range_m < high)
    order = np.argsort(-judged.score[picked], kind="stable")
    hits = judged.hit[picked, column][order]
    near = (judged.wanted_range_m >= low) & (judged.wanted_range_m < high)
    wanted = int(((judged.wanted_label == label) & near).sum())
    correct = np.cumsum(hits)
    return Curve(
        recall=np.minimum(correct / max(wanted, 1), 1.0),
        precision=correct / np.arange(1, len(hits) + 1),
        wanted=wanted,
    )


def average_precision(found: Curve) -> float:
    """Return AP of a curve, NaN where nothing is wanted."""
    if not found.wanted:
        return float("nan")
    if not len(found.recall):
        return 0.0
    precision = np.interp(_RECALLS, found.recall, found.precision, right=0.0)
    kept = np.clip(precision[_RECALLS > _LEAST] - _LEAST, 0.0, None)
    return float(kept.mean() / (1.0 - _LEAST))


def mean_ap(judged: Judged) -> float:
    """Return mAP alone, NaN where nothing is wanted: the quick part of `ap_table`."""
    values = [
        average_precision(curve(judged, label, column))
        for label in np.unique(judged.wanted_label)
        for column in range(len(MATCH_M))
    ]
    return float(np.mean(values)) if values else float("nan")


def ap_table(judged: Judged) -> dict:
    """Return map, ap by class, ap_2m by class, ap by class and distance, and objects wanted."""
    ap, ap_2m, by_distance, wanted = {}, {}, {}, {}
    for label, name in enumerate(CLASSES):
        wanted[name] = int((judged.wanted_label == label).sum())
        if not wanted[name]:
            continue
        columns = range(len(MATCH_M))
        values = [average_precision(curve(judged, label, column)) for column in columns]
        ap[name], ap_2m[name] = float(np.mean(values)), values[COUNTED_AT]
        by_distance[name] = {
            f"{low:g}-{high:g} m": float(
                np.mean([average_precision(curve(judged, label, c, (low, high))) for c in columns])
            )
            for low, high in BANDS_M
        }
    mean = float(np.mean(list(ap.values()))) if ap else float("nan")
    mean_2m = float(np.mean(list(ap_2m.values()))) if ap_2m else float("nan")
    return {
        "map": mean, "map_2m": mean_2m, "ap": ap, "ap_2m": ap_2m, "ap_by_distance": by_distance,
        "objects": wanted,
    }  # fmt: skip
