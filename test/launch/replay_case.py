"""replay.launch.py with a short simulated recording: run by test_launch.py or `launch_test FILE`.

launch_test replay_case.py bag:=recording.mcap mode:=strict
"""

import sys
import unittest
from pathlib import Path

import launch
import launch_testing.actions
import launch_testing.asserts
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from edge_perception.core.share import share_file

sys.path.insert(0, str(Path(__file__).parent))
from observer import Observer


def generate_test_description():
    source = PythonLaunchDescriptionSource(str(share_file("launch/replay.launch.py")))
    asked = {name: LaunchConfiguration(name) for name in ("bag", "mode", "rate")}
    arguments = {**asked, "composed": "true", "log_level": "warn"}
    include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    return launch.LaunchDescription(
        [
            DeclareLaunchArgument("bag"),
            DeclareLaunchArgument("mode"),
            DeclareLaunchArgument("rate", default_value="1.0"),
            include,
            launch_testing.actions.ReadyToTest(),
        ]
    )


def used(fused):
    return {source.source for source in fused.sources if source.contributed}


class TestRunning(unittest.TestCase):
    def test_the_recording_is_fused_in_its_own_time(self, proc_info):
        observer = Observer()
        try:
            fused = observer.wait_for_fused(
                # Not FULL: on a busy machine a source may be late all the time.
                lambda m: m.valid and {"camera", "lidar"} <= used(m)
            )
            (sim_time,) = observer.parameters("fusion", "use_sim_time")
        finally:
            observer.close()

        assert fused.valid
        assert sim_time is True

        proc_info.assertWaitForShutdown(process="player", timeout=60)


@launch_testing.post_shutdown_test()
class TestAfterwards(unittest.TestCase):
    def test_the_end_of_the_recording_ends_everything_cleanly(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)
