"""A simulated drive as a recording: complete, repeatable, with what the simulator knows."""

import json

import pytest
import yaml

from edge_perception.cli.main import main
from edge_perception.recordings.own_parameters import parameters_path
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.stamps import read_stamp_ns
from edge_perception.samples.truth import matrix_of, read_ground_truth

SCENARIO = """\
weather: clear
sensors: [camera, lidar]
camera: {width: 160, height: 90}
lidar: {model: spinning32}
more_cameras:
- {name: camera_left, width: 160, height: 90, yaw_deg: 90.0}
more_lidars:
- {name: lidar_rear, model: spinning32, position_m: [-1.0, 0.0, 1.8]}
actors: {car: 6, truck: 0, bus: 0, pedestrian: 2, cyclist: 0}
outages:
- {sensor: camera, start_s: 0.45, end_s: 0.85}
- {sensor: lidar_rear, start_s: 0.45, end_s: 0.85}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drive")
    (folder / "short.yaml").write_text(SCENARIO)
    return folder


IMAGE, INFO = "/camera/image_raw/compressed", "/camera/camera_info"
POINTS, AUDIO, ODOMETRY = "/lidar/points", "/audio", "/odometry"
LEFT_IMAGE, LEFT_INFO = "/camera_left/image_raw/compressed", "/camera_left/camera_info"
REAR_POINTS = "/lidar_rear/points"


@pytest.fixture(scope="module")
def recording(folder):
    for module in ("rclpy", "edge_perception.msg"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    path = folder / "short.mcap"
    command = ["simulate", str(path), "--scenario", str(folder / "short.yaml")]
    assert main([*command, "--seed", "4", "--duration", "1"]) == 0
    return Recording(path)


def test_absent_sensor_and_outage_leave_their_messages_out(recording):
    counts = {name: recording.count(name) for name in recording.topics}
    assert counts == {
        IMAGE: 6, INFO: 6, LEFT_IMAGE: 10, LEFT_INFO: 10, POINTS: 10, REAR_POINTS: 6, AUDIO: 0,
        ODOMETRY: 56,
    }  # fmt: skip


def test_sensors_of_a_rig_have_poses_and_are_sources_of_fusion(recording):
    known = yaml.safe_load(parameters_path(recording.path).read_text())
    sources = known["/**/fusion"]["ros__parameters"]["sources"]
    assert sources == ["camera", "lidar", "audio", "camera_left", "lidar_rear"]
    pose = known["/**/camera_left_encoder"]["ros__parameters"]["T_base_sensor"]
    assert matrix_of(tuple(pose))[:3, 2] == pytest.approx([0.0, 1.0, 0.0], abs=1e-9)
    assert known["/**/lidar_rear_encoder"]["ros__parameters"]["T_base_sensor"][0] == -1.0
    truth = read_ground_truth(recording)
    assert [camera.source for camera in truth.more_cameras] == ["camera_left"]
    left = next(recording.messages([LEFT_IMAGE]))
    ahead = next(recording.messages([IMAGE]))
    assert read_stamp_ns(left.data) == read_stamp_ns(ahead.data)
    assert left.data != ahead.data


def test_truth_of_every_sweep_is_inside(recording):
    known = json.loads(recording.attachment("simulation.json"))
    assert len(known["frames"]) == 10
    assert known["scenario"]["weather"] == "clear"
    first = known["frames"][0]["objects"]
    assert {item["class_name"] for item in first} <= {"car", "pedestrian"}
    assert any(item["lidar_returns"] > 0 for item in first)
    assert all(len(item["velocity_mps"]) == 3 for item in first)
    assert len(read_ground_truth(recording).frames) == 10


def test_same_seed_gives_the_same_messages(recording, folder):
    path = folder / "again.mcap"
    command = ["simulate", str(path), "--scenario", str(folder / "short.yaml")]
    assert main([*command, "--seed", "4", "--duration", "1"]) == 0
    again = [(m.topic, m.log_time_ns, bytes(m.data)) for m in Recording(path).messages()]
    assert again == [(m.topic, m.log_time_ns, bytes(m.data)) for m in recording.messages()]


def test_preview_and_calibration_lie_beside_it(recording, folder):
    assert (folder / "short.png").stat().st_size > 10_000
    assert (folder / "short.params.yaml").is_file()


def test_wrong_scenario_is_refused_with_file_line_and_what_is_allowed(folder, capsys):
    path = folder / "wrong.yaml"
    path.write_text("light: day\nweather: snow\n")
    assert main(["simulate", str(folder / "x.mcap"), "--scenario", str(path)]) == 2
    text = capsys.readouterr().err
    assert f"{path}:2" in text
    assert "clear, fog, rain" in text
    assert not (folder / "x.mcap").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["x.bag"], ".mcap"),
        (["x.mcap", "--duration", "0.5"], "1 to 120"),
        (["x.mcap", "--seed", "-1"], "--seed"),
        (["x.mcap", "--scenario", "moon"], "intersection"),
    ],
)
def test_wrong_arguments_are_refused(arguments, text, capsys):
    assert main(["simulate", *arguments]) != 0
    assert text in capsys.readouterr().err
