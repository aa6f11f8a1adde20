"""A pose that is wrong in its meaning is told by where the road lies in the sweep."""

from __future__ import annotations

import numpy as np
import pytest

from edge_perception.core.transforms import matrix, other_order
from edge_perception.core.types import Geometry, PointCloud
from edge_perception.encoders.content import Verdict
from edge_perception.encoders.lidar import road_below
from edge_perception.encoders.lidar.content import CloudContentCheck, CloudContentLimits
from edge_perception.encoders.lidar.road_below import RoadBelow, level_share, road_elsewhere
from edge_perception.encoders.options import transform

HALF = float(np.sqrt(0.5))
STRAIGHT, LEFT = (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, HALF, HALF)  # x, y, z, w
TILTED = (0.0, float(np.sin(0.1)), 0.0, float(np.cos(0.1)))  # 11 degrees down
OVER = (1.0, 0.0, 0.0, 0.0)  # upside down
OPTICAL = (-0.5, 0.5, -0.5, 0.5)


def street(seed: int = 0, *, houses: bool = True) -> np.ndarray:
    """Points of a road with echoes below it, between houses; vehicle's frame."""
    rng = np.random.default_rng(seed)
    azimuth, ring = rng.uniform(-np.pi, np.pi, 2000), np.radians(rng.integers(-15, 16, 2000))
    to_road = np.where(ring < -0.02, 1.8 / np.tan(np.maximum(-ring, 0.02)), np.inf)
    to_wall = np.abs(9.0 / np.maximum(np.abs(np.sin(azimuth)), 0.05))
    flat = np.minimum(np.minimum(to_road, to_wall if houses else np.inf), 80.0)
    xyz = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), 1.8 + flat * np.tan(ring)], 1)
    xyz += rng.normal(0, 0.02, xyz.shape)
    xyz[rng.random(len(xyz)) < 0.003, 2] -= 2.0
    return xyz


def seen_from(pose: np.ndarray, seed: int = 0, *, houses: bool = True) -> np.ndarray:
    """The street in the frame of a sensor at a pose."""
    return ((street(seed, houses=houses) - pose[:3, 3]) @ pose[:3, :3]).astype(np.float32)


def at(turn, z: float = 1.8) -> np.ndarray:
    return transform((0.5, 0.0, z, *turn))


@pytest.mark.parametrize("turn", [STRAIGHT, LEFT, TILTED, OVER, OPTICAL])
def test_a_right_pose_raises_nothing(turn):
    assert road_elsewhere(seen_from(at(turn)), at(turn)) == ""


@pytest.mark.parametrize("turn", [STRAIGHT, LEFT, TILTED])
def test_a_quaternion_in_the_other_order_is_called_that(turn):
    told = at((turn[3], *turn[:3]))  # w, x, y, z
    np.testing.assert_allclose(other_order(told), at(turn), atol=1e-9)
    text = road_elsewhere(seen_from(at(turn)), told)
    assert text.startswith("the road is not below the sensor as its pose says")
    assert "read as w, x, y, z the quaternion fits" in text


@pytest.mark.parametrize(
    ("really", "text"),
    [
        (OVER, "it hangs upside down"),
        (OPTICAL, "an optical frame (z ahead, y down)"),
        ((0.0, HALF, 0.0, HALF), "its x axis points down"),
        ((0.0, -HALF, 0.0, HALF), "its x axis points up"),
        ((HALF, 0.0, 0.0, HALF), "its y axis points up"),
    ],
)
def test_a_sensor_that_sits_otherwise_than_it_is_said(really, text):
    assert text in road_elsewhere(seen_from(at(really), houses=False), at(STRAIGHT))


def test_the_inverse_rotation_is_called_that():
    really = at((0.5, 0.5, 0.5, 0.5))
    told = really.copy()
    told[:3, :3] = really[:3, :3].T
    seen = seen_from(really, houses=False)
    assert "the inverse rotation fits" in road_elsewhere(seen, told)


def test_what_is_no_road_says_nothing():
    rng = np.random.default_rng(3)
    ball = rng.normal(0, 8, (4000, 3)).astype(np.float32)
    wall = np.stack([np.full(4000, 9.0), *rng.uniform(-4, 4, (2, 4000))], 1).astype(np.float32)
    for xyz in (ball, wall, wall[:20]):
        for turn in (STRAIGHT, OVER, OPTICAL):
            assert road_elsewhere(xyz, at(turn)) == ""


def hall(height_m: float, ceiling_m: float, elevation_deg: tuple[float, float]) -> np.ndarray:
    """A hall of 60 m around a sensor at a height of it, between two elevations; sensor frame."""
    rng = np.random.default_rng(4)
    azimuth = rng.uniform(-np.pi, np.pi, 2000)
    elevation = np.radians(rng.uniform(*elevation_deg, 2000))
    ray = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ],
        axis=1,
    )
    to_wall = 30.0 / np.abs(ray[:, :2]).max(axis=1)
    to_plane = np.where(ray[:, 2] > 0, ceiling_m - height_m, height_m) / np.abs(ray[:, 2])
    return (ray * np.minimum(to_wall, to_plane)[:, None]).astype(np.float32)


