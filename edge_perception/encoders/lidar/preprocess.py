"""Sweeps in the base frame become a bird's-eye raster and a thinned set of obstacle points.

The raster's rows follow +x (row 0 at `x_range_m[0]`), its columns +y. Heights are measured above
the local ground, so that slopes and mounting errors of a few centimetres do not matter. The
ground is the lowest return of coarse cells that can be of a road (`road.py`), limited to a slope
that one can have: a cell whose only returns lie on a car roof takes its height from its neighbours.

These functions are the reference, and what runs without a build; `native.py` does the same in one
call, which the encoder uses where it can.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.parameter import parameter
from edge_perception.encoders.lidar.native import SweepPlan
from edge_perception.encoders.lidar.road import RoadPlan, road_floor, road_plan

_COARSE = 16  # fine cells along a side of a ground cell; a power of two
_GROUND_RANK = 2  # that many fine cells may lie below the ground (multipath returns)
_DENSITY_FULL = 32.0  # returns in a cell at which the density channel reaches 1
_EXTRA_CHANNELS = ("max_height", "min_height", "density", "intensity", "ground_m")
MAX_OBSTACLE_POINTS = 4096


@dataclass(frozen=True, kw_only=True)
class LidarPreprocessing:
    """How a sweep becomes graph inputs; `preprocessing` of a LiDAR manifest."""

    input: str = "raster"  # graph input name
    x_range_m: tuple[float, float] = (-25.6, 51.2)
    y_range_m: tuple[float, float] = (-25.6, 25.6)
    z_range_m: tuple[float, float] = (-3.0, 5.0)  # base frame; returns outside are not used
    cell_m: float = parameter(0.2, unit="m", low=0.02, high=5.0)
    height_edges_m: tuple[float, ...] = (0.25, 0.6, 1.0, 1.4, 1.8, 2.4, 3.6)  # above the ground
    max_slope: float = parameter(0.12, low=0.0, high=1.0)
    obstacle_height_m: tuple[float, float] = (0.3, 3.6)  # above the ground
    # Of the sweeps of training, of returns above 0; 0: intensity is taken as it comes.
    intensity_median: float = parameter(0.0, low=0.0, high=1.0)
    # Returns that are brighter, after that, count as so bright; 0: none do.
    intensity_limit: float = parameter(0.0, low=0.0, high=1.0)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (x) and columns (y) of the raster."""
        return (
            round((self.x_range_m[1] - self.x_range_m[0]) / self.cell_m),
            round((self.y_range_m[1] - self.y_range_m[0]) / self.cell_m),
        )

    @cached_property
    def road(self) -> RoadPlan:
        """Where the road is looked for."""
        return road_plan(
            self.shape,
            _COARSE,
            (self.x_range_m[0], self.y_range_m[0]),
            self.cell_m,
            self.z_range_m,
            self.max_slope,
        )

    @property
    def channels(self) -> tuple[str, ...]:
        """What each channel of the raster holds."""
        edges = self.height_edges_m
        slices = [f"occupied_{a:g}_{b:g}" for a, b in pairwise(edges)]
        return (*slices, *_EXTRA_CHANNELS)

    @cached_property
    def slice_lookup(self) -> NDArray[np.int64]:
        """Slice of each centimetre above the first edge; the last entry means none."""
        edges = np.asarray(self.height_edges_m)
        centimetres = np.arange(round((edges[-1] - edges[0]) * 100)) / 100 + edges[0] + 0.005
        return np.asarray(np.searchsorted(edges, centimetres, side="right") - 1, np.int64)


@dataclass(frozen=True, kw_only=True)
class BinnedPoints:
    """The returns of a sweep that lie in the raster."""

    index: NDArray[np.int64]  # (M,) into the sweep
    cell: NDArray[np.int64]  # (M,) flat raster cell
    height_m: NDArray[np.float32]  # (M,) above the local ground
    ground_m: NDArray[np.float32]  # (H * W,) base frame


