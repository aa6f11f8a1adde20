"""NaN and Inf in boxes."""

from __future__ import annotations

import math

from edge_perception.core.types import DetectedObject


def is_finite(box: DetectedObject) -> bool:
    """Whether score, centre, size and heading of a box are numbers."""
    return all(map(math.isfinite, (box.score, *box.center_m, *box.size_m, box.yaw_rad)))
