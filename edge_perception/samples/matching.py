"""Counts correct cars: detected boxes against labelled ones.

Rule. A region is looked at: 0 to 40 m ahead (x of the base frame), inside the image of the camera.
Detected cars, strongest first, each take the nearest labelled car whose centre is within 2 m on
the ground and that no stronger one took; that is a correct car. A detected car in the region that
is near no labelled car and near no label of a kind we do not ask for (a pick-up, a trailer) is
false. The same rule is used for the fused view and for each sensor alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject
from edge_perception.samples.truth import GroundTruth, LabelledBox, inverse, matrix_of

MATCH_M = 2.0
AHEAD_M = 40.0
CAR = "car"
_ASIDE_RAD = math.radians(45.0)  # of the direction ahead, where no camera is known
RULE = (
    f"class {CAR}; centre within {MATCH_M:g} m of a labelled car on the ground; labelled centre 0 "
    f"to {AHEAD_M:g} m ahead and inside the camera image; one detection a label"
)
RULE_WITHOUT_CAMERA = RULE.replace("inside the camera image", "at most 45 degrees aside")


@dataclass(frozen=True, kw_only=True)
class Score:
    """How a set of boxes compares with the labels."""

    labelled: int = 0
    correct: int = 0
    false: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(
            labelled=self.labelled + other.labelled,
            correct=self.correct + other.correct,
            false=self.false + other.false,
        )

    @property
    def precision(self) -> float:
        """Correct among correct and false; NaN when there are neither."""
        total = self.correct + self.false
        return self.correct / total if total else float("nan")

    @property
    def recall(self) -> float:
        """Correct among labelled; NaN when nothing is labelled."""
        return self.correct / self.labelled if self.labelled else float("nan")


@dataclass(frozen=True, kw_only=True)
class Region:
    """Which part of the world is looked at."""

    T_camera_base: NDArray[np.float64]  # (4, 4)
    K: NDArray[np.float64]  # (3, 3), px
    image_size: tuple[int, int]  # 0, 0: no camera is known
    ahead_m: float = AHEAD_M

    @classmethod
    def of(cls, truth: GroundTruth) -> Region:
        """Return the region that the camera of a recording sees."""
        return cls(
            T_camera_base=inverse(matrix_of(truth.T_base_camera)),
            K=truth.K,
            image_size=truth.image_size,
        )

    @property
    def rule(self) -> str:
        """What counts as correct, in words."""
        return RULE if any(self.image_size) else RULE_WITHOUT_CAMERA

    def contains(self, center_m: Sequence[float]) -> bool:
        """Whether a point of the base frame is ahead, near enough and in the image."""
        if not 0.0 <= center_m[0] <= self.ahead_m:
            return False
        if not any(self.image_size):
            return abs(math.atan2(center_m[1], center_m[0])) <= _ASIDE_RAD
        point = self.T_camera_base[:3, :3] @ np.asarray(center_m[:3]) + self.T_camera_base[:3, 3]
        if point[2] <= 0.1:
            return False
        u, v = (self.K @ (point / point[2]))[:2]
        return bool(0 <= u < self.image_size[0] and 0 <= v < self.image_size[1])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Who matched whom in one frame; indices into the objects and boxes that were compared."""

    score: Score
    pairs: tuple[tuple[int, int], ...]  # detected, labelled
    false: tuple[int, ...]  # detected


def compare(
    objects: Sequence[DetectedObject], boxes: Sequence[LabelledBox], region: Region
) -> Comparison:
    """Match the cars of one frame."""
    cars = [i for i, box in enumerate(boxes) if box.class_name == CAR]
    asked = {i for i in cars if region.contains(boxes[i].center_m)}
    taken: set[int] = set()
    pairs: list[tuple[int, int]] = []
    false: list[int] = []
    order = sorted(
        (i for i, item in enumerate(objects) if item.class_name == CAR),
        key=lambda i: -objects[i].score,
    )
    for i in order:
        free = [j for j in cars if j not in taken]
        near = _nearest(objects[i].center_m, boxes, free)
        if near is not None:
            taken.add(near)
            if near in asked:
                pairs.append((i, near))
        elif region.contains(objects[i].center_m) and not _near_other(objects[i], boxes):
            false.append(i)
    score = Score(labelled=len(asked), correct=len(pairs), false=len(false))
    return Comparison(score=score, pairs=tuple(pairs), false=tuple(false))


def total(scores: Iterable[Score]) -> Score:
    """Add the scores of several frames."""
    return sum(scores, Score())


def _nearest(
    center_m: Sequence[float], boxes: Sequence[LabelledBox], candidates: Iterable[int]
) -> int | None:
    distances = {j: _ground_distance_m(center_m, boxes[j].center_m) for j in candidates}
    best = min(distances, key=lambda j: distances[j], default=None)
    return best if best is not None and distances[best] <= MATCH_M else None


def _near_other(item: DetectedObject, boxes: Sequence[LabelledBox]) -> bool:
    others = [j for j, box in enumerate(boxes) if box.class_name in ("truck", "bus", "other")]
    return _nearest(item.center_m, boxes, others) is not None


def _ground_distance_m(a: Sequence[float], b: Sequence[float]) -> float:
    return math.hypot(a[0] - b[0], a[1] - b[1])
