"""Sweeps become pillars, as PointPillars and CenterPoint take them (Lang et al., 2019).

A pillar is a column of the grid with up to `max_points` returns, in the order of the sweep; beyond
`max_pillars` columns nothing more is taken. `src/lidar.c` does the same with the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ManifestError
from edge_perception.core.parameter import parameter
from edge_perception.encoders.lidar.native import native
from edge_perception.models.pillar_graph import MOST_CELLS

_POINT_FEATURES = ("x", "y", "z", "intensity", "time")


@dataclass(frozen=True, kw_only=True)
class PillarPreprocessing:
    """`preprocessing` of a LiDAR manifest whose model takes pillars."""

    voxels: str = "voxels"  # graph inputs: features (pillars, points, features)
    # Number of returns of each pillar, (pillars,); empty: the graph has no such input.
    num_points: str = ""
    cells: str = "cells"  # where each pillar lies
    # `flat`: row * columns + column, rows * columns where there is no pillar, int32 (pillars, 1).
    # `batch_z_y_x`: as OpenPCDet and mmdetection3d, (pillars, 4).
    cells_as: str = parameter("flat", choices=("flat", "batch_z_y_x"))
    range_m: tuple[float, float, float, float, float, float]  # x, y, z min, then max
    voxel_m: tuple[float, float, float]
    max_pillars: int = parameter(12_000, low=1, high=200_000)
    max_points: int = parameter(32, low=1, high=1000)
    point_features: tuple[str, ...] = ("x", "y", "z", "intensity")
    # Behind them: 3 distances to the mean of the pillar's returns, and 2 or 3 to its centre.
    extra_features: int = parameter(0, choices=(0, 5, 6))
    intensity_scale: float = parameter(1.0, low=1e-3, high=1e5)  # of the brightest
    # Where the frame that the model was trained in lies, m, base frame: a sensor on the roof, say.
    origin_m: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        low, high = self.range_m[:3], self.range_m[3:]
        if (
            any(a >= b for a, b in zip(low, high, strict=True))
            or min(self.voxel_m) <= 0
            or not all(map(isfinite, (*self.range_m, *self.voxel_m)))
        ):
            raise ManifestError(
                f"preprocessing.range_m: expected min below max and positive voxels, got "
                f"{self.range_m}, {self.voxel_m}"
            )
        rows, columns = self.shape
        if not 0 < rows * columns <= MOST_CELLS:
            raise ManifestError(
                f"preprocessing.voxel_m: expected a grid of 1 to {MOST_CELLS} cells, got "
                f"{rows} rows and {columns} columns"
            )
        unknown = [name for name in self.point_features if name not in _POINT_FEATURES]
        if unknown or self.point_features[:3] != _POINT_FEATURES[:3]:
            raise ManifestError(
                f"preprocessing.point_features: expected x, y, z and then of "
                f"{_POINT_FEATURES[3:]}, got {self.point_features}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (y) and columns (x) of the grid."""
        columns, rows = (
            round((self.range_m[k + 3] - self.range_m[k]) / self.voxel_m[k]) for k in (0, 1)
        )
        return rows, columns

    @property
    def features(self) -> int:
        """Numbers a return."""
        return len(self.point_features) + self.extra_features

    @cached_property
    def numbers(self) -> dict[str, float]:
        """What the compiled function wants; names as in its structure."""
        rows, columns = self.shape
        names = ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max", "x_size", "y_size", "z_size")
        return {
            "rows": rows,
            "columns": columns,
            "max_pillars": self.max_pillars,
            "max_points": self.max_points,
            "point_features": len(self.point_features),
            "extra": self.extra_features,
            **dict(zip(names, (*self.range_m, *self.voxel_m), strict=True)),
        }


@dataclass(frozen=True, kw_only=True)
class Pillars:
    """The pillars of one sweep; the first `count` are filled, the rest is zero."""

    count: int
    features: NDArray[np.float32]  # (max_pillars, max_points, features)
    cells: NDArray[np.int32]  # (max_pillars,), flat
    held: NDArray[np.int32]  # (max_pillars,), returns


