"""LiDAR preprocessing compiled (src/lidar.c), where the package was built with colcon.

The calls hold no GIL, so the other sources' threads run meanwhile. Without them, as in a plain
Python environment for training, NumPy does the same and gives the same bits (`preprocess.py`,
`conversion.py`).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.scratch import Scratch

LIBRARY = "libedge_perception_native.so"
_FLOAT32, _UINT8 = np.dtype("<f4"), np.dtype("u1")


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
        "index", "cell", "z", "sorted_index", "sorted_z", "start", "lowest", "coarse", "around",
        "raised", "raster",
    ))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What a raster is made by; the names are those of the C structures."""

    numbers: dict[str, float]
    tables: dict[str, NDArray]  # contiguous, int64 or float32

    @property
    def cells(self) -> int:
        """Fine cells."""
        return int(self.numbers["rows"] * self.numbers["columns"])

    @property
    def coarse_cells(self) -> int:
        """Cells of the ground."""
        return int(self.numbers["coarse_rows"] * self.numbers["coarse_columns"])


class Native:
    """The functions of the library. What they return lies in the `scratch` they are given."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        for name in ("ep_gather_xyz", "ep_sweep"):
            getattr(library, name).restype = ctypes.c_int64

    def gather_xyz(
        self, points: NDArray[np.void], scratch: Scratch
    ) -> tuple[NDArray[np.float32], int] | None:
        """Return x, y, z of a structured view, (N, 3), and how many points are finite.

        None: the fields are not float32 of this machine's byte order, or rows are padded.
        """
        fields = points.dtype.fields
        assert fields is not None
        if any(fields[axis][0] != _FLOAT32 for axis in "xyz"):
            return None
        if points.strides != (points.dtype.itemsize,):
            return None
        xyz = scratch.empty("xyz", (len(points), 3), np.float32)
        finite = self._library.ep_gather_xyz(
            points.ctypes, _n(len(points)), _n(points.dtype.itemsize),
            *(_n(fields[axis][1]) for axis in "xyz"), xyz.ctypes,
        )  # fmt: skip
        return xyz, int(finite)

    def unit_intensity(self, values: NDArray, scratch: Scratch) -> NDArray[np.float32] | None:
        """Return intensities scaled to 0..1, (N,); None: neither uint8 nor float32."""
        if values.dtype not in (_UINT8, _FLOAT32) or values.strides[0] < values.itemsize:
            return None
        scaled = scratch.empty("intensity", values.shape, np.float32)
        self._library.ep_unit_intensity(
            ctypes.c_void_p(values.ctypes.data), _n(len(values)), _n(values.strides[0]),
            _n(values.itemsize), scaled.ctypes,
        )  # fmt: skip
        return scaled

    def sweep(
        self,
        xyz: NDArray[np.float32],
        T: NDArray[np.float32],
        intensity: NDArray[np.float32] | None,
        plan: SweepPlan,
        out: NDArray[np.float32],
        scratch: Scratch,
    ) -> NDArray[np.int32]:
        """Fill `out`, (C, H, W); return which points are raised, in the order of their cells.

        Args:
            xyz: (N, 3), m, sensor frame, contiguous.
            T: (3, 4), sensor to base frame, contiguous.
            intensity: (N,), contiguous.
            plan: of the raster.
            out: contiguous; all of it is overwritten.
            scratch: holds what is returned.
        """
        points, cells, coarse = len(xyz), plan.cells, plan.coarse_cells
        shapes: dict[str, tuple[int, type]] = {
            "index": (points, np.int32),
            "cell": (points, np.int32),
            "z": (points, np.float32),
            "sorted_index": (points, np.int32),
            "sorted_z": (points, np.float32),
            "start": (cells + 1, np.int32),
            "lowest": (cells, np.float32),
            "coarse": (coarse, np.float32),
            "around": (coarse, np.float32),
            "raised": (points, np.int32),
        }
        buffers = {n: scratch.empty(n, (size,), dtype) for n, (size, dtype) in shapes.items()}
        buffers["raster"] = out
        found = self._library.ep_sweep(
            xyz.ctypes,
            _n(points),
            T.ctypes,
            None if intensity is None else intensity.ctypes,
            ctypes.byref(_Raster(**plan.numbers)),
            ctypes.byref(_Tables(**_addresses(plan.tables))),
            ctypes.byref(_Buffers(**_addresses(buffers))),
        )
        return buffers["raised"][:found]


@cache
def native() -> Native | None:
    """Return the library; None where it was not built. On the library path after a build."""
    try:
        return Native(ctypes.CDLL(LIBRARY))
    except OSError:
        return None


def _addresses(arrays: dict[str, NDArray]) -> dict[str, int]:
    return {name: array.ctypes.data for name, array in arrays.items()}


def _n(value: int) -> ctypes.c_int64:
    return ctypes.c_int64(value)
