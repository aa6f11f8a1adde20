"""A recording played into the pipeline, which follows the recording's time.

ros2 launch edge_perception replay.launch.py bag:=drive.mcap rate:=0.5
"""

import sys
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

from edge_perception.process_plan import DEFAULT_PARAMETERS
from edge_perception.share import share_file
from edge_perception.transport import transport_environment

# Passed on as they are to perception.launch.py, which declares them.
PASSED_ON = ("namespace", "params_file", "composed", "log_level", "sources")
CLOCK_HZ = "100"
# Time for the nodes to load their models, for a player that cannot see whether they have.
START_DELAY_S = "5"


def generate_launch_description():
    defaults = {"params_file": str(share_file(DEFAULT_PARAMETERS)), "composed": "false"}
    defaults["log_level"] = "info"
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="recording: an .mcap file or a bag folder"),
            DeclareLaunchArgument("rate", default_value="1.0", description="speed, 1: real time"),
            *(
                DeclareLaunchArgument(
                    name,
                    default_value=defaults.get(name, ""),
                    description="as in perception.launch.py",
                )
                for name in PASSED_ON
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(share_file("launch/perception.launch.py"))),
                launch_arguments={
                    **{name: LaunchConfiguration(name) for name in PASSED_ON},
                    "use_sim_time": "true",
                }.items(),
            ),
            OpaqueFunction(function=start_player),
        ]
    )


def start_player(context):
    bag = Path(LaunchConfiguration("bag").perform(context)).expanduser()
    if not bag.exists():
        raise RuntimeError(f"bag: {bag} is not there")
    command = player_command(
        bag,
        rate=LaunchConfiguration("rate").perform(context),
        namespace=LaunchConfiguration("namespace").perform(context),
        packages=set(get_packages_with_prefixes()),
    )
    return [
        ExecuteProcess(
            cmd=command,
            name="player",
            output="screen",
            additional_env=transport_environment(context.environment),
            on_exit=Shutdown(reason="the recording has ended"),
        )
    ]


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
