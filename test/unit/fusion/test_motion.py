"""Ego motion between stamps, and features moved along with it."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.health import Health, Level
from edge_perception.core.native import library
from edge_perception.core.types import DetectedObject, Feature, Geometry, ModelVersion
from edge_perception.fusion.motion import (
    KEPT,
    EgoMotion,
    GroundGrid,
    blended,
    blended_numpy,
    displaced,
)
from edge_perception.fusion.odometry import pose_from_msg
from edge_perception.fusion.odometry_watch import Pose
from edge_perception.nodes.fusion.findings import with_odometry

MS = 1_000_000
VERSION = ModelVersion(role="", name="", version="", sha256="")
SPEED_MPS, TURN_RADPS = 15.0, 0.3


def pose_on_circle(ms):
    """A vehicle that drives along a circle."""
    yaw, radius_m = TURN_RADPS * ms / 1e3, SPEED_MPS / TURN_RADPS
    return Pose(
        stamp_ns=ms * MS,
        position_m=(radius_m * math.sin(yaw), radius_m * (1.0 - math.cos(yaw)), 0.0),
        orientation=(0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)),
    )


def seen_from(point_m, ms):
    """A point of the world in the base frame of a moment."""
    pose, yaw = pose_on_circle(ms), TURN_RADPS * ms / 1e3
    dx, dy = point_m[0] - pose.position_m[0], point_m[1] - pose.position_m[1]
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([c * dx + s * dy, -s * dx + c * dy, 0.0])


def driven(until_ms, every_ms=20):
    motion = EgoMotion()
    for ms in range(1000, until_ms + 1, every_ms):
        motion.add(pose_on_circle(ms))
    return motion


@pytest.mark.parametrize(("from_ms", "to_ms"), [(1713, 2000), (1990, 1507), (1905, 2150)])
def test_a_standing_point_is_where_the_later_frame_sees_it(from_ms, to_ms):
    T = driven(2000).between(from_ms * MS, to_ms * MS)
    point_m = (40.0, 12.0, 0.0)
    moved_m = T[:3, :3] @ seen_from(point_m, from_ms) + T[:3, 3]
    np.testing.assert_allclose(moved_m, seen_from(point_m, to_ms), atol=0.06)


def test_unknown_stamps_and_no_motion_move_nothing():
    motion = driven(2000)
    assert EgoMotion().between(MS, 2 * MS) is None
    assert motion.between(900 * MS, 1500 * MS) is None, "before the first pose"
    assert motion.between(1500 * MS, 2300 * MS) is None, "too far ahead"
    assert motion.between(1500 * MS, 1500 * MS) is None
    still = EgoMotion()
    for ms in (1000, 2000):
        still.add(Pose(stamp_ns=ms * MS, position_m=(1, 2, 0), orientation=(0, 0, 0, 1)))
    assert still.between(1100 * MS, 1900 * MS) is None


def test_odometry_that_jumps_or_goes_back_starts_anew_and_memory_is_bounded():
    motion = driven(2000)
    motion.add(Pose(stamp_ns=2020 * MS, position_m=(900.0, 0, 0), orientation=(0, 0, 0, 1)))
    assert motion.between(1900 * MS, 2020 * MS) is None
    motion = driven(2000)
    motion.add(pose_on_circle(1000))
    assert motion.state.newest_ns == 1000 * MS
    assert not motion.reaches(1500 * MS)
    many = driven(1000 + 3 * KEPT, every_ms=1)
    assert sum(len(history.stamps) for history in many._histories) <= KEPT


@pytest.mark.parametrize("to_ms", [2000, 2015])
def test_frames_of_before_a_jump_are_moved_alike_before_and_after_it_is_known(to_ms):
    motion = driven(2000)
    before = motion.between(1900 * MS, to_ms * MS), motion.pose_at(to_ms * MS)
    motion.add(Pose(stamp_ns=2020 * MS, position_m=(900.0, 0, 0), orientation=(0, 0, 0, 1)))
    motion.add(Pose(stamp_ns=2040 * MS, position_m=(900.1, 0, 0), orientation=(0, 0, 0, 1)))
    np.testing.assert_array_equal(motion.between(1900 * MS, to_ms * MS), before[0])
    assert motion.pose_at(to_ms * MS).epoch == before[1].epoch
    np.testing.assert_allclose(motion.between(2025 * MS, 2035 * MS)[:3, 3], (-0.05, 0, 0))


def test_boxes_points_and_the_sensor_are_moved_and_the_rest_is_not():
    box = DetectedObject(
        class_name="car",
        score=0.9,
        center_m=(20.0, 2.0, 0.5),
        size_m=(4.0, 2.0, 1.5),
        yaw_rad=3.1,
        velocity_mps=(10.0, 0.0, 0.0),
    )
    old = Feature(
        stamp_ns=1, frame_id="", source="lidar", modality="lidar", model=VERSION, sequence=7,
        geometry=Geometry(), objects=(box,),
        tensors={
            "obstacle_points": np.array([[20.0, 2.0, 0.5]], np.float32),
            "bev": np.ones((1, 1, 2, 2)),
        },
    )  # fmt: skip
    T = driven(2000).between(1700 * MS, 2000 * MS)
    new = displaced({"lidar": old, "camera": old}, {"lidar": (T, 0.3)})
    assert new["camera"] is old
    moved = new["lidar"]
    np.testing.assert_allclose(
        moved.tensors["obstacle_points"][0], T[:3, :3] @ [20, 2, 0.5] + T[:3, 3], rtol=1e-5
    )
    # The car drove on by 3 m meanwhile.
    np.testing.assert_allclose(
        moved.objects[0].center_m, T[:3, :3] @ [23, 2, 0.5] + T[:3, 3], rtol=1e-6
    )
    assert moved.objects[0].yaw_rad == pytest.approx(3.1 - 0.3 * TURN_RADPS, abs=1e-3)
    np.testing.assert_allclose(moved.geometry.T_base_sensor, T)
    assert moved.tensors["bev"] is old.tensors["bev"]
    assert moved.displacement is T
    assert (moved.sequence, moved.stamp_ns, old.displacement) == (7, 1, None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_grid_moves_with_what_is_on_it(dtype):
    grid = GroundGrid(x_min_m=-25.6, y_min_m=-25.6, cell_m=0.8)
    T = driven(2000).between(1700 * MS, 2000 * MS)

    def blob(x_m, y_m):
        x = grid.x_min_m + (np.arange(96)[:, None] + 0.5) * grid.cell_m
        y = grid.y_min_m + (np.arange(64)[None, :] + 0.5) * grid.cell_m
        return np.exp(-((x - x_m) ** 2 + (y - y_m) ** 2) / 8.0).astype(dtype)

    before = np.stack([blob(20.0, 5.0), blob(0.0, -10.0)])[None]
    targets = [T[:2, :2] @ p + T[:2, 3] for p in ([20.0, 5.0], [0.0, -10.0])]
    after = grid.moved(before, T)
    assert (after.dtype, after.shape) == (dtype, before.shape)
    np.testing.assert_allclose(after[0], [blob(*target) for target in targets], atol=0.05)
    assert np.abs(before[0] - [blob(*target) for target in targets]).max() > 0.5
    np.testing.assert_allclose(grid.moved(before, np.eye(4)), before, atol=1e-6)


def message(**changes):
    values = {
        "stamp": (5, 10), "child": "base_link", "position": (1.0, 2.0, 3.0),
        "orientation": (0.0, 0.0, 0.0, 1.0), **changes,
    }  # fmt: skip
    position = SimpleNamespace(**dict(zip("xyz", values["position"], strict=True)))
    orientation = SimpleNamespace(**dict(zip("xyzw", values["orientation"], strict=True)))
    stamp = SimpleNamespace(sec=values["stamp"][0], nanosec=values["stamp"][1])
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp, frame_id="odom"),
        child_frame_id=values["child"],
        pose=SimpleNamespace(pose=SimpleNamespace(position=position, orientation=orientation)),
        twist=SimpleNamespace(twist=SimpleNamespace(linear=SimpleNamespace(x=3.0, y=4.0, z=0.0))),
    )


def test_an_odometry_message_is_read():
    pose = pose_from_msg(message(), "base_link")
    assert (pose.stamp_ns, pose.position_m) == (5 * 10**9 + 10, (1.0, 2.0, 3.0))
    assert pose.speed_mps == 5.0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"child": "imu"}, "expected 'base_link', got 'imu'"),
        ({"stamp": (0, 0)}, "zero stamp"),
        ({"position": (math.nan, 0.0, 0.0)}, "finite"),
        ({"orientation": (0.0, 0.0, 0.0, 0.0)}, "unit orientation"),
        ({"orientation": (math.inf, 0.0, 0.0, 0.0)}, "unit orientation"),
        ({"orientation": (0.8, 0.0, 0.0, 0.6)}, "rolls the vehicle by 106 degrees: given as w, x"),
        ({"orientation": (0.995, 0.0, 0.0, -0.0999)}, "x, y, z, w is asked for"),
    ],
)
def test_a_useless_odometry_message_is_refused(changes, text):
    with pytest.raises(InvalidFrameError, match=text):
        pose_from_msg(message(**changes), "base_link")


@pytest.mark.parametrize(
    "orientation",
    [(0.6, 0.8, 0.0, 0.0), (0.0, 0.0, 0.8, -0.6), (0.1, 0.05, 0.7, 0.7053), (1.0, 0.0, 0.0, 0.0)],
    ids=["a frame with z down", "turned", "on a slope", "standing with z down"],
)
def test_vehicles_that_are_upright_are_read(orientation):
    assert pose_from_msg(message(orientation=orientation), "base_link").orientation == orientation


def test_the_compiled_blend_gives_the_same_bits_as_numpy():
    if library() is None:
        pytest.skip("the package was not built: there is nothing compiled")
    rng = np.random.default_rng(5)
    planes = rng.normal(size=(7, 90)).astype(np.float32)
    index = rng.integers(0, 90, (4, 60), dtype=np.int32)
    weight = rng.uniform(size=(4, 60)).astype(np.float32)
    made = blended(planes, index, weight)
    assert made.tobytes() == blended_numpy(planes, index, weight).tobytes()


@pytest.mark.parametrize(
    ("age_s", "says"),
    [
        (0.1, ""),
        (0.8, "odom is 0.80 s old > 0.50 s"),
        (-0.4, "odom: stamps 0.40 s ahead"),
        (math.inf, "no odometry that can be used came on odom"),  # no number of seconds
    ],
)
def test_odometry_that_does_not_serve_is_told(age_s, says):
    health = with_odometry(Health(level=Level.OK, message="FULL"), "odom", age_s)
    assert (health.level is Level.WARN) is bool(says)
    assert says in health.message
    assert "inf" not in health.message