@pytest.mark.parametrize("elevation_deg", [(0.0, 90.0), (-2.0, 60.0)])
def test_a_ceiling_above_a_sensor_that_looks_up_is_no_road(elevation_deg):
    seen = hall(0.2, 4.0, elevation_deg)
    assert level_share(seen, np.array([0.0, 0.0, -1.0])) > 0.3  # as level as a road
    assert road_elsewhere(seen, at(STRAIGHT, 0.2)) == ""


@pytest.mark.parametrize("layers_deg", [(0.0,), (-1.6, -0.53, 0.53, 1.6)])
@pytest.mark.parametrize(
    "turn",
    [STRAIGHT, TILTED, (0.0, 0.26, 0.0, 0.966), (0.0, HALF, 0.0, HALF), (HALF, 0.0, 0.0, HALF)],
    ids=["level", "11 degrees", "30 degrees", "upright plane across", "upright plane along"],
)
def test_a_scanner_of_few_layers_may_be_tilted_on_purpose(layers_deg, turn):
    rng = np.random.default_rng(5)
    azimuth = np.linspace(-np.pi, np.pi, 2000)
    elevation = np.radians(rng.choice(layers_deg, 2000))
    flat = rng.uniform(4.0, 20.0, 2000)
    seen = flat * np.stack([np.cos(azimuth), np.sin(azimuth), np.tan(elevation)])
    assert level_share(seen.T, np.array([0.0, 0.0, 1.0])) > 0.9
    assert road_elsewhere(seen.T.astype(np.float32), at(turn, 0.3)) == ""


def test_few_points_say_nothing():
    for points in (0, 1, 40):
        assert road_elsewhere(np.full((points, 3), 5.0, np.float32), at(OVER)) == ""
    assert road_elsewhere(np.full((2000, 3), np.nan, np.float32), at(OVER)) == ""


def test_real_streets(data_dir):
    """Poses with any heading and a little tilt raise nothing; one read in another order does."""
    rng, files = np.random.default_rng(1), sorted((data_dir / "pandaset").glob("*/*.npz"))
    assert files
    found = []
    for file in files:
        xyz = np.load(file)["xyz_cm"][::50] / 100.0
        x, y, z, w = rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03), rng.normal(), rng.normal()
        turn = np.array([x, y, z, w]) / np.linalg.norm([x, y, z, w])
        pose = at(turn)
        seen = ((xyz - pose[:3, 3]) @ pose[:3, :3]).astype(np.float32)
        assert road_elsewhere(seen, pose) == ""
        over = pose.copy()
        over[:3, :3] = pose[:3, :3] @ np.diag([1.0, -1.0, -1.0])
        found.append(bool(road_elsewhere(seen, over)))
    assert np.mean(found) > 0.7, found
    assert "w, x, y, z" in road_elsewhere(seen, at((turn[3], *turn[:3])))


@pytest.mark.parametrize("turn", [(0.0, 0.05, 0.0, 1.0), (0.08, 0.0, 0.0, 1.0)])
def test_a_slope_is_no_wrong_pose(turn):
    turn = np.array(turn) / np.linalg.norm(turn)
    assert road_elsewhere(seen_from(at(turn)), at(STRAIGHT)) == ""


def test_it_is_told_after_two_sweeps_and_until_one_fits():
    looks = RoadBelow()
    wrong = [looks.see(seen_from(at(STRAIGHT), seed), at(OVER)) for seed in range(5)]
    assert [bool(text) for text in wrong] == [False, True, True, True, True]
    assert looks.see(seen_from(at(STRAIGHT), 9), at(STRAIGHT)) == ""
    hung = [looks.see(seen_from(at(OVER), seed), at(STRAIGHT)) for seed in range(40)]
    assert hung[-1]  # turned while it runs


def test_results_that_change_each_time_are_not_looked_for_in_each_sweep(monkeypatch):
    looked = 0

    def search(xyz_m, T_base_sensor):
        nonlocal looked
        looked += 1
        return "odd" if looked % 2 else ""

    monkeypatch.setattr(road_below, "road_elsewhere", search)
    looks = RoadBelow()
    told = [looks.see(np.zeros((0, 3), np.float32), at(STRAIGHT)) for _ in range(16 * 10)]
    assert not any(told)  # no two in a row agree
    assert looked <= 16 + 2 * 9


def test_a_sweep_with_a_wrong_pose_is_used_and_said():
    check = CloudContentCheck(CloudContentLimits())
    geometry = Geometry(T_base_sensor=at(OVER), pose_source="parameter")
    for seed in range(4):
        cloud = PointCloud(stamp_ns=1, frame_id="lidar", xyz_m=seen_from(at(STRAIGHT), seed))
        found = check.check(cloud, None, geometry)
    assert found.verdict is Verdict.DOUBTFUL
    assert "read as w, x, y, z" in found.text
    assert matrix((0, 0, 0), OVER)[2, 2] == -1.0
