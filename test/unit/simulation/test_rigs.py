"""Rigs of several cameras and LiDARs: each sees its own part of the same moment."""

import numpy as np
import pytest

from edge_perception.core.errors import UnknownNameError
from edge_perception.simulation.generate import generate_frame, generate_rig, with_one_sensor
from edge_perception.simulation.rigs import RIGS, with_rig
from edge_perception.simulation.scenario import Actors, Camera, Scenario
from edge_perception.simulation.world import World

SEED, AT_S = 7, 1.0
SMALL = Scenario(
    name="small",
    actors=Actors(car=(20, 20), pedestrian=(6, 6)),
    camera=Camera(width=160, height=90, horizontal_fov_deg=70.0),
    more_cameras=tuple(
        Camera(name=f"camera_{yaw}", width=160, height=90, horizontal_fov_deg=70.0, yaw_deg=yaw)
        for yaw in (90.0, 180.0, -90.0)
    ),
)


@pytest.fixture(scope="module")
def frames():
    return generate_rig(SMALL, SEED, AT_S, world=World(SMALL, SEED))


def test_each_camera_shows_what_lies_where_it_looks(frames):
    cameras = {name: frame for name, frame in frames.items() if frame.image is not None}
    assert len(cameras) == 4
    seen = 0
    for name, frame in cameras.items():
        yaw = 0.0 if name == "camera" else np.radians(float(name.split("_")[1]))
        for item in frame.objects:
            if item.visibility is None or item.visibility.truncation > 0.3:
                continue
            gap = np.array(item.box.center_m[:2]) - frame.T_base_camera[:2, 3]
            off = np.arctan2(gap[1], gap[0]) - yaw
            assert abs(np.arctan2(np.sin(off), np.cos(off))) < np.radians(50.0)
            seen += 1
    assert seen > 8


def test_all_are_of_one_moment_and_name_the_same_objects(frames):
    (stamp_ns,) = {frame.stamp_ns for frame in frames.values()}
    assert stamp_ns == 1_001_000_000_000
    for frame in frames.values():
        assert [o.box for o in frame.objects] == [o.box for o in frames["lidar"].objects]


def test_further_sensors_change_nothing_of_the_first_ones(frames):
    alone = generate_frame(with_one_sensor(SMALL, "camera"), SEED, AT_S)
    assert (alone.image.bgr == frames["camera"].image.bgr).all()
    sweep = generate_frame(with_one_sensor(SMALL, "lidar"), SEED, AT_S).cloud
    assert (sweep.xyz_m == frames["lidar"].cloud.xyz_m).all()


def test_six_cameras_leave_no_direction_out():
    scenario = with_rig(SMALL, "6 cameras")
    cameras = (scenario.camera, *scenario.more_cameras)
    yaws = np.sort([camera.yaw_deg % 360.0 for camera in cameras])
    gaps = np.diff(np.append(yaws, yaws[0] + 360.0))
    assert gaps.max() < min(camera.horizontal_fov_deg for camera in cameras)


def test_an_unknown_rig_is_answered_with_those_that_exist():
    with pytest.raises(UnknownNameError, match="6 cameras, 2 LiDARs"):
        with_rig(SMALL, "7 cameras")
    for name in RIGS:
        assert with_rig(SMALL, name).sources