class Pillarizer:
    """Fills the same arrays again and again; not thread-safe."""

    def __init__(self, config: PillarPreprocessing, *, compiled: bool = True) -> None:
        self._config = config
        self._native = native() if compiled else None
        rows, columns = config.shape
        shape = (config.max_pillars, config.max_points, config.features)
        self._features = np.zeros(shape, np.float32)
        self._cells = np.zeros(config.max_pillars, np.int32)
        self._held = np.zeros(config.max_pillars, np.int32)
        self._slot = np.full(rows * columns, -1, np.int32)
        self._count = 0

    def points(
        self, xyz_m: NDArray[np.float32], intensity: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Return the numbers of each return, (N, point features).

        Args:
            xyz_m: (N, 3), base frame.
            intensity: (N,), 0 to 1; None: 0.
        """
        config = self._config
        values = np.zeros((len(xyz_m), len(config.point_features)), np.float32)
        values[:, :3] = xyz_m - np.asarray(config.origin_m, np.float32)
        if "intensity" in config.point_features and intensity is not None:
            column = config.point_features.index("intensity")
            values[:, column] = intensity * np.float32(config.intensity_scale)
        return values  # one sweep, so the time is 0

    def __call__(self, points: NDArray[np.float32]) -> Pillars:
        """Sort returns into pillars; the next call overwrites what is returned."""
        rows, columns = self._config.shape
        self._features[: self._count] = 0.0
        self._held[: self._count] = 0
        if self._native is not None:
            arrays = (self._slot, self._features, self._cells, self._held)
            self._count = self._native.pillars(points, self._config.numbers, arrays)
        else:
            self._count = self._fill(points)
        self._cells[self._count :] = rows * columns
        return Pillars(
            count=self._count, features=self._features, cells=self._cells, held=self._held
        )

    def repeat_first(self) -> None:
        """Make the pillars that are none copies of the first one.

        A graph that scatters them by their place then writes the same once more, where zeros would
        overwrite the cell of row 0 and column 0.
        """
        if not 0 < self._count < len(self._held):
            return
        self._features[self._count :] = self._features[0]
        self._held[self._count :] = self._held[0]
        self._cells[self._count :] = self._cells[0]
        self._count = len(self._held)  # all of them are to be cleared

    def _fill(self, points: NDArray[np.float32]) -> int:
        """As `ep_pillars`, with NumPy."""
        config = self._config
        rows, columns = config.shape
        low, high = (np.asarray(config.range_m[k : k + 3], np.float32) for k in (0, 3))
        size = np.asarray(config.voxel_m, np.float32)
        inside = ((points[:, :3] >= low) & (points[:, :3] < high)).all(axis=1)
        place = ((points[:, :2] - low[:2]) / size[:2]).astype(np.int64)
        inside &= (place[:, 0] < columns) & (place[:, 1] < rows)
        points, place = points[inside], place[inside]
        flat = place[:, 1] * columns + place[:, 0]
        kinds, first, group = np.unique(flat, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")  # pillars in the order of their first return
        number = np.empty(len(kinds), np.int64)
        number[order] = np.arange(len(kinds))
        pillar = number[group.reshape(-1)]
        by_pillar = np.argsort(pillar, kind="stable")
        sorted_pillar = pillar[by_pillar]
        begin = np.searchsorted(sorted_pillar, np.arange(len(kinds)))
        rank = np.empty(len(points), np.int64)
        rank[by_pillar] = np.arange(len(points)) - begin[sorted_pillar]
        count = min(len(kinds), config.max_pillars)
        kept = (pillar < count) & (rank < config.max_points)
        width = len(config.point_features)
        self._features[pillar[kept], rank[kept], :width] = points[kept]
        self._held[:count] = np.bincount(pillar[kept], minlength=count)[:count]
        self._cells[:count] = kinds[order][:count]
        if config.extra_features:
            self._decorate(count, width, size, low)
        return count

    def _decorate(
        self, count: int, width: int, size: NDArray[np.float32], low: NDArray[np.float32]
    ) -> None:
        _, columns = self._config.shape
        filled = self._features[:count]
        there = np.arange(self._config.max_points) < self._held[:count, None]
        total = np.zeros((count, 3), np.float32)
        for k in range(self._config.max_points):  # in the order of the sweep, as compiled
            total += filled[:, k, :3]
        mean = total / self._held[:count, None].astype(np.float32)
        cells = self._cells[:count]
        middle = np.stack(
            [
                (cells % columns).astype(np.float32) * size[0] + (size[0] / 2 + low[0]),
                (cells // columns).astype(np.float32) * size[1] + (size[1] / 2 + low[1]),
                np.full(count, size[2] / 2 + low[2], np.float32),
            ],
            axis=1,
        )
        axes = self._config.extra_features - 3
        filled[..., width : width + 3] = filled[..., :3] - mean[:, None]
        filled[..., width + 3 :] = filled[..., :axes] - middle[:, None, :axes]
        filled[~there] = 0.0


def cells_input(config: PillarPreprocessing, pillars: Pillars, dtype: Any) -> NDArray:
    """Return where the pillars lie, as the graph wants it."""
    if config.cells_as == "flat":
        return pillars.cells[:, None].astype(dtype)
    rows, columns = config.shape
    places = np.zeros((config.max_pillars, 4), dtype)
    there = np.where(pillars.cells < rows * columns, pillars.cells, 0)
    places[:, 2], places[:, 3] = there // columns, there % columns
    return places
