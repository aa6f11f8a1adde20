"""NaN and Inf in features and boxes: a cheap second look after the encoder's."""

from __future__ import annotations

import math

import numpy as np

from edge_perception.core.types import DetectedObject, Feature

_FULL_CHECK = 4096  # elements; of larger tensors an even sample of about this size is looked at


def is_finite(box: DetectedObject) -> bool:
    """Whether score, centre, size and heading of a box are numbers."""
    return math.isfinite(box.score + sum(box.center_m) + sum(box.size_m) + box.yaw_rad)


def not_finite(feature: Feature) -> str:
    """Name the first tensor or decision with NaN or Inf; empty: none."""
    for name, tensor in feature.tensors.items():
        if tensor.dtype.kind == "f" and tensor.size:
            sample = tensor.reshape(-1)[:: max(1, tensor.size // _FULL_CHECK)]
            if not math.isfinite(float(sample.sum(dtype=np.float64))):
                return f"tensor '{name}' has NaN or Inf"
    for box in feature.objects:
        if not is_finite(box):
            return f"object '{box.class_name}' has NaN or Inf"
    for item in feature.image_objects:
        if not math.isfinite(item.score + item.x_min + item.y_min + item.x_max + item.y_max):
            return f"image object '{item.class_name}' has NaN or Inf"
    return ""
