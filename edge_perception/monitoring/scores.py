"""How an observed number becomes a score of 0 to 1."""

from __future__ import annotations

import math


def rising(value: float, middle: float, width: float) -> float:
    """Return 0 well below `middle`, 0.5 at it, 1 well above; NaN stays NaN."""
    if value != value:
        return value
    return 1.0 / (1.0 + math.exp(-max(-40.0, min(40.0, 4.0 * (value - middle) / width))))


def falling(value: float, middle: float, width: float) -> float:
    """Return 1 well below `middle`, 0 well above."""
    return 1.0 - rising(value, middle, width)
