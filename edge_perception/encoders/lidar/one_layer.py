"""Clouds of a scanner that has one layer: a laser scan that was made a PointCloud2.

Such a cloud is read as any other, and a model that looks at the heights of things finds nothing in
it. What a sweep of several layers sees lies in no plane through the sensor, whatever is around it:
that of an empty road lies below.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST = 50  # points
_THIN = 0.002  # of their distance, off the plane: layers lie farther apart than a tenth of a degree
ONE_LAYER = (
    "all points lie in one plane through the sensor, as those of a scanner of one layer: the model "
    "is made for sweeps of several"
)


def one_layer_told(xyz_m: NDArray[np.float32]) -> str:
    """Say that points, (N, 3), sensor frame, are of one layer; empty: they are not."""
    if len(xyz_m) < _LEAST:
        return ""
    points = xyz_m.astype(np.float64)
    off, _, far = np.linalg.eigvalsh(points.T @ points)
    return ONE_LAYER if off <= _THIN**2 * far else ""
