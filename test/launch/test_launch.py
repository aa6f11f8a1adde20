"""The launch files, run by launch_testing in a process and a ROS domain of their own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from edge_perception.core.share import share_file

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 110


def require(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed (not among the ROS wheels)")


def run_case(name: str, *arguments: str) -> None:
    """Run a launch test; its output is the text of a failure."""
    command = [sys.executable, "-m", "launch_testing.launch_test", str(HERE / name), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.terminate()  # launch ends its processes
            output, _ = process.communicate()
            pytest.fail(f"{name}: not done after {TIMEOUT_S} s\n{output[-4000:]}")
    assert process.returncode == 0, output[-8000:]


@pytest.mark.parametrize("case", ["perception_case.py", "composed_case.py", "plugins_case.py"])
def test_perception(case, ros_domain):
    require("launch_testing")
    run_case(case)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    require("launch_testing")
    path = tmp_path_factory.mktemp("drive") / "short.mcap"
    record = [sys.executable, "-m", "edge_perception.cli.main", "record-demo", str(path)]
    subprocess.run([*record, "--simulated", "--duration", "4"], check=True, capture_output=True)
    return path


@pytest.mark.parametrize(
    ("mode", "rate"),
    # Half speed, that a busy machine keeps up: it is not the speed that is tested.
    [("play", "0.5"), ("strict", "1.0"), ("tolerant", "1.0")],
)
def test_replay(mode, rate, ros_domain, recording):
    run_case("replay_case.py", f"bag:={recording}", f"mode:={mode}", f"rate:={rate}")


def test_a_player_that_fails_makes_the_launch_fail(ros_domain, tmp_path):
    require("ros2launch")
    bad = tmp_path / "bad.mcap"
    bad.write_bytes(b"no recording at all")
    command = ["ros2", "launch", "edge_perception", "replay.launch.py", f"bag:={bad}"]
    done = subprocess.run([*command, "mode:=tolerant"], capture_output=True, text=True, timeout=90)
    assert "the player ended with exit code 2" in done.stdout + done.stderr
    assert done.returncode == 1


def test_strict_replay_takes_frames_reliably_and_waits(replay, recording, tmp_path):
    values = {"params_file": str(recording.with_suffix(".params.yaml")), "namespace": "car"}
    parameters = yaml.safe_load(replay.strict_parameters(recording, values).read_text())
    everywhere = parameters["/**"]["ros__parameters"]
    assert everywhere["qos_overrides./car/lidar/points.subscription.reliability"] == "reliable"
    poses = yaml.safe_load(recording.with_suffix(".params.yaml").read_text())
    assert poses.keys() <= parameters.keys(), "what the recording says holds too"
    command = replay.live_command(recording, "strict", values)
    assert command[command.index("--live") + 1] == "strict"
    assert command[command.index("--namespace") + 1] == "car"


@pytest.mark.parametrize("name", ["perception", "replay"])
def test_ros2_launch_lists_the_arguments(name, ros_domain):
    require("ros2launch")
    command = ["ros2", "launch", "edge_perception", f"{name}.launch.py", "--show-args"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for argument in ("namespace", "params_file", "composed", "log_level", "sources"):
        assert f"'{argument}':" in shown
    if name == "perception":
        assert all(f"'{argument}':" in shown for argument in ("model_store", "trust_file"))


@pytest.fixture
def replay():
    require("launch_ros")
    spec = importlib.util.spec_from_file_location(
        "replay_launch", share_file("launch/replay.launch.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("packages", "bag", "namespace", "rosbag2"),
    [
        ({"ros2bag", "rosbag2_storage_mcap"}, "a.mcap", "", True),
        ({"ros2bag"}, "a.mcap", "", False),
        ({"ros2bag"}, "folder", "", True),
        ({"ros2bag"}, "folder", "car", False),
        (set(), "a.mcap", "", False),
    ],
)
def test_the_player_is_one_that_can_play_it(replay, packages, bag, namespace, rosbag2):
    command = replay.player_command(Path(bag), rate="2.0", namespace=namespace, packages=packages)

    assert (command[:3] == ["ros2", "bag", "play"]) is rosbag2
    assert command[command.index("--rate") + 1] == "2.0"
    assert ("--namespace" in command) is bool(namespace)


def test_parameters_recorded_with_a_bag_are_used(replay, tmp_path):
    bag = tmp_path / "drive.mcap"
    assert replay.parameters_of(bag) == share_file("config/perception.yaml")
    (tmp_path / "drive.params.yaml").touch()
    assert replay.parameters_of(bag) == tmp_path / "drive.params.yaml"
