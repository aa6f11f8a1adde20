"""What every LiDAR encoder gives beside its model: points in the base frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import Geometry

OBSTACLE_POINTS = "obstacle_points"


def to_base(xyz_m: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Move points of the sensor frame to the base frame, (N, 3), m."""
    T = to_base_matrix(geometry)
    x, y, z = (xyz_m[:, axis, None] for axis in range(3))
    return np.asarray(x * T[:, 0] + y * T[:, 1] + z * T[:, 2] + T[:, 3])


def to_base_matrix(geometry: Geometry) -> NDArray[np.float32]:
    """Return the pose of the sensor, (3, 4), contiguous."""
    return np.ascontiguousarray(geometry.T_base_sensor[:3], dtype=np.float32)
