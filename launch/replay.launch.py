"""A recording played into the pipeline, which follows the recording's time.

ros2 launch edge_perception replay.launch.py bag:=drive.mcap rate:=0.5
ros2 launch edge_perception replay.launch.py bag:=drive.mcap mode:=strict

strict and tolerant wait until all nodes are active and connected, and start with the clock standing
still. strict sends a source its next frame when the last one has given a feature, and fails on a
lost frame; tolerant plays at real time and tells what was dropped.
"""

import sys
import tempfile
from pathlib import Path

from ament_index_python.packages import get_packages_with_prefixes
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from edge_perception.core.plugins import add_plugin_folders, plugin_folders
from edge_perception.core.share import share_file
from edge_perception.running.process_plan import DEFAULT_PARAMETERS, full_namespace
from edge_perception.running.transport import transport_environment
from edge_perception.validation.live import STRICT, TOLERANT, live_parameters
from edge_perception.validation.settings import ReplaySettings

CLOCK_HZ = "100"
# Time for the nodes to load their models, for a player that cannot see whether they have.
START_DELAY_S = "5"
PLAY = "play"
ARGUMENTS = {
    "rate": ("1.0", "speed, 1: real time"),
    "namespace": ("", "as in perception.launch.py"),
    "params_file": ("", "ROS parameter file; empty: BAG.params.yaml where it is, else defaults"),
    "composed": ("false", "as in perception.launch.py"),
    "log_level": ("info", "as in perception.launch.py"),
    "log_format": ("text", "as in perception.launch.py"),
    "sources": ("", "as in perception.launch.py"),
    "plugin_folders": ("", "as in perception.launch.py"),
}


def generate_launch_description():
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="recording: an .mcap file or a bag folder"),
            DeclareLaunchArgument(
                "mode",
                default_value=PLAY,
                choices=[PLAY, STRICT, TOLERANT],
                description="play: as ros2 bag play does; strict, tolerant: see above",
            ),
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            OpaqueFunction(function=start),
        ]
    )


def start(context):
    values = {name: LaunchConfiguration(name).perform(context) for name in ("bag", *ARGUMENTS)}
    bag = Path(values.pop("bag")).expanduser()
    if not bag.exists():
        raise RuntimeError(f"bag: {bag} is not there")
    mode, rate = LaunchConfiguration("mode").perform(context), values.pop("rate")
    add_plugin_folders(filter(None, values["plugin_folders"].split(",")))
    values["params_file"] = values["params_file"] or str(parameters_of(bag))
    # The player is no node of a group: it is told where the nodes are that are in one.
    pushed = context.launch_configurations.get("ros_namespace", "")
    values["namespace"] = full_namespace(pushed, values["namespace"])
    if mode == PLAY:
        packages = set(get_packages_with_prefixes())
        command = player_command(bag, rate=rate, namespace=values["namespace"], packages=packages)
    else:
        if float(rate) != 1.0:
            raise RuntimeError(f"rate: {mode} plays in the recording's own time, got {rate}")
        if mode == STRICT:
            values["params_file"] = str(strict_parameters(bag, values))
        command = live_command(bag, mode, values)
    return [
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(share_file("launch/perception.launch.py"))),
            launch_arguments={**values, "use_sim_time": "true"}.items(),
        ),
        ExecuteProcess(
            cmd=command,
            name="player",
            output="screen",
            additional_env=transport_environment(context.environment),
            on_exit=ended,
        ),
    ]


def ended(event, context):
    """End the nodes with the player; a player that failed makes the launch fail."""
    if event.returncode and not context.is_shutdown:
        raise RuntimeError(f"replay: the player ended with exit code {event.returncode}")
    return [Shutdown(reason="the recording has ended")]


def parameters_of(bag):
    """Return the parameters recorded with a bag (poses of its sensors), else the package's."""
    beside = bag.with_suffix(".params.yaml")
    return beside if beside.is_file() else share_file(DEFAULT_PARAMETERS)


def strict_parameters(bag, values):
    """Return a parameter file with which the nodes take each frame reliably."""
    settings = ReplaySettings(
        bag=str(bag), params_files=(values["params_file"],), namespace=values["namespace"] or None
    )
    folder = Path(tempfile.mkdtemp(prefix="edge_perception_replay_"))
    return live_parameters(settings, folder / "params.yaml")


def live_command(bag, mode, values):
    """Return the player that waits for the nodes and counts what becomes of each frame."""
    command = [sys.executable, "-m", "edge_perception.cli.main", "play", str(bag), "--live", mode]
    command += ["--params-file", values["params_file"]]
    for folder in plugin_folders():
        command += ["--plugin-folder", str(folder)]
    return [*command, "--namespace", values["namespace"]] if values["namespace"] else command


def player_command(bag, *, rate, namespace, packages):
    """Return `ros2 bag play` where it can play this bag, else this package's own player."""
    needed = {"ros2bag"} | ({"rosbag2_storage_mcap"} if bag.suffix == ".mcap" else set())
    # ros2 bag play has no namespace for all topics at once.
    if needed <= packages and not namespace:
        command = ["ros2", "bag", "play", str(bag), "--clock", CLOCK_HZ]
        return [*command, "--rate", rate, "--delay", START_DELAY_S]
    command = [sys.executable, "-m", "edge_perception.cli.main", "play", str(bag)]
    command += ["--clock", CLOCK_HZ, "--rate", rate, "--wait", "30"]
    return [*command, "--namespace", namespace] if namespace else command
