"""A camera's pose that cannot be meant: it looks into the sky, or its image lies on its side.

The usual mistakes are a pose of the camera's body (x forward, z up) where that of its optical frame
(z forward, x right, y down; REP-103) belongs, so that the optical axis points up; and a quaternion
given as w, x, y, z where x, y, z, w is asked for.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.transforms import other_order

SKY_DEG = 60.0  # elevation of the optical axis from which a camera sees no road user
ROLL_DEG = 60.0  # turned about its axis by more, the image is upright no more
# How what is said begins; the doctor knows it by that.
SKY, TURNED = "the camera looks into the sky", "the camera's image is turned"
_LEVEL_DEG = 30.0  # a pose as it is meant looks less up or down, and is turned less
_UPRIGHT = 0.9  # cosine, the z axis of a body frame to the vertical
_OPTICAL = "rotate by (x, y, z, w) = (-0.5, 0.5, -0.5, 0.5) from the body to the optical frame"
_ORDER = "read as w, x, y, z its quaternion is level: x, y, z, w is asked for"


def odd_pose(T_base_camera: NDArray[np.float64]) -> str:
    """Return what is wrong with a pose; empty: nothing that can be seen from it alone."""
    elevation_deg, roll_deg = _attitude(T_base_camera)
    if elevation_deg >= SKY_DEG:
        text = f"{SKY}, its optical axis is {elevation_deg:.0f} degrees up"
    elif abs(elevation_deg) < SKY_DEG and roll_deg > ROLL_DEG:
        text = f"{TURNED} by {roll_deg:.0f} degrees, its rows are not level"
    else:
        return ""
    if T_base_camera[2, 2] > _UPRIGHT:
        text += f"; this is the pose of a body frame (x forward, z up): {_OPTICAL}"
    meant = _attitude(other_order(T_base_camera))
    if max(abs(meant[0]), meant[1]) < _LEVEL_DEG:
        text += f"; {_ORDER}"
    return text


def remark_on_pose(T_base_camera: NDArray[np.float64]) -> str:
    """Return what may be wrong with a pose, and may be meant: a camera that looks at the ground.

    A camera to the side whose quaternion is in the other order looks straight down, as cameras for
    parking and for crops do.
    """
    down_deg = -_attitude(T_base_camera)[0]
    elevation_deg, roll_deg = _attitude(other_order(T_base_camera))
    if down_deg < SKY_DEG or max(abs(elevation_deg), roll_deg) >= _LEVEL_DEG:
        return ""
    return (
        f"the camera looks at the ground, {down_deg:.0f} degrees down; if it looks ahead or to a "
        f"side, {_ORDER}"
    )


def _attitude(T_base_camera: NDArray[np.float64]) -> tuple[float, float]:
    """Return how far the optical axis points up, and how far the image is turned about it, deg."""
    up, down = float(T_base_camera[2, 2]), -float(T_base_camera[2, 1])
    elevation_deg = math.degrees(math.asin(min(max(up, -1.0), 1.0)))
    level = math.sqrt(max(1.0 - up * up, 0.0))  # how far the axis is from the vertical
    cosine = min(max(down / level, -1.0), 1.0) if level > 1e-6 else 1.0
    return elevation_deg, math.degrees(math.acos(cosine))
