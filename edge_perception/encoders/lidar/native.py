"""LiDAR preprocessing compiled (src/lidar.c, raster.c), where the package was built with colcon.

The calls hold no GIL, so the other sources' threads run meanwhile. Without them NumPy does the same
and gives the same bits (`preprocess.py`, `conversion.py`).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edge_perception.core.native import library
from edge_perception.core.scratch import Scratch
from edge_perception.encoders.lidar.road import RoadPlan

MAX_SLICES = 64  # of a raster
_FLOAT32 = np.dtype("<f4")
_BRIGHTNESS = (np.dtype("u1"), np.dtype("<u2"), _FLOAT32)


class _Raster(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in (
            "rows", "columns", "side", "rank", "coarse_rows", "coarse_columns", "slices",
            "lookup_length", "density_length",
        )),
        *((name, ctypes.c_float) for name in (
            "x_min", "y_min", "z_min", "z_max", "cells_per_m", "rise", "first_edge", "last_edge",
            "raised_low", "raised_high",
        )),
    )  # fmt: skip


class _Tables(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in (
        "slice_of", "density_of", "low_row", "near_row", "far_row", "low_column", "near_column",
        "far_column",
    ))  # fmt: skip


class _Buffers(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in (
        "cell", "z", "returns", "above", "cells", "filled", "now", "before", "ranks", "coarse",
        "around", "raised", "raster",
    ))  # fmt: skip


class _PillarGrid(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in (
            "rows", "columns", "max_pillars", "max_points", "point_features", "extra",
        )),
        *((name, ctypes.c_float) for name in (
            "x_min", "y_min", "z_min", "x_max", "y_max", "z_max", "x_size", "y_size", "z_size",
        )),
    )  # fmt: skip


class _Road(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "columns", "near", "steps", "rise")),
        ("z_min", ctypes.c_float),
    )


class _RoadTables(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in (
        "coarse_of", "nearest_first", "rank_of",
    ))  # fmt: skip


class _RoadBuffers(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in (
        "heights", "sums", "votes", "level", "gap", "floor",
    ))  # fmt: skip


_CELL = np.dtype([("lowest", "f4", 2), ("points", "i4", 2)])
_RETURN = np.dtype([("intensity", "f4"), ("index", "i4")])
_OF_POINTS: dict[str, DTypeLike] = {  # arrays with one entry a point
    "cell": np.int32, "z": np.float32, "returns": _RETURN, "above": np.float32, "raised": np.int32,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What a raster is made by; the names are those of the C structures."""

    numbers: dict[str, float]
    road: RoadPlan
    tables: dict[str, NDArray]  # contiguous, int64 or float32, but int32 for `slice_of`

    @property
    def cells(self) -> int:
        """Fine cells."""
        return int(self.numbers["rows"] * self.numbers["columns"])

    @property
    def coarse_cells(self) -> int:
        """Cells of the ground."""
        return int(self.numbers["coarse_rows"] * self.numbers["coarse_columns"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the raster."""
        numbers = self.numbers
        channels = int(numbers["slices"]) + 5
        return channels, int(numbers["rows"]), int(numbers["columns"])


class Native:
    """The functions of the library. What they return lies in the `scratch` they are given."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        for name in ("ep_gather_xyz", "ep_sweep", "ep_pillars"):
            getattr(library, name).restype = ctypes.c_int64
        library.ep_intensity.restype = ctypes.c_float

    def gather_xyz(
        self, points: NDArray[np.void], farthest_m: float, scratch: Scratch
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], tuple[int, int, int]] | None:
        """Return x, y, z of what can be returns, (K, 3), and which points of the view they are.

        Also how many of the others are not finite, at zero, and beyond `farthest_m`. None: the
        fields are not float32 of this machine's byte order, or rows are padded.
        """
        fields = points.dtype.fields
        assert fields is not None
        if any(fields[axis][0] != _FLOAT32 for axis in "xyz"):
            return None
        if points.strides != (points.dtype.itemsize,):
            return None
        xyz = scratch.empty("xyz", (len(points), 3), np.float32)
        index = scratch.empty("kept", (len(points),), np.int32)
        marked = (ctypes.c_int64 * 3)()
        kept = self._library.ep_gather_xyz(
            points.ctypes, _n(len(points)), _n(points.dtype.itemsize),
            *(_n(fields[axis][1]) for axis in "xyz"), ctypes.c_float(farthest_m), xyz.ctypes,
            index.ctypes, marked,
        )  # fmt: skip
        return xyz[:kept], index[:kept], (marked[0], marked[1], marked[2])

    def intensity(
        self,
        values: NDArray,
        index: NDArray[np.integer] | None,
        eight_bits: float,
        scratch: Scratch,
    ) -> tuple[NDArray[np.float32], float] | None:
        """Return the brightness of the points that `index` names, (K,), and the largest.

        Scaled to 0..1 unless the largest is above `eight_bits`. None: neither uint8, uint16 nor
        float32 of this machine's byte order.
        """
        if values.dtype not in _BRIGHTNESS or values.strides[0] < values.itemsize:
            return None
        if index is not None:
            index = np.ascontiguousarray(index, np.int32)
        count = len(values) if index is None else len(index)
        scaled = scratch.empty("intensity", (count,), np.float32)
        largest = self._library.ep_intensity(
            ctypes.c_void_p(values.ctypes.data), _n(count), _n(values.strides[0]),
            _n(values.itemsize), ctypes.c_float(eight_bits),
            None if index is None else index.ctypes, scaled.ctypes,
        )  # fmt: skip
        return scaled, float(largest)

    def scale(self, values: NDArray[np.float32], scale: float) -> None:
        """Scale values in place and bring them to 0..1; NaN becomes 0."""
        self._library.ep_scale(values.ctypes, _n(len(values)), ctypes.c_float(scale))

    def pillars(
        self,
        points: NDArray[np.float32],
        numbers: dict[str, float],
        arrays: tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]],
    ) -> int:
        """Sort points into pillars; returns how many.

        Args:
            points: (N, point features), contiguous.
            numbers: of the grid, by the names of the structure.
            arrays: slots of the cells (-1), features (0), cells and held points of the pillars.
        """
        points = np.ascontiguousarray(points)
        grid = ctypes.byref(_PillarGrid(**numbers))
        found = self._library.ep_pillars(
            points.ctypes, _n(len(points)), grid, *(array.ctypes for array in arrays)
        )
        return int(found)

    def sweeper(self, plan: SweepPlan) -> Sweeper:
        """Return what makes rasters by a plan."""
        return Sweeper(self._library, plan)


