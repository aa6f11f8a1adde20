"""What the launch files start, where launch is not installed: it is not among the ROS wheels.

Stand-ins take what they are given. So every call of the launch files into the package is made, and
what they hand on is read; that launch does with it what is meant is for test/launch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import create_autospec

import pytest

from edge_perception.core.share import share_file
from edge_perception.validation import live


class Given:
    """Anything of launch: keeps what it was made with."""

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs

    def items(self):
        return self.args


class LaunchConfiguration:
    def __init__(self, name):
        self.name = name

    def perform(self, context):
        return context.values[self.name]


MODULES = {
    "launch": ("LaunchDescription",),
    "launch.actions": (
        "DeclareLaunchArgument",
        "ExecuteProcess",
        "IncludeLaunchDescription",
        "OpaqueFunction",
        "Shutdown",
    ),
    "launch.launch_description_sources": ("PythonLaunchDescriptionSource",),
    "launch.substitutions": (),
    "launch_ros": (),
    "launch_ros.actions": ("LifecycleNode", "Node"),
    "launch_ros.parameter_descriptions": ("ParameterValue",),
}


@pytest.fixture
def started(monkeypatch):
    """Run a launch file with arguments; returns what it starts."""
    for name, kinds in MODULES.items():
        module = ModuleType(name)
        for kind in kinds:
            setattr(module, kind, type(kind, (Given,), {}))
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["launch.substitutions"].LaunchConfiguration = LaunchConfiguration

    def started(file, pushed="", **arguments):
        text = share_file(f"launch/{file}").read_text(encoding="utf-8")
        namespace = {"__name__": "launch_file"}
        exec(compile(text, file, "exec"), namespace)
        declared = namespace["generate_launch_description"]().args[0]
        values = {
            item.args[0]: item.kwargs["default_value"]
            for item in declared
            if "default_value" in item.kwargs
        }
        choices = {item.args[0]: item.kwargs.get("choices") for item in declared if item.args}
        for name, value in arguments.items():
            assert choices[name] is None or value in choices[name]
        (begin,) = [item.kwargs["function"] for item in declared if "function" in item.kwargs]
        context = SimpleNamespace(
            values={**values, **arguments},
            environment={},
            launch_configurations={"ros_namespace": pushed} if pushed else {},
        )
        return begin(context)

    return started


@pytest.mark.parametrize("yes", ["true", "True"])
def test_the_nodes_of_a_vehicle(started, yes):
    nodes = started(
        "perception.launch.py",
        sources="camera_front,lidar",
        namespace="car",
        topics="lidar:=/velodyne_points",
        metrics=yes,
    )
    assert [(node.kwargs["executable"], node.kwargs["name"]) for node in nodes] == [
        ("camera_encoder", "camera_front_encoder"),
        ("lidar_encoder", "lidar_encoder"),
        ("fusion", "fusion"),
        ("model_manager", "model_manager"),
        ("metrics", "metrics"),
    ]
    assert ("lidar/points", "/velodyne_points") in nodes[0].kwargs["remappings"]
    (process,) = started("perception.launch.py", sources="lidar", composed=yes)
    assert process.kwargs["executable"] == "perception"


def test_extensions_of_the_launch_argument_reach_the_nodes(started, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_perception.core.plugins._folders", ())
    (tmp_path / "encoders").mkdir()
    nodes = started("perception.launch.py", plugin_folders=str(tmp_path))
    told = [values for values in nodes[0].kwargs["parameters"] if isinstance(values, dict)]
    assert {"plugin_folders": [str(tmp_path)]} in told


def test_sections_for_the_namespace_of_a_group_around_it_tell_the_sources(started, tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(
        "/r1/fusion: {ros__parameters: {sources: [lidar]}}\n"
        "/r2/fusion: {ros__parameters: {sources: [camera, audio]}}\n"
    )
    for pushed, namespace, sources in (
        ("/r1", "", ["lidar"]),
        ("/r2", "", ["camera", "audio"]),
        ("", "r1", ["lidar"]),
        ("/r2", "/r1", ["lidar"]),
    ):
        nodes = started(
            "perception.launch.py", pushed=pushed, namespace=namespace, params_file=str(file)
        )
        names = [node.kwargs["name"] for node in nodes]
        assert names[:-2] == [f"{source}_encoder" for source in sources]


def test_a_player_in_a_group_is_told_its_namespace(started, tmp_path):
    bag = tmp_path / "drive.mcap"
    bag.write_bytes(b"")
    nodes, player = started("replay.launch.py", pushed="/r1", bag=str(bag))
    assert ("namespace", "/r1") in nodes.kwargs["launch_arguments"]
    command = player.kwargs["cmd"]
    assert command[command.index("--namespace") + 1] == "/r1"


@pytest.mark.parametrize("mode", ["play", "strict", "tolerant"])
def test_a_recording_played_into_them(started, mode, tmp_path, monkeypatch):
    bag = tmp_path / "drive.mcap"
    bag.write_bytes(b"")
    asked = []

    def parameters(settings, path):
        asked.append((settings.bag, settings.namespace))
        path.write_text("{}")
        return path

    called = create_autospec(live.live_parameters, side_effect=parameters)
    monkeypatch.setattr(live, "live_parameters", called)
    nodes, player = started("replay.launch.py", bag=str(bag), mode=mode, namespace="car")
    assert ("use_sim_time", "true") in nodes.kwargs["launch_arguments"]
    command = player.kwargs["cmd"]
    assert str(bag) in command
    assert Path(command[0]) == Path(sys.executable)
    assert command[command.index("--namespace") + 1] == "car"
    assert asked == ([(str(bag), "car")] if mode == "strict" else [])
