"""Do two models say the same of one frame? Outputs by tolerance, boxes by matching, classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject, ImageObject, SoundEvent
from edge_perception.models.golden import compare_arrays
from edge_perception.models.manifest import Gates

_NEAR_M = 1.0  # centres of one object in two models
_MIN_IOU = 0.5


def compare_outputs(
    candidate: Mapping[str, NDArray], current: Mapping[str, NDArray], gates: Gates
) -> str:
    """Compare the outputs that both models have; return what differs, empty: nothing."""
    problems = []
    for name in sorted(candidate.keys() & current.keys()):
        deviation = compare_arrays(name, candidate[name], current[name], gates)
        if not deviation.passed:
            problems.append(f"{name}: {deviation.reason}")
    return "; ".join(problems)


def box_share(candidate: Sequence[DetectedObject], current: Sequence[DetectedObject]) -> float:
    """Return the share of boxes that have a partner of their class within a metre; 1: none."""
    return _share(candidate, current, _same_place)


def image_box_share(candidate: Sequence[ImageObject], current: Sequence[ImageObject]) -> float:
    """Return the share of image boxes with a partner of their class, IoU of half or more."""
    return _share(candidate, current, lambda a, b: _iou(a, b) >= _MIN_IOU)


def class_share(candidate: Sequence[SoundEvent], current: Sequence[SoundEvent]) -> float:
    """Return the share of sound classes that both name; 1: neither names any."""
    ours, theirs = ({e.class_name for e in events} for events in (candidate, current))
    union = ours | theirs
    return len(ours & theirs) / len(union) if union else 1.0


def _share(one: Sequence, other: Sequence, fits: object) -> float:
    assert callable(fits)
    left = list(other)
    matched = 0
    for item in sorted(one, key=lambda entry: -entry.score):
        for partner in left:
            if item.class_name == partner.class_name and fits(item, partner):
                left.remove(partner)
                matched += 1
                break
    total = len(one) + len(other)
    return 2 * matched / total if total else 1.0


def _same_place(one: DetectedObject, other: DetectedObject) -> bool:
    return math.dist(one.center_m[:2], other.center_m[:2]) <= _NEAR_M


def _iou(one: ImageObject, other: ImageObject) -> float:
    width = min(one.x_max, other.x_max) - max(one.x_min, other.x_min)
    height = min(one.y_max, other.y_max) - max(one.y_min, other.y_min)
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(b.x_max - b.x_min) * (b.y_max - b.y_min) for b in (one, other)]
    union = sum(areas) - shared
    return shared / union if union > 0 else 0.0