def bin_points(xyz_base: NDArray[np.float32], config: LidarPreprocessing) -> BinnedPoints:
    """Sort returns into raster cells and measure their height above the ground.

    Args:
        xyz_base: (N, 3), m, base frame, finite.
        config: the raster.
    """
    rows, columns = config.shape
    scale = np.float32(1.0 / config.cell_m)
    x, y, z = (np.ascontiguousarray(xyz_base[:, axis], dtype=np.float32) for axis in range(3))
    row = (x - np.float32(config.x_range_m[0])) * scale
    column = (y - np.float32(config.y_range_m[0])) * scale
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    inside &= (z > config.z_range_m[0]) & (z < config.z_range_m[1])
    index = np.flatnonzero(inside)
    cell = row[index].astype(np.int64) * columns + column[index].astype(np.int64)
    plan = config.road
    possible = z[index] >= road_floor(cell, z[index], plan)[plan.coarse_of[cell]]
    lowest = np.full(rows * columns, np.inf, np.float32)
    np.minimum.at(lowest, cell[possible], z[index[possible]])
    ground = _ground(lowest.reshape(config.shape), config).ravel()
    return BinnedPoints(index=index, cell=cell, height_m=z[index] - ground[cell], ground_m=ground)


def rasterize(
    xyz_base: NDArray[np.float32],
    intensity: NDArray[np.float32] | None,
    config: LidarPreprocessing,
    *,
    binned: BinnedPoints | None = None,
) -> NDArray[np.float32]:
    """Return the raster, (C, H, W), channels as in `config.channels`.

    Values are about 0 to 1, but for `ground_m`: the ground's height in metres, base frame.

    Args:
        xyz_base: (N, 3), m, base frame, finite.
        intensity: (N,), 0 to 1; None leaves that channel 0, which training has seen.
        config: the raster.
        binned: what `bin_points` returned for the same sweep; saves doing it twice.
    """
    rows, columns = config.shape
    cells = rows * columns
    raster = np.zeros((len(config.channels), rows, columns), np.float32)
    flat = raster.reshape(len(raster), cells)
    binned = bin_points(xyz_base, config) if binned is None else binned
    slices = len(config.height_edges_m) - 1
    lookup = config.slice_lookup
    step = ((binned.height_m - config.height_edges_m[0]) * 100).astype(np.int64)
    raised = np.flatnonzero((step >= 0) & (step < len(lookup)))
    flat[:slices].reshape(-1)[lookup[step[raised]] * cells + binned.cell[raised]] = 1.0
    _fill_heights(flat[slices], flat[slices + 1], binned, config)
    count = np.bincount(binned.cell, minlength=cells)
    flat[slices + 2] = _density_lookup()[np.minimum(count, len(_density_lookup()) - 1)]
    if intensity is not None:
        weights = np.asarray(intensity, np.float32)[binned.index]
        total = np.bincount(binned.cell, weights=weights, minlength=cells)
        flat[slices + 3] = total / np.maximum(count, 1)
    flat[slices + 4] = binned.ground_m
    return raster


