"""Where a sensor sits: parameter first, then tf, and a word when nobody knows."""

import numpy as np
import pytest

from edge_perception.core.transforms import NS, Transform, TransformTree, orientation_of
from edge_perception.core.types import Geometry
from edge_perception.encoders import encoders
from edge_perception.encoders.audio.options import AudioSourceOptions
from edge_perception.encoders.camera.pose_check import odd_pose, remark_on_pose
from edge_perception.encoders.options import SourceOptions, transform
from edge_perception.encoders.pose import SensorPose, located, pose_of

STRAIGHT = (0.0, 0.0, 0.0, 1.0)
OPTICAL = (-0.5, 0.5, -0.5, 0.5)


def heard(turn=STRAIGHT, *, frame="lidar", z=1.7, stamp_ns=0, static=True, tree=None):
    tree = tree or TransformTree()
    tree.add(
        Transform(
            parent="base_link",
            child=frame,
            stamp_ns=stamp_ns,
            position_m=(0, 0, z),
            orientation=turn,
        ),
        static=static,
    )
    return tree


def pose(tree=None, modality="lidar", **options):
    return pose_of(encoders()[modality], SourceOptions(source=modality, **options), tree=tree)


def test_the_parameter_comes_first():
    placed = pose(heard(), T_base_sensor=(0, 0, 2.5, *STRAIGHT)).at("lidar", 0)
    assert (placed.source, placed.doubt, placed.T_base_sensor[2, 3]) == ("parameter", "", 2.5)


def test_an_identity_that_somebody_gave_is_a_pose():
    placed = pose(T_base_sensor=(0, 0, 0, *STRAIGHT)).at("lidar", 0)
    assert (placed.source, placed.doubt) == ("parameter", "")


def test_without_a_parameter_tf_says_it():
    placed = pose(heard()).at("/lidar", 0)
    assert (placed.source, placed.doubt, placed.T_base_sensor[2, 3]) == ("tf", "", 1.7)


def test_data_in_the_base_frame_itself_need_no_transform():
    placed = pose(TransformTree()).at("base_link", 0)
    assert (placed.source, placed.doubt) == ("tf", "")


@pytest.mark.parametrize(
    ("tree", "frame", "text"),
    [
        (None, "lidar", "nothing listens to tf"),
        (TransformTree(), "lidar", "no transform has been heard"),
        (
            heard(),
            "velodyne",
            "no transform names the frame 'velodyne'; there are base_link, lidar",
        ),
        (heard(), "", "the messages have no frame_id"),
    ],
)
@pytest.mark.parametrize("modality", ["camera", "lidar"])
def test_no_pose_at_all_is_a_doubt_with_the_reason(modality, tree, frame, text):
    placed = pose(tree, modality).at(frame, 0)
    assert placed.source == ""
    assert "no pose of the sensor: T_base_sensor is not set" in placed.doubt
    assert text in placed.doubt


def test_another_base_frame_is_a_parameter():
    assert pose(heard(), base_frame="ego").at("lidar", 0).source == ""
    tree = heard()
    tree.add(
        Transform(
            parent="ego", child="base_link", stamp_ns=0, position_m=(0, 0, 1), orientation=STRAIGHT
        ),
        static=True,
    )
    assert pose(tree, base_frame="ego").at("lidar", 0).T_base_sensor[2, 3] == pytest.approx(2.7)


def test_transforms_that_come_later_are_used_from_then_on():
    tree = TransformTree()
    asked = pose(tree)
    assert asked.at("lidar", 0).source == ""
    heard(tree=tree)
    assert asked.at("lidar", 0).source == "tf"


def test_a_moving_pose_is_that_of_the_stamp_and_doubted_when_it_is_old():
    tree = heard(z=1.0, stamp_ns=10 * NS, static=False)
    heard(z=2.0, stamp_ns=11 * NS, static=False, tree=tree)
    asked = pose(tree, tf_max_gap_s=0.5)
    assert asked.at("lidar", 10 * NS + NS // 4).T_base_sensor[2, 3] == pytest.approx(1.25)
    late = asked.at("lidar", 13 * NS)
    assert late.T_base_sensor[2, 3] == 2.0
    assert "is 2.00 s away from the frame > 0.5 s" in late.doubt
    assert asked.at("lidar", 11 * NS).doubt == ""


def test_what_is_heard_needs_no_pose_and_where_it_comes_from_does():
    spec = encoders()["audio"]
    plain = pose_of(spec, AudioSourceOptions(source="audio"))
    assert plain.at("microphone", 0).doubt == ""
    assert not plain.asks_tf
    corners = (0.1, 0.1, 0.0, -0.1, 0.1, 0.0, -0.1, -0.1, 0.0)
    array = pose_of(spec, AudioSourceOptions(source="audio", microphone_positions=corners))
    assert array.asks_tf
    assert "no pose" in array.at("microphone", 0).doubt


# -- a camera that looks into the sky --


@pytest.mark.parametrize("yaw", [0.0, 1.0, 3.0])
def test_a_camera_with_the_pose_of_its_body_is_told_so(yaw):
    turn = (0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2))
    for placed in (
        pose(None, "camera", T_base_sensor=(1.5, 0, 1.4, *turn)).at("camera", 0),
        pose(heard(turn, frame="camera"), "camera").at("camera", 0),
    ):
        assert "looks into the sky" in placed.doubt
        assert "body frame" in placed.doubt
        assert "(-0.5, 0.5, -0.5, 0.5)" in placed.doubt


