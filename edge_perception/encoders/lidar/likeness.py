"""A sketch of a sweep: how many points lie in each sector and ring about the sensor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import PointCloud
from edge_perception.encoders.likeness import LikenessSpec

SECTORS = 72  # of 5 degrees
_RINGS_M = np.array([4.0, 7.0, 11.0, 16.0, 24.0, 40.0], np.float32)
_SAMPLE = 32768  # points looked at


def sketch(frame: PointCloud) -> NDArray[np.float32]:
    """Return twice the root of the points of each cell, (72, 7).

    So the noise of counting is the same in cells with many and with few points (Anscombe, 1948):
    it has a deviation of 1, and less where the beams of a sensor go the same ways again.
    """
    step = max(1, len(frame.xyz_m) // _SAMPLE)
    x, y = frame.xyz_m[::step, 0], frame.xyz_m[::step, 1]
    azimuth = (np.arctan2(y, x) + np.float32(np.pi)) * np.float32(SECTORS / (2 * np.pi))
    rings = len(_RINGS_M) + 1
    cell = (azimuth.astype(np.intp) % SECTORS) * rings + np.searchsorted(_RINGS_M, np.hypot(x, y))
    counts = np.bincount(cell, minlength=SECTORS * rings)
    return (2.0 * np.sqrt(counts + 0.375)).astype(np.float32).reshape(SECTORS, rings)


LIKENESS = LikenessSpec(sketch=sketch, limit=4.0, unit="deviations of a count")