def returns_of(density: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how many returns the cells of the density channel stand for, 63 at most told apart."""
    counts: NDArray[np.float32] = np.expm1(density * np.float32(np.log1p(_DENSITY_FULL)))
    return counts


def raised_points(binned: BinnedPoints, config: LidarPreprocessing) -> NDArray[np.int64]:
    """Return the points of a sweep at obstacles' heights, in the order of their cells."""
    low, high = config.obstacle_height_m
    raised = np.flatnonzero((binned.height_m > low) & (binned.height_m < high))
    order = np.argsort(binned.cell[raised], kind="stable")
    return np.asarray(binned.index[raised[order]])


def thinned(raised: NDArray[np.integer], limit: int = MAX_OBSTACLE_POINTS) -> NDArray[np.integer]:
    """Return up to `limit` of the raised points, evenly thinned.

    In the order of the raster's cells, so that the share of each object stays what it was.
    """
    if len(raised) <= limit:
        return raised
    return raised[np.linspace(0, len(raised) - 1, limit).astype(np.int64)]


def obstacle_points(
    xyz_base: NDArray[np.float32], config: LidarPreprocessing
) -> NDArray[np.float32]:
    """Return returns above the ground, (K, 3), m, base frame, thinned to MAX_OBSTACLE_POINTS."""
    kept = thinned(raised_points(bin_points(xyz_base, config), config))
    return np.ascontiguousarray(xyz_base[kept], dtype=np.float32)


def sweep_plan(config: LidarPreprocessing) -> SweepPlan:
    """Return what the compiled functions make the same raster by."""
    rows, columns = config.shape
    coarse_rows, coarse_columns = -(-rows // _COARSE), -(-columns // _COARSE)
    low_row, near_row, far_row = _interpolation(rows, coarse_rows)
    low_column, near_column, far_column = _interpolation(columns, coarse_columns)
    density_of = _density_lookup()
    return SweepPlan(
        road=config.road,
        numbers={
            "rows": rows,
            "columns": columns,
            "side": _COARSE,
            "rank": _GROUND_RANK,
            "coarse_rows": coarse_rows,
            "coarse_columns": coarse_columns,
            "slices": len(config.height_edges_m) - 1,
            "lookup_length": len(config.slice_lookup),
            "density_length": len(density_of),
            "x_min": config.x_range_m[0],
            "y_min": config.y_range_m[0],
            "z_min": config.z_range_m[0],
            "z_max": config.z_range_m[1],
            "cells_per_m": 1.0 / config.cell_m,
            "rise": _rise(config),
            "first_edge": config.height_edges_m[0],
            "last_edge": config.height_edges_m[-1],
            "raised_low": config.obstacle_height_m[0],
            "raised_high": config.obstacle_height_m[1],
        },
        tables={
            "slice_of": config.slice_lookup.astype(np.int32),
            "density_of": density_of,
            "low_row": low_row,
            "near_row": near_row,
            "far_row": far_row,
            "low_column": low_column,
            "near_column": near_column,
            "far_column": far_column,
        },
    )


def _fill_heights(
    highest: NDArray[np.float32],
    lowest: NDArray[np.float32],
    binned: BinnedPoints,
    config: LidarPreprocessing,
) -> None:
    """Highest and lowest raised return of each cell, as a share of the last height edge."""
    top = np.float32(config.height_edges_m[-1])
    raised = np.flatnonzero((binned.height_m > config.height_edges_m[0]) & (binned.height_m < top))
    cell, share = binned.cell[raised], binned.height_m[raised] / top
    np.maximum.at(highest, cell, share)
    lowest.fill(1.0)
    np.minimum.at(lowest, cell, share)
    lowest[highest == 0.0] = 0.0


def _ground(lowest: NDArray[np.float32], config: LidarPreprocessing) -> NDArray[np.float32]:
    """Return the ground height of every fine cell, (H, W), m, base frame.

    Args:
        lowest: (H, W), lowest return of every fine cell; Inf where there is none.
        config: the raster.
    """
    coarse = _limit_slope(_rank_of_blocks(lowest), _rise(config))
    coarse[~np.isfinite(coarse)] = 0.0  # not one return near: the base frame's own road plane
    low, near, far = _interpolation(lowest.shape[0], coarse.shape[0])
    high = np.minimum(low + 1, coarse.shape[0] - 1)
    lines = coarse[low] * near[:, None] + coarse[high] * far[:, None]
    low, near, far = _interpolation(lowest.shape[1], coarse.shape[1])
    high = np.minimum(low + 1, coarse.shape[1] - 1)
    return np.asarray(lines[:, low] * near + lines[:, high] * far, dtype=np.float32)


def _rise(config: LidarPreprocessing) -> float:
    """Height that the ground may gain from one coarse cell to the next, m."""
    return config.max_slope * config.cell_m * _COARSE


def _rank_of_blocks(lowest: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = lowest.shape
    shape = (-(-rows // _COARSE), -(-columns // _COARSE))
    padded = np.full((shape[0] * _COARSE, shape[1] * _COARSE), np.inf, np.float32)
    padded[:rows, :columns] = lowest
    tiles = padded.reshape(shape[0], _COARSE, shape[1], _COARSE).swapaxes(1, 2)
    blocks = tiles.reshape(*shape, _COARSE * _COARSE)
    return np.asarray(np.partition(blocks, _GROUND_RANK, axis=-1)[..., _GROUND_RANK])


def _limit_slope(coarse: NDArray[np.float32], rise: float) -> NDArray[np.float32]:
    """Lower cells that stand more than `rise` above a neighbour; fills cells without returns."""
    for _ in range(4):
        padded = np.pad(coarse, 1, constant_values=np.inf)
        around = np.minimum.reduce(
            [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
        )
        empty = ~np.isfinite(coarse)
        coarse = np.where(empty, around, np.minimum(coarse, around + np.float32(rise)))
    return coarse


@lru_cache(maxsize=8)
def _interpolation(
    fine: int, coarse: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Return for each fine cell the coarse one before it, its weight and that of the next one.

    Linear between the centres of coarse cells.
    """
    position = np.clip((np.arange(fine) + 0.5) / _COARSE - 0.5, 0, coarse - 1)
    low = np.minimum(position.astype(np.int64), max(coarse - 2, 0))
    far = (position - low).astype(np.float32)
    return low, np.float32(1.0) - far, far


@lru_cache(maxsize=1)
def _density_lookup() -> NDArray[np.float32]:
    return np.minimum(np.log1p(np.arange(64)) / np.log1p(_DENSITY_FULL), 1.5).astype(np.float32)