@pytest.mark.parametrize(
    ("pitch_deg", "odd"), [(0, False), (-90, False), (-30, False), (45, False), (70, True)]
)
def test_only_the_sky_is_odd(pitch_deg, odd):
    optical = transform((0, 0, 0, *OPTICAL))
    half = np.radians(-pitch_deg) / 2
    up = transform((0, 0, 0, 0, np.sin(half), 0, np.cos(half)))
    assert bool(odd_pose(up @ optical)) is odd


@pytest.mark.parametrize(
    ("roll_deg", "odd"), [(0, False), (20, False), (90, True), (180, True), (-90, True)]
)
def test_an_image_on_its_side_is_odd(roll_deg, odd):
    half = np.radians(roll_deg) / 2
    rolled = transform((0, 0, 0, *OPTICAL)) @ transform((0, 0, 0, 0, 0, np.sin(half), np.cos(half)))
    text = odd_pose(rolled)
    assert bool(text) is odd
    assert not odd or f"the camera's image is turned by {abs(roll_deg)} degrees" in text


@pytest.mark.parametrize("yaw_deg", [-90, -135, 170])
def test_a_quaternion_in_the_other_order_is_called_that(yaw_deg):
    half = np.radians(yaw_deg) / 2
    right = transform((0, 0, 1.5, 0, 0, np.sin(half), np.cos(half))) @ transform(
        (0, 0, 0, *OPTICAL)
    )
    assert odd_pose(right) == ""
    x, y, z, w = orientation_of(right)
    text = odd_pose(transform((0, 0, 1.5, w, x, y, z)))
    assert "read as w, x, y, z its quaternion is level: x, y, z, w is asked for" in text


def test_a_lidar_may_hang_upside_down():
    assert pose(T_base_sensor=(0, 0, 2, 1.0, 0, 0, 0)).at("lidar", 0).doubt == ""


def test_the_geometry_stays_the_same_object_while_the_pose_does():
    placed = SensorPose(SourceOptions(source="lidar"), tree=heard()).at("lidar", 0)
    once = located(Geometry(intrinsics=np.eye(3)), placed)
    assert once.pose_source == "tf"
    assert located(once, placed) is once


def test_messages_in_the_base_frame_that_the_parameter_moves_once_more_are_noted():
    up = pose(T_base_sensor=(0, 0, 1.8, *STRAIGHT))
    placed = up.at("/base_link", 0)
    assert "'base_link', which is the base frame, and T_base_sensor moves them" in placed.note
    assert (placed.T_base_sensor[2, 3], placed.doubt) == (1.8, "")
    assert up.at("lidar", 0).note == ""
    assert pose(T_base_sensor=(0, 0, 0, *STRAIGHT)).at("base_link", 0).note == ""
    assert pose(base_frame="ego", T_base_sensor=(0, 0, 1, *STRAIGHT)).at("ego", 0).note
    at_pose = located(Geometry(), placed)
    assert at_pose.notes == (placed.note,)
    assert located(at_pose, placed) is at_pose


@pytest.mark.parametrize("frame", ["map", "/odom", "world"])
def test_messages_in_a_frame_that_stands_still_are_noted_where_a_parameter_says_the_pose(frame):
    placed = pose(T_base_sensor=(0, 0, 1.8, *STRAIGHT)).at(frame, 0)
    assert f"frame '{frame.lstrip('/')}', which stays where it is" in placed.note
    assert pose(base_frame="map", T_base_sensor=(0, 0, 0, *STRAIGHT)).at("map", 0).note == ""


def test_a_camera_to_the_side_in_the_other_order_looks_down_and_it_is_noted():
    half = float(np.sqrt(0.5))
    left = transform((0, 0, 1.5, -half, 0, 0, half))  # x, y, z, w: its axis along y
    assert (odd_pose(left), remark_on_pose(left)) == ("", "")
    told = pose(modality="camera", T_base_sensor=(0, 0, 1.5, half, -half, 0, 0))  # w first
    placed = told.at("camera", 0)
    assert placed.doubt == ""
    assert "looks at the ground, 90 degrees down" in placed.note
    assert "read as w, x, y, z its quaternion is level" in placed.note
    assert "; the messages say frame 'map'" in told.at("map", 0).note
    tilted = transform((0, 0, 1.5, *orientation_of(left)))
    assert remark_on_pose(tilted) == ""
