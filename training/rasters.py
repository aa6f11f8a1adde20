"""Rasters of training sweeps: compiled where the package was built, else the same by NumPy."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_perception.encoders.lidar.native import Sweeper, native
from edge_perception.encoders.lidar.preprocess import (
    BinnedPoints,
    LidarPreprocessing,
    bin_points,
    rasterize,
    sweep_plan,
)
from training.samples import Sweep

RAISED_M = (0.25, 4.5)  # above the ground: points of these heights are counted
_LEVEL = np.eye(4, dtype=np.float32)[:3]


@lru_cache(maxsize=1)
def _sweeper(config: LidarPreprocessing) -> Sweeper | None:
    compiled = native()
    if compiled is None:
        return None
    return compiled.sweeper(sweep_plan(replace(config, obstacle_height_m=RAISED_M)))


def raster_and_counts(
    sweep: Sweep, config: LidarPreprocessing
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the raster (C, H, W) of a sweep, and how many raised points each box holds."""
    sweeper, intensity = _sweeper(config), limited(sweep.intensity, config)
    if sweeper is None:
        binned = bin_points(sweep.xyz_m, config)
        raster = rasterize(sweep.xyz_m, intensity, config, binned=binned)
        return raster, count_points(binned, sweep.boxes, config)
    xyz = np.ascontiguousarray(sweep.xyz_m, np.float32)
    raised = xyz[sweeper(xyz, _LEVEL, intensity)]
    place = (raised[:, :2] - _origin(config)) * np.float32(1 / config.cell_m)
    row, column = place.astype(np.int64).T
    counts = count_cells(row * config.shape[1] + column, sweep.boxes, config)
    return sweeper.raster.copy(), counts


def limited(intensity: NDArray[np.float32], config: LidarPreprocessing) -> NDArray[np.float32]:
    """Return brightness, (N,), as the encoder limits it."""
    return np.minimum(intensity, np.float32(config.intensity_limit or 1.0), dtype=np.float32)


def count_points(
    binned: BinnedPoints, boxes: NDArray, config: LidarPreprocessing
) -> NDArray[np.int64]:
    """Return how many raised points each box holds, counted on the fine raster."""
    low, high = RAISED_M
    raised = binned.cell[(binned.height_m > low) & (binned.height_m < high)]
    return count_cells(raised, boxes, config)


def count_cells(
    raised: NDArray[np.integer], boxes: NDArray, config: LidarPreprocessing
) -> NDArray[np.int64]:
    """Return how many of the cells of raised points lie in each box."""
    rows, columns = config.shape
    origin = _origin(config)
    image = np.bincount(raised, minlength=rows * columns).reshape(rows, columns)
    counts = np.zeros(len(boxes), np.int64)
    for k, box in enumerate(boxes):
        reach = 0.5 * float(np.hypot(box[3], box[4])) + config.cell_m
        low = np.floor((box[:2] - reach - origin) / config.cell_m).astype(int)
        high = np.ceil((box[:2] + reach - origin) / config.cell_m).astype(int)
        low, high = np.maximum(low, 0), np.minimum(high, (rows, columns))
        if (low >= high).any():
            continue
        x = (np.arange(low[0], high[0]) + 0.5)[:, None] * config.cell_m + origin[0] - box[0]
        y = (np.arange(low[1], high[1]) + 0.5)[None] * config.cell_m + origin[1] - box[1]
        c, s = np.cos(box[6]), np.sin(box[6])
        margin = 0.5 * config.cell_m
        inside = (np.abs(x * c + y * s) < 0.5 * box[3] + margin) & (
            np.abs(y * c - x * s) < 0.5 * box[4] + margin
        )
        counts[k] = image[low[0] : high[0], low[1] : high[1]][inside].sum()
    return counts


def _origin(config: LidarPreprocessing) -> NDArray[np.float32]:
    return np.array([config.x_range_m[0], config.y_range_m[0]], np.float32)
