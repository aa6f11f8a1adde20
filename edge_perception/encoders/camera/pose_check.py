"""A camera's pose that cannot be meant: one that lets it look into the sky.

The usual mistake is a pose of the camera's body (x forward, z up) where that of its optical frame
(z forward, x right, y down; REP-103) belongs: the optical axis then points up.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

SKY_DEG = 60.0  # elevation of the optical axis from which a camera sees no road user
_UPRIGHT = 0.9  # cosine, the z axis of a body frame to the vertical
_OPTICAL = "rotate by (x, y, z, w) = (-0.5, 0.5, -0.5, 0.5) from the body to the optical frame"


def odd_pose(T_base_camera: NDArray[np.float64]) -> str:
    """Return what is wrong with a pose; empty: nothing that can be seen from it alone."""
    up = float(np.clip(T_base_camera[2, 2], -1.0, 1.0))
    elevation_deg = math.degrees(math.asin(up))
    if elevation_deg < SKY_DEG:
        return ""
    text = f"the camera looks into the sky, its optical axis is {elevation_deg:.0f} degrees up"
    if up > _UPRIGHT:
        text += f"; this is the pose of a body frame (x forward, z up): {_OPTICAL}"
    return text