class Sweeper:
    """Makes one raster after another in the same arrays. Not thread-safe.

    Most cells of a sweep are empty, so only those that hold points, or did in the sweep before,
    are written: nobody else may write into `raster`.
    """

    def __init__(self, library: ctypes.CDLL, plan: SweepPlan) -> None:
        """Allocate what has the size of the raster."""
        self._library, self._plan = library, plan
        self.raster = np.zeros(plan.shape, np.float32)  # of the newest sweep
        ranks = plan.coarse_cells * (int(plan.numbers["rank"]) + 1)
        words = -(-plan.cells // 64)
        self._kept = {  # one cell more takes what lies outside
            "cells": np.array([(np.inf, 0)], _CELL).repeat(plan.cells + 1),
            "filled": np.zeros(64 * words + 1, np.uint8),
            "now": np.zeros(words, np.uint64),
            "before": np.zeros(words, np.uint64),
            "ranks": np.empty(ranks, np.float32),
            "coarse": np.empty(plan.coarse_cells, np.float32),
            "around": np.empty(plan.coarse_cells, np.float32),
            "raster": self.raster,
        }
        self._scratch = Scratch()
        self._numbers = _Raster(**plan.numbers)
        self._tables = _Tables(**_addresses(plan.tables))
        self._buffers = _Buffers(**_addresses(self._kept))
        road = plan.road
        self._road_kept = {
            "heights": np.empty((road.cells + 1) * road.steps, np.int32),
            "sums": np.empty(road.steps + 4, np.int32),
            "votes": np.empty(road.steps, np.int32),
            "level": np.empty(road.cells, np.int32),
            "gap": np.empty(road.cells, np.int32),
            "floor": np.empty(road.cells + 1, np.float32),
        }
        rows, columns = road.shape
        self._road = _Road(rows, columns, road.near, road.steps, road.rise, road.z_min_m)
        self._road_tables = _RoadTables(
            *(a.ctypes.data for a in (road.coarse_of, road.nearest_first, road.rank_of))
        )
        self._road_buffers = _RoadBuffers(**_addresses(self._road_kept))

    def __call__(
        self,
        xyz: NDArray[np.float32],
        T: NDArray[np.float32],
        intensity: NDArray[np.float32] | None,
    ) -> NDArray[np.int32]:
        """Fill `raster`; return which points are raised, in the order of their cells.

        Args:
            xyz: (N, 3), m, sensor frame, contiguous.
            T: (3, 4), sensor to base frame, contiguous.
            intensity: (N,), contiguous.
        """
        points = len(xyz)
        arrays = {
            name: self._scratch.empty(name, (points,), dtype) for name, dtype in _OF_POINTS.items()
        }
        for name, address in _addresses(arrays).items():
            setattr(self._buffers, name, address)
        found = self._library.ep_sweep(
            xyz.ctypes,
            _n(points),
            T.ctypes,
            None if intensity is None else intensity.ctypes,
            ctypes.byref(self._numbers),
            ctypes.byref(self._tables),
            ctypes.byref(self._buffers),
            ctypes.byref(self._road),
            ctypes.byref(self._road_tables),
            ctypes.byref(self._road_buffers),
        )
        return arrays["raised"][:found]


@cache
def native() -> Native | None:
    """Return the library; None where it was not built. On the library path after a build."""
    found = library()
    return None if found is None else Native(found.released)


def _addresses(arrays: dict[str, NDArray]) -> dict[str, int]:
    return {name: array.ctypes.data for name, array in arrays.items()}


def _n(value: int) -> ctypes.c_int64:
    return ctypes.c_int64(value)
