"""NaN and Inf in features and boxes: a second look after the encoder's."""

from __future__ import annotations

import math

from edge_perception.core.finite import all_finite
from edge_perception.core.types import DetectedObject, Feature


def is_finite(box: DetectedObject) -> bool:
    """Whether score, centre, size and heading of a box are numbers."""
    return math.isfinite(box.score + sum(box.center_m) + sum(box.size_m) + box.yaw_rad)


def not_finite(feature: Feature) -> str:
    """Name the first tensor or decision with NaN or Inf; empty: none."""
    for name, tensor in feature.tensors.items():
        if not all_finite(tensor):
            return f"tensor '{name}' has NaN or Inf"
    for box in feature.objects:
        if not is_finite(box):
            return f"object '{box.class_name}' has NaN or Inf"
    for item in feature.image_objects:
        if not math.isfinite(item.score + item.x_min + item.y_min + item.x_max + item.y_max):
            return f"image object '{item.class_name}' has NaN or Inf"
    return ""
