"""The raster made on the device: what `sweep.cu` needs to do as `preprocess.py` does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import TensorInfo
from edge_perception.backends.device_program import DeviceProgram, Launch, structure
from edge_perception.encoders.lidar.native import SweepPlan
from edge_perception.encoders.lidar.preprocess import LidarPreprocessing, sweep_plan
from edge_perception.encoders.lidar.road import RoadPlan

# Arrays of a frame.
COUNT, XYZ, INTENSITY, POSE = "sweep.count", "sweep.xyz", "sweep.intensity", "sweep.T"
# What comes back: the density channel, (H, W), and the raised points with their number.
DENSITY, RAISED, RAISED_COUNT = "sweep.density", "sweep.raised", "sweep.raised_count"
RESULTS = (DENSITY, RAISED, RAISED_COUNT)
_LAYER = 3  # as in road.py
_CELL_BYTES = 32  # cell_sum of sweep.cu
_PLANE_BYTES = 16  # struct road_plane
_STRUCTURE = (  # sweep_plan of sweep.cu, by names of a SweepPlan
    *("rows", "columns", "side", "coarse_rows", "coarse_columns", "slices", "lookup_length"),
    *("density_length", "near_cells", "steps", "road_rise", "waves"),
    *("x_min", "y_min", "z_min", "z_max", "cells_per_m", "rise"),
    *("first_edge", "last_edge", "raised_low", "raised_high"),
)
_WHOLE = 12  # of them
_TABLES = ("low_row", "near_row", "far_row", "low_column", "near_column", "far_column")


def sweep_program(config: LidarPreprocessing, most: int) -> DeviceProgram:
    """Return the program for sweeps of up to `most` points."""
    plan = sweep_plan(config)
    road = plan.road
    wave_cells, wave_start = road_waves(road)
    numbers = {
        **plan.numbers,
        "near_cells": road.near,
        "steps": road.steps,
        "road_rise": road.rise,
        "waves": len(wave_start) - 1,
    }
    fields = {
        name: int(numbers[name]) if place < _WHOLE else float(numbers[name])
        for place, name in enumerate(_STRUCTURE)
    }
    tables = {
        name: table.astype(np.int32) if table.dtype.kind == "i" else table
        for name, table in plan.tables.items()
    }
    cells, coarse = plan.cells, plan.coarse_cells
    shape = config.shape
    return DeviceProgram(
        input=config.input,
        source=_source(),
        constants={
            "plan": structure(fields),
            **tables,
            "coarse_of": road.coarse_of,
            "nearest_first": road.nearest_first,
            "rank_of": road.rank_of,
            "wave_cells": wave_cells,
            "wave_start": wave_start,
        },
        arrays=(
            TensorInfo(name=COUNT, dtype="int32", shape=(1,)),
            TensorInfo(name=XYZ, dtype="float32", shape=(-1, 3)),
            TensorInfo(name=INTENSITY, dtype="float32", shape=(-1,)),
            TensorInfo(name=POSE, dtype="float32", shape=(3, 4)),
        ),
        most=most,
        results=(
            TensorInfo(name=DENSITY, dtype="float32", shape=shape),
            TensorInfo(name=RAISED, dtype="int32", shape=(-1,)),
            TensorInfo(name=RAISED_COUNT, dtype="int32", shape=(1,)),
        ),
        counted_by={RAISED: RAISED_COUNT},
        scratch={
            "sums": cells * _CELL_BYTES,
            "z_of": most * 4,
            "cell_of": most * 4,
            "heights": coarse * road.steps * 4,
            "height_sums": coarse * (road.steps + _LAYER + 1) * 4,
            "planes": len(road.slopes) ** 2 * _PLANE_BYTES,
            "row_raised": shape[0] * 4,
            "gathered": most * 4,
            "level": coarse * 4,
            "gap": coarse * 4,
            "floor": coarse * 4,
            "coarse": coarse * 4,
            "other": coarse * 4,
        },
        launches=tuple(_launches(config.input, plan, most)),
    )


def _launches(raster: str, plan: SweepPlan, most: int) -> list[Launch]:
    cells, coarse = plan.cells, plan.coarse_cells
    heights, rows = coarse * plan.road.steps, int(plan.numbers["rows"])

    def each(kernel: str, threads: int, *arguments: str) -> Launch:
        return Launch(kernel=kernel, threads=threads, arguments=arguments)

    def block(kernel: str, *arguments: str) -> Launch:
        return Launch(kernel=kernel, threads=coarse, arguments=arguments, one_block=True)

    return [
        each(
            "clear", max(cells, heights), "plan", "sums", "heights", "row_raised", raster,
        ),
        each("move", most, "plan", COUNT, XYZ, POSE, "coarse_of", "z_of", "cell_of", "heights"),
        each("sum_heights", coarse, "plan", "heights", "height_sums"),
        block(
            "follow_road", "plan", "height_sums", "nearest_first", "rank_of", "wave_cells",
            "wave_start", "planes", "level", "gap", "floor",
        ),
        each("find_lowest", most, COUNT, "z_of", "cell_of", "coarse_of", "floor", "sums"),
        each("rank_blocks", coarse, "plan", "sums", "coarse"),
        block("limit_slope", "plan", "coarse", "other"),
        each("interpolate", cells, "plan", "coarse", *_TABLES, raster),
        each(
            "add_points", most, "plan", COUNT, INTENSITY, "z_of", "cell_of", "slice_of", "sums",
            "row_raised", raster,
        ),
        each("place_raised", rows, "plan", "row_raised", "sums", RAISED_COUNT),
        each(
            "gather_raised", most, "plan", COUNT, "z_of", "cell_of", raster, "sums", "gathered",
        ),
        each("order_raised", most, RAISED_COUNT, "cell_of", "sums", "gathered", RAISED),
        each("finish_cells", cells, "plan", "sums", "density_of", raster, DENSITY),
    ]  # fmt: skip


def points_of(
    xyz_m: NDArray[np.float32], intensity: NDArray[np.float32] | None, T: NDArray[np.float32]
) -> dict[str, NDArray]:
    """Return the arrays of a sweep.

    Args:
        xyz_m: (N, 3), m, sensor frame.
        intensity: (N,), 0 to 1; None: the channel stays 0.
        T: (3, 4), sensor to base frame.
    """
    count = len(xyz_m)
    return {
        COUNT: np.array([count], np.int32),
        XYZ: xyz_m,
        INTENSITY: np.zeros(count, np.float32) if intensity is None else intensity,
        POSE: T,
    }


def raised_of(results: Mapping[str, NDArray]) -> NDArray[np.int32]:
    """Return the raised points of a sweep in the order of their cells, as `raised_points`."""
    return results[RAISED]


def road_waves(road: RoadPlan) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the coarse cells in waves, and where each begins and the last ends.

    The road is followed in the order of `nearest_first`, and a cell looks only at its neighbours.
    One that comes a wave later than its last nearer neighbour finds the same as in that order.
    """
    rows, columns = road.shape
    wave = np.zeros(road.cells, np.int32)
    rank = road.rank_of.reshape(rows, columns)
    for each in road.nearest_first:
        row, column = divmod(int(each), columns)
        around = np.s_[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        nearer = wave.reshape(rows, columns)[around][rank[around] < rank[row, column]]
        wave[each] = 1 + nearer.max(initial=-1)
    order = np.argsort(wave, kind="stable").astype(np.int32)
    starts = np.searchsorted(wave[order], np.arange(wave.max() + 2)).astype(np.int32)
    return order, starts


@cache
def _source() -> str:
    return files(__package__).joinpath("sweep.cu").read_text(encoding="utf-8")
