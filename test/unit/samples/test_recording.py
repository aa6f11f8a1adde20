"""The demo's recording: timing, content and what it says about itself."""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from made_up_run import MS, START_NS

from edge_perception.core.errors import ConfigurationError
from edge_perception.fusion.motion import EgoMotion
from edge_perception.fusion.odometry_watch import Pose
from edge_perception.recordings.own_parameters import parameters_path
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.stamps import read_stamp_ns
from edge_perception.samples import data as data_module
from edge_perception.samples.build import (
    AUDIO,
    IMAGE,
    INFO,
    ODOMETRY,
    POINTS,
    BuildOptions,
    build_recording,
)
from edge_perception.samples.data import data_folder, ensure_recording
from edge_perception.samples.matching import Region
from edge_perception.samples.pandaset import has_pandaset, load_pandaset, mean_transform, read_wav
from edge_perception.samples.scene import ahead_offset_s, has_odometry, shown_frames
from edge_perception.samples.simulated import origin_of, simulated_scene
from edge_perception.samples.truth import (
    matrix_of,
    points_in_box,
    pose_of,
    read_ground_truth,
)


@pytest.fixture
def recording(scene, tmp_path):
    for module in ("rclpy", "edge_perception.msg"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    path = tmp_path / "demo.mcap"
    build_recording(scene, path, BuildOptions(duration_s=4.0))
    return Recording(path)


def stamps_and_arrivals(recording, topic):
    return [(read_stamp_ns(m.data), m.log_time_ns) for m in recording.messages([topic])]


def test_frames_are_shown_forth_and_back_one_sequence_after_the_other():
    steps = shown_frames((4, 2), 20)
    assert steps[:10] == [(0, f) for f in (0, 1, 2, 3, 3, 2, 1, 0, 0, 1)]
    assert steps[10:] == [(1, f) for f in (0, 1, 1, 0, 0, 1, 1, 0, 0, 1)]


def test_ten_hertz_of_every_sensor(recording):
    assert {name: recording.count(name) for name in recording.topics} == {
        IMAGE: 40, INFO: 40, POINTS: 40, AUDIO: 40
    }  # fmt: skip
    for topic in (IMAGE, POINTS, AUDIO):
        stamps = [stamp for stamp, _ in stamps_and_arrivals(recording, topic)]
        assert np.diff(stamps) == pytest.approx(100 * MS, abs=1000)


def test_messages_arrive_after_what_they_show(recording, scene):
    images = stamps_and_arrivals(recording, IMAGE)
    sweeps = stamps_and_arrivals(recording, POINTS)
    chunks = stamps_and_arrivals(recording, AUDIO)
    assert sweeps[0][0] == START_NS
    assert {sweep - image for (image, _), (sweep, _) in zip(images, sweeps, strict=True)} == {
        50 * MS
    }
    assert {arrival - stamp for stamp, arrival in images} == {5 * MS}
    assert {arrival - stamp for stamp, arrival in chunks} == {105 * MS}
    last_point_ns = round(
        max(0.0, float(scene.sequences[0][0].time_offset_s.max())) * 1e9
    )  # of a sweep
    assert {arrival - stamp for stamp, arrival in sweeps} == {5 * MS + last_point_ns}


def test_points_survive_with_intensity_and_time(recording, scene):
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import PointCloud2

    message = deserialize_message(next(recording.messages([POINTS])).data, PointCloud2)
    frame = scene.sequences[0][0]
    values = np.frombuffer(message.data, np.float32).reshape(message.width, -1)
    assert [field.name for field in message.fields] == ["x", "y", "z", "intensity", "time"]
    np.testing.assert_array_equal(values[:, :3], frame.xyz_m)
    np.testing.assert_array_equal(values[:, 3], frame.intensity)
    np.testing.assert_array_equal(values[:, 4], frame.time_offset_s)


def test_audio_is_the_clip_again_and_again_without_a_gap(recording, scene):
    from rclpy.serialization import deserialize_message

    from edge_perception.msg import AudioChunk

    chunks = [deserialize_message(m.data, AudioChunk) for m in recording.messages([AUDIO])]
    heard = np.concatenate([np.frombuffer(c.data, "<i2") for c in chunks])
    np.testing.assert_array_equal(heard, np.tile(scene.clip[:, 0], 4))
    assert [c.first_sample_index for c in chunks] == list(range(0, 64000, 1600))


def test_the_recording_explains_itself(recording, scene):
    truth = read_ground_truth(recording)
    assert truth.origin == "made up"
    assert [frame.name for frame in truth.frames] == ["a/00", "a/01", "b/00", "b/01"]
    assert truth.frames[0].boxes == scene.sequences[0][0].boxes
    assert [s.frame for s in truth.sweeps[:5]] == [0, 1, 1, 0, 0]
    np.testing.assert_allclose(matrix_of(truth.T_base_camera), scene.T_base_camera, atol=1e-12)
    assert truth.lidar_ahead_s == pytest.approx(-0.05, abs=0.002)


def test_poses_and_timing_lie_beside_it_as_parameters(recording):
    parameters = yaml.safe_load(parameters_path(recording.path).read_text())
    truth = read_ground_truth(recording)
    for source in ("camera", "lidar", "audio"):
        pose = parameters[f"/**/{source}_encoder"]["ros__parameters"]["T_base_sensor"]
        assert len(pose) == 7
        assert all(isinstance(value, float) for value in pose)
    fusion = parameters["/**/fusion"]["ros__parameters"]
    assert fusion["lidar.time_offset_s"] == truth.lidar_ahead_s


def standing_at(scene):
    """Return the scene with poses: a metre on with each frame, the image half a metre before."""
    first = -1.0

    def placed(frame):
        nonlocal first
        first += 1.0
        sweep, image = np.eye(4), np.eye(4)
        sweep[0, 3], image[0, 3] = first, first - 0.5
        return replace(frame, T_world_base=sweep, T_world_base_image=image)

    return replace(scene, sequences=tuple(tuple(map(placed, s)) for s in scene.sequences))


def test_odometry_goes_back_where_frames_are_shown_backwards(scene, tmp_path):
    for module in ("rclpy", "edge_perception.msg"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    from nav_msgs.msg import Odometry
    from rclpy.serialization import deserialize_message

    path = tmp_path / "moving.mcap"
    truth = build_recording(standing_at(scene), path, BuildOptions(duration_s=1.0))
    recording = Recording(path)
    messages = list(recording.messages([ODOMETRY.name]))
    places = {
        read_stamp_ns(m.data): deserialize_message(m.data, Odometry).pose.pose.position.x
        for m in messages
    }
    steps = [(places[i.stamp_ns], places[s.stamp_ns])
             for i, s in zip(truth.images, truth.sweeps, strict=True)]  # fmt: skip
    assert steps[:5] == [(-0.5, 0.0), (0.5, 1.0), (0.5, 1.0), (-0.5, 0.0), (-0.5, 0.0)]
    # Nobody drives from one sequence to the next: the history of the vehicle's motion starts anew.
    motion = EgoMotion()
    for stamp_ns, x in sorted(places.items()):
        motion.add(Pose(stamp_ns=stamp_ns, position_m=(x, 0.0, 0.0), orientation=(0, 0, 0, 1)))
    last, first = (motion.pose_at(truth.sweeps[number].stamp_ns) for number in (4, 5))
    assert last.epoch != first.epoch
    # A pose is there before what was seen from it.
    arrival = {read_stamp_ns(m.data): m.log_time_ns for m in messages}
    for topic in (IMAGE, POINTS):
        assert all(arrival[s] < at for s, at in stamps_and_arrivals(recording, topic))
    parameters = yaml.safe_load(parameters_path(path).read_text())
    assert parameters["/**/fusion"]["ros__parameters"]["odometry_topic"] == "odometry"


def test_real_and_simulated_scenes_know_where_the_vehicle_is():
    scene = simulated_scene()
    assert has_odometry(scene)
    places = [frame.T_world_base[0, 3] for frame in scene.sequences[0]]
    assert np.diff(places) == pytest.approx(0.6, abs=0.05)  # 6 m/s
    data = data_folder()
    if data is not None and has_pandaset(data):
        assert has_odometry(load_pandaset(data))


def test_a_demo_recording_of_before_odometry_is_made_anew(scene, tmp_path, monkeypatch):
    for module in ("rclpy", "edge_perception.msg"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    path = tmp_path / "recording.mcap"
    old = replace(scene, origin=origin_of(""))
    build_recording(old, path, BuildOptions(duration_s=2.0))
    monkeypatch.setattr(data_module, "load_scene", lambda *_, **__: standing_at(old))
    ensure_recording(path, data=None, duration_s=2.0)
    assert ODOMETRY.name in Recording(path).topics
    made_ns = path.stat().st_mtime_ns
    ensure_recording(path, data=None, duration_s=2.0)
    assert path.stat().st_mtime_ns == made_ns


def test_a_recording_without_ground_truth_is_refused(tmp_path):
    pytest.importorskip("edge_perception.msg", reason="edge_perception.msg is not installed")
    from edge_perception.recordings.writer import RecordingWriter

    with RecordingWriter(tmp_path / "plain.mcap"):
        pass
    with pytest.raises(ConfigurationError, match=r"ground_truth\.json"):
        read_ground_truth(Recording(tmp_path / "plain.mcap"))


def test_points_in_a_turned_box():
    points = np.array([[10.0, 0, 0], [10, 2, 0], [11.5, 0, 0], [10, 0, 2]], np.float32)
    inside = points_in_box(points, (10.0, 0.0, 0.0), (4.5, 2.0, 2.0), np.pi / 2)
    assert inside.tolist() == [True, True, False, False]


def test_pose_and_matrix_are_inverse_of_each_other():
    pose = (1.0, 2.0, 3.0, 0.5, -0.5, 0.5, -0.5)
    matrix = matrix_of(pose)
    np.testing.assert_allclose(matrix_of(pose_of(matrix)), matrix, atol=1e-12)


def test_the_mean_of_transforms_is_a_rotation():
    turned = [matrix_of((x, 0, 0, 0, 0, np.sin(a / 2), np.cos(a / 2))) for x, a in
              ((0.0, -0.1), (1.0, 0.3))]  # fmt: skip
    mean = mean_transform(turned)
    np.testing.assert_allclose(mean[:3, :3] @ mean[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.arctan2(mean[1, 0], mean[0, 0]) == pytest.approx(0.1)
    assert mean[0, 3] == pytest.approx(0.5)


def test_other_sound_files_are_refused(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(ConfigurationError, match=r"x\.wav: expected a WAV file"):
        read_wav(tmp_path / "x.wav")


def test_recorded_frames_fit_their_calibration(data_dir):
    """The returns inside a labelled car project into the image, about where its box does."""
    scene = load_pandaset(data_dir)
    assert [len(sequence) for sequence in scene.sequences] == [4, 4]
    assert ahead_offset_s(scene.sequences[0]) == pytest.approx(-0.048, abs=0.003)
    region = Region(
        T_camera_base=np.linalg.inv(scene.T_base_camera),
        K=scene.intrinsics,
        image_size=scene.image_size,
    )
    frame = scene.sequences[1][0]
    cars = [b for b in frame.boxes if b.class_name == "car" and region.contains(b.center_m)]
    assert len(cars) == 9
    assert cars[0].points > 10
    # known by eye: the white car ahead at 13 m fills the middle of the picture
    (ahead,) = [b for b in cars if abs(b.center_m[1]) < 1 and b.center_m[0] < 20]
    T = region.T_camera_base
    point = T[:3, :3] @ np.array(ahead.center_m) + T[:3, 3]
    u, v = (region.K @ (point / point[2]))[:2]
    assert 850 < u < 1000
    assert 550 < v < 750
