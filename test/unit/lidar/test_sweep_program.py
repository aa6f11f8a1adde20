"""The LiDAR's kernels, run on the CPU, against the functions of NumPy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from kernels_on_cpu import OnCpu

from edge_perception.encoders.lidar.preprocess import (
    LidarPreprocessing,
    bin_points,
    raised_points,
    rasterize,
)
from edge_perception.encoders.lidar.sweep_program import (
    DENSITY,
    points_of,
    raised_of,
    road_waves,
    sweep_program,
)
from edge_perception.samples.data import data_folder
from edge_perception.samples.pandaset import has_pandaset, load_pandaset

MOST = 4096
IDENTITY = np.eye(4, dtype=np.float32)[:3]


def sweep(seed: int, points: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """A road that bends, walls and cars on it, echoes below, and points far outside.

    In every second one much of the road lies in the shadow of a lorry, and a canal runs beside it.
    """
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-35, 60, points), rng.uniform(-35, 35, points)
    z = 0.03 * x + 0.002 * y**2 + rng.normal(0, 0.03, points)
    kind = rng.random(points)
    z += np.where(kind < 0.3, rng.uniform(0, 3.8, points), 0.0)
    z -= np.where(kind > 0.98, rng.uniform(0.5, 2.5, points), 0.0)
    if seed % 2:
        z -= np.where((y > 8) & (kind > 0.55), 0.8, 0.0)
        x = np.where((x > 4) & (x < 48), rng.uniform(-8, 4, points), x)
        z += np.where(x > 48, 1.5, 0.0)
    xyz = np.stack([x, y, z], axis=1).astype(np.float32)
    return xyz, rng.random(points).astype(np.float32)


def check(config: LidarPreprocessing, on_cpu: OnCpu, xyz: np.ndarray, intensity) -> None:
    results = on_cpu(points_of(xyz, intensity, IDENTITY))
    binned = bin_points(xyz, config)
    expected = rasterize(xyz, intensity, config, binned=binned)
    for channel, got, wanted in zip(config.channels, on_cpu.input[0], expected, strict=True):
        if channel == "intensity":
            np.testing.assert_array_max_ulp(got, wanted, maxulp=1)
        else:
            np.testing.assert_array_equal(got, wanted, err_msg=channel)
    np.testing.assert_array_equal(results[DENSITY], expected[config.channels.index("density")])
    np.testing.assert_array_equal(raised_of(results), raised_points(binned, config))


@pytest.mark.parametrize(
    "config",
    [
        LidarPreprocessing(),
        LidarPreprocessing(cell_m=0.45, x_range_m=(-10.0, 40.0), height_edges_m=(-0.2, 0.5, 2.0)),
    ],
    ids=["bev_lite", "other"],
)
def test_sweeps_one_after_another_are_those_of_numpy(config):
    on_cpu = OnCpu(sweep_program(config, MOST), (1, len(config.channels), *config.shape))
    for seed in range(6):
        xyz, intensity = sweep(seed, 4000 - 300 * seed)
        check(config, on_cpu, xyz, intensity if seed % 3 else None)
    check(config, on_cpu, *sweep(9, 0))


def test_behind_a_long_shadow_the_road_is_looked_for_no_wider():
    config = LidarPreprocessing()
    on_cpu = OnCpu(sweep_program(config, MOST), (1, len(config.channels), *config.shape))
    xyz, intensity = sweep(0)
    far = np.arange(len(xyz)) % 2 == 0
    xyz[:, 0] = np.where(far, 44 + xyz[:, 0] % 7, xyz[:, 0] % 4)
    xyz[:, 2] = np.where(far, 4.3, 0.0) + intensity * 0.05
    xyz[::8, 2] = 1.0  # what would lie below that road, were it one
    check(config, on_cpu, xyz, intensity)


def test_real_sweeps_are_those_of_numpy():
    data = data_folder()
    if data is None or not has_pandaset(data):
        pytest.skip("no real frames: EDGE_PERCEPTION_DATA")
    config = LidarPreprocessing()
    frames = [frame for sequence in load_pandaset(data).sequences for frame in sequence]
    most = max(len(frame.xyz_m) for frame in frames)
    on_cpu = OnCpu(sweep_program(config, most), (1, len(config.channels), *config.shape))
    for frame in frames:
        xyz = np.ascontiguousarray(frame.xyz_m, np.float32)
        check(config, on_cpu, xyz, frame.intensity.astype(np.float32) / 255)


def test_a_cell_of_a_wave_waits_for_its_nearer_neighbours_only():
    road = LidarPreprocessing().road
    cells, starts = road_waves(road)
    assert sorted(cells) == list(range(road.cells))
    assert len(starts) - 1 < road.cells / 4, "few waves, so the cells do go together"
    wave = np.empty(road.cells, int)
    for number, (start, end) in enumerate(pairwise(starts)):
        wave[cells[start:end]] = number
    rows, columns = road.shape
    for each in range(road.cells):
        row, column = divmod(each, columns)
        for r in range(max(row - 1, 0), min(row + 2, rows)):
            for c in range(max(column - 1, 0), min(column + 2, columns)):
                at = r * columns + c
                if at != each:
                    nearer = road.rank_of[at] < road.rank_of[each]
                    assert (wave[at] < wave[each]) == nearer
