"""A simulated drive as a recording: complete, repeatable, with what the simulator knows."""

import json

import pytest

from edge_perception.cli.main import main
from edge_perception.recordings.reader import Recording
from edge_perception.samples.truth import read_ground_truth

SCENARIO = """\
weather: clear
sensors: [camera, lidar]
camera: {width: 160, height: 90}
lidar: {model: spinning32}
actors: {car: 6, truck: 0, bus: 0, pedestrian: 2, cyclist: 0}
outages:
- {sensor: camera, start_s: 0.45, end_s: 0.85}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drive")
    (folder / "short.yaml").write_text(SCENARIO)
    return folder


IMAGE, INFO = "/camera/image_raw/compressed", "/camera/camera_info"
POINTS, AUDIO, ODOMETRY = "/lidar/points", "/audio", "/odometry"


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
    assert counts == {IMAGE: 6, INFO: 6, POINTS: 10, AUDIO: 0, ODOMETRY: 56}


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
