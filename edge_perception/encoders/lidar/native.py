"""The compiled loops over points (src/lidar.c), where the package was built with colcon.

They hold no GIL, so the other sources' threads run meanwhile. Without them, as in a plain Python
environment for training, NumPy does the same and gives the same bits.
"""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.scratch import Scratch

LIBRARY = "libedge_perception_native.so"
_FLOAT32 = np.dtype("<f4")


class _Raster(ctypes.Structure):
    _fields_ = (
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("x_min", ctypes.c_float),
        ("y_min", ctypes.c_float),
        ("z_min", ctypes.c_float),
        ("z_max", ctypes.c_float),
        ("cells_per_m", ctypes.c_float),
    )


class _Channels(ctypes.Structure):
    _fields_ = (
        ("cells", ctypes.c_int64),
        ("slices", ctypes.c_int64),
        ("lookup_length", ctypes.c_int64),
        ("density_length", ctypes.c_int64),
        ("first_edge", ctypes.c_float),
        ("last_edge", ctypes.c_float),
    )


class Native:
    """The functions of the library, for contiguous arrays of the dtypes stated.

    What they return lies in the `scratch` they are given.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        for name in ("ep_gather_xyz", "ep_bin_points", "ep_raised"):
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

    def bin_points(
        self,
        xyz: NDArray[np.float32],
        *,
        shape: tuple[int, int],
        minimum: tuple[float, float],
        z_range: tuple[float, float],
        cells_per_m: float,
        scratch: Scratch,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Return index, cell and z of the points inside, (M,), and the lowest z, (H * W,)."""
        index = scratch.empty("index", (len(xyz),), np.int64)
        cell = scratch.empty("cell", (len(xyz),), np.int64)
        z = scratch.empty("z", (len(xyz),), np.float32)
        lowest = scratch.full("lowest", (shape[0] * shape[1],), np.inf, np.float32)
        raster = _Raster(*shape, *minimum, *z_range, cells_per_m)
        inside = self._library.ep_bin_points(
            xyz.ctypes,
            _n(len(xyz)),
            ctypes.byref(raster),
            index.ctypes,
            cell.ctypes,
            z.ctypes,
            lowest.ctypes,
        )
        return index[:inside], cell[:inside], z[:inside], lowest

    def transform(
        self, xyz: NDArray[np.float32], T: NDArray[np.float32], scratch: Scratch
    ) -> NDArray[np.float32]:
        """Return points (N, 3) moved by T, (3, 4)."""
        moved = scratch.empty("moved", xyz.shape, np.float32)
        self._library.ep_transform(xyz.ctypes, _n(len(xyz)), T.ctypes, moved.ctypes)
        return moved

    def rank_of_blocks(
        self, fine: NDArray[np.float32], *, side: int, rank: int
    ) -> NDArray[np.float32]:
        """Return the value of a rank in each block of side x side cells; Inf: too few."""
        rows, columns = fine.shape
        coarse = np.empty((-(-rows // side), -(-columns // side)), np.float32)
        self._library.ep_rank_of_blocks(
            fine.ctypes, _n(rows), _n(columns), _n(side), _n(rank), coarse.ctypes
        )
        return coarse

    def heights(
        self,
        z: NDArray[np.float32],
        cell: NDArray[np.int64],
        ground: NDArray[np.float32],
        scratch: Scratch,
    ) -> NDArray[np.float32]:
        """Return the heights above the ground of the points' cells."""
        height = scratch.empty("height", z.shape, np.float32)
        self._library.ep_heights(z.ctypes, cell.ctypes, ground.ctypes, _n(len(z)), height.ctypes)
        return height

    def rasterize(
        self,
        index: NDArray[np.int64],
        cell: NDArray[np.int64],
        height: NDArray[np.float32],
        *,
        intensity: NDArray[np.float32] | None,
        ground: NDArray[np.float32],
        slice_of: NDArray[np.int64],
        density_of: NDArray[np.float32],
        edges: tuple[float, float],
        out: NDArray[np.float32],
        scratch: Scratch,
    ) -> None:
        """Fill `out`, (slices + 5, H * W)."""
        cells = out.shape[1]
        channels = _Channels(cells, len(out) - 5, len(slice_of), len(density_of), *edges)
        self._library.ep_rasterize(
            index.ctypes, cell.ctypes, height.ctypes, _n(len(index)),
            None if intensity is None else intensity.ctypes,
            ground.ctypes, slice_of.ctypes, density_of.ctypes, ctypes.byref(channels),
            scratch.full("count", (cells,), 0, np.int32).ctypes,
            scratch.full("total", (cells,), 0, np.float64).ctypes, out.ctypes,
        )  # fmt: skip

    def raised(
        self,
        cell: NDArray[np.int64],
        height: NDArray[np.float32],
        *,
        limits: tuple[float, float],
        cells: int,
        scratch: Scratch,
    ) -> NDArray[np.int64]:
        """Return the points between two heights, in the order of their cells."""
        found = scratch.empty("raised", (len(cell),), np.int64)
        count = self._library.ep_raised(
            cell.ctypes, height.ctypes, _n(len(cell)), *map(ctypes.c_float, limits),
            _n(cells), scratch.full("starts", (cells + 1,), 0, np.int64).ctypes, found.ctypes,
        )  # fmt: skip
        return found[:count]


@cache
def native() -> Native | None:
    """Return the library; None where it was not built. On the library path after a build."""
    try:
        return Native(ctypes.CDLL(LIBRARY))
    except OSError:
        return None


def _n(value: int) -> ctypes.c_int64:
    return ctypes.c_int64(value)
