"""Decision-level fusion: the encoders' own boxes, associated in space and in the images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject, Feature, ImageObject
from edge_perception.fusion.classes import PERSON, VEHICLE, common_name, group_of
from edge_perception.fusion.config import DecisionConfig
from edge_perception.fusion.geometry import (
    bev_iou,
    box_corners,
    image_rectangles,
    intersection,
    rectangle_iou,
)
from edge_perception.fusion.hypotheses import (
    SHARED_GROUND,
    Hypothesis,
    gate_of,
    merge_boxes,
    nearest,
    overlapped,
)
from edge_perception.fusion.placement import Sight, place

OBSTACLE_POINTS = "obstacle_points"  # float32 (K, 3), base frame, returns above the ground

_PRECISION = {"lidar": 0, "camera": 2}  # order in which geometry is believed
_MIN_SIDE_PX = 1.0  # of a 2-D box
_FULLY_SEEN = 0.9  # share of a box's outline inside the image
_HIDDEN = 0.5  # share of it behind a nearer box


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Objects and what could not be used."""

    objects: tuple[DetectedObject, ...]
    notes: tuple[str, ...] = ()


def decide(
    features: Mapping[str, Feature],
    config: DecisionConfig,
    *,
    seeds: Iterable[tuple[DetectedObject, Sequence[str]]] = (),
    points_of: Mapping[str, Feature] | None = None,
) -> Decision:
    """Fuse the decisions of several sources.

    Args:
        features: the sources whose decisions count.
        config: thresholds.
        seeds: objects of a fusion model and the sources behind them, to be completed.
        points_of: features whose LiDAR points may place 2-D boxes; None: `features`.

    Returns:
        Objects in the base frame, strongest first.
    """
    hypotheses = [Hypothesis(box, sources) for box, sources in seeds]
    notes = []
    ordered = sorted(features.values(), key=lambda item: _PRECISION.get(item.modality, 1))
    for feature in ordered:
        merge_boxes(hypotheses, feature.objects, feature.source, config)
    pictured = [feature for feature in ordered if feature.image_objects]
    points = _points((features if points_of is None else points_of) if pictured else {})
    for feature in pictured:
        if feature.geometry.intrinsics is None:
            notes.append(f"{feature.source}: no calibration, its 2-D boxes are not placed")
            continue
        if not any(common_name(item.class_name) for item in feature.image_objects):
            # Without the names, so that the text stays the same from frame to frame.
            notes.append(f"{feature.source}: none of its 2-D boxes is of a road user, so no object")
            continue
        sight = Sight.of(feature.source, feature.geometry, points)
        _add_camera(hypotheses, feature, sight, config)
    scored = sorted(((item.score, item) for item in hypotheses), key=lambda pair: -pair[0])
    return Decision(
        objects=tuple(
            item.finished(score)
            for score, item in scored[: config.max_objects]
            if score >= config.min_score
        ),
        notes=tuple(notes),
    )


def _points(features: Mapping[str, Feature]) -> NDArray[np.float64]:
    """Return the LiDAR points of all features, (K, 3), base frame."""
    clouds = [
        feature.tensors[OBSTACLE_POINTS]
        for feature in features.values()
        if OBSTACLE_POINTS in feature.tensors
    ]
    return np.concatenate([np.empty((0, 3)), *clouds]).astype(np.float64, copy=False)


def _add_camera(
    hypotheses: list[Hypothesis], feature: Feature, sight: Sight, config: DecisionConfig
) -> None:
    """Match a camera's 2-D boxes to boxes in space, place the rest, doubt what it does not see."""
    items = [
        (item, name)
        for item in feature.image_objects
        if (name := common_name(item.class_name))
        and min(item.x_max - item.x_min, item.y_max - item.y_min) >= _MIN_SIDE_PX
    ]
    rectangles, shares = image_rectangles(
        box_corners([hypothesis.box for hypothesis in hypotheses]), feature.geometry
    )
    matched = _match(hypotheses, rectangles, items, config)
    for known, index in matched.items():
        item, name = items[index]
        hypotheses[known].support(feature.source, name, item.score)
    used = set(matched.values())
    loose = [items[index] for index in range(len(items)) if index not in used]
    for item, name in sorted(loose, key=lambda pair: -pair[0].score):
        _place_one(hypotheses, item, name, sight, config)
    named = {group_of(name) for _, name in items}
    _doubt_unseen(hypotheses[: len(rectangles)], rectangles, shares, feature, named, config)


def _match(
    hypotheses: Sequence[Hypothesis],
    rectangles: NDArray[np.float64],
    items: Sequence[tuple[ImageObject, str]],
    config: DecisionConfig,
) -> dict[int, int]:
    """Pair boxes in space with 2-D boxes, largest overlap first."""
    if not hypotheses or not items:
        return {}
    boxes = np.array([[item.x_min, item.y_min, item.x_max, item.y_max] for item, _ in items])
    overlap = rectangle_iou(rectangles, boxes)
    pairs: dict[int, int] = {}
    used: set[int] = set()
    known, seen = np.nonzero(overlap >= config.min_image_iou)
    for pair in np.argsort(-overlap[known, seen], kind="stable"):
        i, j = int(known[pair]), int(seen[pair])
        if i in pairs or j in used or hypotheses[i].group != group_of(items[j][1]):
            continue
        pairs[i] = j
        used.add(j)
    return pairs


def _doubt_unseen(
    hypotheses: Sequence[Hypothesis],
    rectangles: NDArray[np.float64],
    shares: NDArray[np.float64],
    feature: Feature,
    named: Set[str],
    config: DecisionConfig,
) -> None:
    """Lower the score of near, large, unhidden boxes that this camera has no evidence of.

    Only of groups that the frame has boxes of: a detector of traffic lights, or of people alone,
    is no witness that there is no car.
    """
    camera_m = feature.geometry.T_base_sensor[:2, 3]
    ranges = [math.dist(hypothesis.box.center_m[:2], camera_m) for hypothesis in hypotheses]
    for index, hypothesis in enumerate(hypotheses):
        height_px = rectangles[index, 3] - rectangles[index, 1]
        if (
            feature.source in hypothesis.scores
            or hypothesis.group not in (VEHICLE, PERSON)
            or hypothesis.group not in named
            or shares[index] < _FULLY_SEEN
            or ranges[index] > config.unseen_range_m
            or height_px < config.unseen_height_px
        ):
            continue
        nearer = [other for other in range(len(ranges)) if ranges[other] < ranges[index]]
        hidden = intersection(rectangles[index : index + 1], rectangles[nearer])[0]
        width_px = rectangles[index, 2] - rectangles[index, 0]
        if not (hidden > _HIDDEN * height_px * width_px).any():
            hypothesis.factor *= config.unseen_factor


def _place_one(
    hypotheses: list[Hypothesis],
    item: ImageObject,
    class_name: str,
    sight: Sight,
    config: DecisionConfig,
) -> None:
    """Place a 2-D box; one that lands on a known object supports it instead."""
    box = place(item, class_name, sight, config)
    if box is None:
        return
    gate_m = gate_of(group_of(class_name), config)
    known = nearest(hypotheses, box, gate_m) or overlapped(hypotheses, box)
    if known is None:
        hypotheses.append(Hypothesis(box, [sight.source]))
    elif sight.source not in known.scores:
        known.support(sight.source, class_name, box.score)
    elif (
        math.dist(known.box.center_m[:2], box.center_m[:2]) > gate_m / 2
        and bev_iou(known.box, box) < SHARED_GROUND
    ):
        hypotheses.append(Hypothesis(box, [sight.source]))  # two objects close together
