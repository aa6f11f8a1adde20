"""Objects under construction: evidence of several sources for one box."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from edge_perception.core.types import DetectedObject
from edge_perception.fusion.classes import COMMON_NAMES, GATE_SHARE, group_of
from edge_perception.fusion.config import DecisionConfig
from edge_perception.fusion.geometry import bev_iou

SHARED_GROUND = 0.02  # intersection over union of footprints


class Hypothesis:
    """One object and who believes in it."""

    __slots__ = ("box", "class_name", "class_score", "factor", "group", "scores")

    def __init__(self, box: DetectedObject, sources: Iterable[str]) -> None:
        self.box = box
        self.class_name = COMMON_NAMES.get(box.class_name, box.class_name)
        self.class_score = box.score
        self.group = group_of(self.class_name)
        self.scores = dict.fromkeys(sources, 0.0)
        first = next(iter(self.scores), "")
        self.scores[first] = box.score  # evidence of one model counts once
        self.factor = 1.0

    def support(self, source: str, class_name: str, score: float) -> None:
        """Add evidence of another source; the surer one names the class."""
        self.scores[source] = max(self.scores.get(source, 0.0), score)
        if score > self.class_score:
            self.class_name, self.class_score = class_name, score

    @property
    def score(self) -> float:
        """Noisy-or of the sources: the chance that not all of them err, if they err alone."""
        return self.factor * (1.0 - math.prod(1.0 - score for score in self.scores.values()))

    def finished(self, score: float) -> DetectedObject:
        """Return the object with its fused score, `score`, and everyone who contributed."""
        box = self.box
        return DetectedObject(
            class_name=self.class_name,
            score=score,
            center_m=box.center_m,
            size_m=box.size_m,
            yaw_rad=box.yaw_rad,
            velocity_mps=box.velocity_mps,
            sources=tuple(source for source in self.scores if source),
        )


def merge_boxes(
    hypotheses: list[Hypothesis],
    boxes: Sequence[DetectedObject],
    source: str,
    config: DecisionConfig,
) -> None:
    """Associate the 3-D boxes of one source, nearest first; the rest become hypotheses.

    The geometry of the earlier source stays: call in the order of precision.
    """
    pairs = sorted(_candidates(hypotheses, boxes, config))
    used: set[int] = set()
    taken: set[int] = set()
    for _, known, new in pairs:
        if known in taken or new in used:
            continue
        taken.add(known)
        used.add(new)
        name = COMMON_NAMES.get(boxes[new].class_name, boxes[new].class_name)
        hypotheses[known].support(source, name, boxes[new].score)
    hypotheses.extend(
        Hypothesis(box, [source]) for index, box in enumerate(boxes) if index not in used
    )


def nearest(
    hypotheses: Sequence[Hypothesis], box: DetectedObject, gate_m: float
) -> Hypothesis | None:
    """Return the hypothesis of the same group nearest to a box, within a gate."""
    group = group_of(box.class_name)
    best, best_m = None, gate_m
    for hypothesis in hypotheses:
        if hypothesis.group == group:
            distance_m = math.dist(hypothesis.box.center_m[:2], box.center_m[:2])
            if distance_m <= best_m:
                best, best_m = hypothesis, distance_m
    return best


def overlapped(hypotheses: Sequence[Hypothesis], box: DetectedObject) -> Hypothesis | None:
    """Return the hypothesis of the same group whose ground a box takes most of, if any.

    Two solid objects share no ground: a box placed from an image into a known one is a second
    sight of it, or was placed wrongly.
    """
    group = group_of(box.class_name)
    shares = [(bev_iou(item.box, box), item) for item in hypotheses if item.group == group]
    share, best = max(shares, key=lambda pair: pair[0], default=(0.0, None))
    return best if share >= SHARED_GROUND else None


def gate_of(group: str, config: DecisionConfig) -> float:
    """Return how far the centres of one object of this group may differ, m."""
    return config.gate_m * GATE_SHARE.get(group, 1.0)


def _candidates(
    hypotheses: Sequence[Hypothesis], boxes: Sequence[DetectedObject], config: DecisionConfig
) -> list[tuple[float, int, int]]:
    """Return (distance, hypothesis, box) of all pairs that may be one object."""
    if not hypotheses or not boxes:
        return []
    known = np.array([hypothesis.box.center_m[:2] for hypothesis in hypotheses])
    new = np.array([box.center_m[:2] for box in boxes])
    distance = np.linalg.norm(known[:, None] - new[None], axis=-1)
    reach = np.array([max(h.box.size_m[:2]) for h in hypotheses])[:, None] + config.gate_m
    found = []
    for i, j in zip(*np.nonzero(distance <= reach), strict=True):
        hypothesis, box = hypotheses[i], boxes[j]
        group = group_of(COMMON_NAMES.get(box.class_name, box.class_name))
        if hypothesis.group != group:
            continue
        near = distance[i, j] <= gate_of(group, config)
        if near or bev_iou(hypothesis.box, box) >= config.min_bev_iou:
            found.append((float(distance[i, j]), int(i), int(j)))
    return found
