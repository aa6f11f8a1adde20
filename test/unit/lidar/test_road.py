"""The road is found below what others' sweeps have: echoes under it, canals, slopes, own roofs."""

from __future__ import annotations

import numpy as np
import pytest

from edge_perception.encoders.lidar.preprocess import LidarPreprocessing, bin_points

CONFIG = LidarPreprocessing()


def road(rng, slope=0.0, bank=0.0):
    """Returns of a road about the vehicle, thinner with the distance as those of a sensor."""
    range_m = rng.uniform(2.5, 50, 60_000)
    angle = rng.uniform(-np.pi, np.pi, len(range_m))
    x, y = range_m * np.cos(angle), range_m * np.sin(angle)
    z = slope * x + bank * y + rng.normal(0, 0.02, len(x))
    return np.stack([x, y, z], axis=1)


def car(rng, x, y, z=0.0):
    """Returns of the sides of a car."""
    at = rng.uniform(0, 1, (400, 2))
    sides = np.stack([x + 4 * at[:, 0], np.full(400, y - 0.9), z + 0.2 + 1.3 * at[:, 1]], axis=1)
    back = np.stack([np.full(400, x), y - 0.9 + 1.8 * at[:, 0], z + 0.2 + 1.3 * at[:, 1]], axis=1)
    return np.concatenate([sides, back])


def heights_of(xyz, about, reach=0.5):
    """Heights above the ground of the returns near points, of a whole sweep."""
    binned = bin_points(xyz.astype(np.float32), CONFIG)
    near = np.abs(xyz[binned.index, :2] - np.asarray(about)).max(axis=1) < reach
    return binned.height_m[near]


def ground_at(xyz, x, y):
    binned = bin_points(xyz.astype(np.float32), CONFIG)
    row = int((x - CONFIG.x_range_m[0]) / CONFIG.cell_m)
    column = int((y - CONFIG.y_range_m[0]) / CONFIG.cell_m)
    return binned.ground_m.reshape(CONFIG.shape)[row, column]


def test_returns_below_the_road_do_not_lower_it():
    rng = np.random.default_rng(1)
    clean = np.concatenate([road(rng), car(rng, 12, 3), car(rng, 30, -5)])
    for share in (0.005, 0.02, 0.05):
        xyz = clean.copy()
        echo = rng.random(len(xyz)) < share
        xyz[echo, 2] = -rng.uniform(0.5, 3, echo.sum())
        for x, y in ((5, 0), (12, 3), (20, 10), (30, -5), (40, 5)):
            assert abs(ground_at(xyz, x, y)) < 0.2, (share, x, y)


def test_a_mirror_image_of_a_car_in_a_wet_road_does_not_lower_it():
    rng = np.random.default_rng(2)
    standing = car(rng, 12, 3)
    mirrored = standing.copy()
    mirrored[:, 2] = -0.9 * mirrored[:, 2] - 0.1
    xyz = np.concatenate([road(rng), standing, mirrored[::3]])
    assert abs(ground_at(xyz, 12, 3)) < 0.3  # what lies 0.25 m below may be of the road


@pytest.mark.parametrize("height_m", [0.9, 1.8])
def test_a_view_that_begins_ahead_of_the_vehicle_raises_no_road_to_what_hangs_before_it(height_m):
    rng = np.random.default_rng(15)
    crown = rng.uniform([5, -6, 1.1], [9, 6, 2.6], (4000, 3))
    xyz = np.concatenate([road(rng), crown, car(rng, 13, 1), car(rng, 30, -5)])
    elevation = np.degrees(np.arctan2(xyz[:, 2] - height_m, np.hypot(xyz[:, 0], xyz[:, 1])))
    ahead = np.abs(np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0]))) < 60
    seen = xyz[ahead & (np.abs(elevation) < 12.5)]
    binned = bin_points(seen.astype(np.float32), CONFIG)
    wrong = np.abs(binned.height_m - seen[binned.index, 2]) > 0.3
    assert wrong.mean() < 0.01


@pytest.mark.parametrize("depth_m", [1.6, 2.5])
def test_a_canal_beside_the_road_does_not_lower_its_edge(depth_m):
    rng = np.random.default_rng(3)
    xyz = road(rng)
    xyz[xyz[:, 1] < -8, 2] -= depth_m
    parked = car(rng, 15, -6.5)
    assert heights_of(np.concatenate([xyz, parked]), (15, -6.5)).max() < 1.7
    assert abs(ground_at(xyz, 15, -5)) < 0.1


@pytest.mark.parametrize(
    ("slope", "bank"), [(0.1, 0.0), (-0.1, 0.0), (0.0, 0.1), (0.07, -0.07), (-0.052, 0.0)]
)
def test_slopes_and_banks_are_followed(slope, bank):
    rng = np.random.default_rng(4)
    xyz = road(rng, slope, bank)
    echo = rng.random(len(xyz)) < 0.01
    xyz[echo, 2] -= rng.uniform(0.5, 1.5, echo.sum())
    for x, y in ((6, 0), (20, 5), (25, -12)):
        assert abs(ground_at(xyz, x, y) - slope * x - bank * y) < 0.25, (x, y)


@pytest.mark.parametrize("height_m", [-1.73, -0.6, 0.7])
def test_a_base_frame_that_is_not_on_the_road(height_m):
    rng = np.random.default_rng(5)
    xyz = np.concatenate([road(rng), car(rng, 12, 3)])
    xyz[:, 2] += height_m
    assert abs(ground_at(xyz, 20, 0) - height_m) < 0.1
    assert 1.2 < heights_of(xyz, (12, 3)).max() < 1.7


def test_returns_of_the_own_roof_are_no_road():
    rng = np.random.default_rng(6)
    roof = np.stack(
        [rng.uniform(-1, 2, 20_000), rng.uniform(-0.8, 0.8, 20_000), np.full(20_000, 1.5)], axis=1
    )
    xyz = np.concatenate([road(rng), roof])
    for x, y in ((4, 0), (-4, 0), (10, 2)):
        assert abs(ground_at(xyz, x, y)) < 0.2


def test_behind_a_wide_shadow_the_road_is_found_again_on_a_slope():
    rng = np.random.default_rng(7)
    xyz = road(rng, slope=-0.06)
    xyz = xyz[~((xyz[:, 0] > 8) & (xyz[:, 0] < 24) & (np.abs(xyz[:, 1]) < 25))]
    assert abs(ground_at(xyz, 32, 0) + 0.06 * 32) < 0.3


@pytest.mark.parametrize("points", [0, 1, 5, 40])
def test_hardly_a_return_is_no_error(points):
    rng = np.random.default_rng(points)
    xyz = np.stack([rng.uniform(-25, 50, points), rng.uniform(-25, 25, points)], axis=1)
    xyz = np.concatenate([xyz, rng.uniform(-2, 2, (points, 1))], axis=1)
    binned = bin_points(xyz.astype(np.float32).reshape(-1, 3), CONFIG)
    assert np.isfinite(binned.ground_m).all()
