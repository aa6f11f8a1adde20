"""perception.launch.py, every node a process: run by test_launch.py or `launch_test FILE`."""

import os
import signal
import sys
import unittest
from pathlib import Path

import launch
import launch_testing.actions
import launch_testing.asserts
import psutil
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from edge_perception.core.share import share_file
from edge_perception.msg import FusedPerception, SourceStatus
from edge_perception.running.transport import transport_environment

sys.path.insert(0, str(Path(__file__).parent))
from observer import Observer

NODES = ("camera_encoder", "lidar_encoder", "audio_encoder", "fusion", "model_manager")


def generate_test_description():
    source = PythonLaunchDescriptionSource(str(share_file("launch/perception.launch.py")))
    return launch.LaunchDescription(
        [IncludeLaunchDescription(source), launch_testing.actions.ReadyToTest()]
    )


def command_of(process):
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


def process_of(executable):
    children = psutil.Process().children(recursive=True)
    found = [c for c in children if any(a.endswith(f"/{executable}") for a in command_of(c))]
    assert len(found) == 1, f"{executable}: {found}"
    return found[0]


class TestRunning(unittest.TestCase):
    def setUp(self):
        self.observer = Observer()

    def tearDown(self):
        self.observer.close()

    def test_all_nodes_become_active_and_fusion_says_that_no_sensor_is_there(self):
        for node in NODES:
            self.observer.wait_for_state(node, "active")

        fused = self.observer.wait_for_fused(lambda m: m.mode == FusedPerception.MODE_NONE)

        assert not fused.valid
        assert {s.source for s in fused.sources} == {"camera", "lidar", "audio"}
        assert {s.state for s in fused.sources} == {SourceStatus.MISSING}

    def test_nodes_get_the_transport_environment(self):
        wanted = transport_environment({})
        environment = process_of("camera_encoder").environ()
        assert {name: environment.get(name) for name in wanted} == wanted

    def test_a_killed_node_is_started_again(self):
        self.observer.wait_for_state("lidar_encoder", "active")
        killed = process_of("lidar_encoder").pid

        os.kill(killed, signal.SIGKILL)

        self.observer.wait("end of the killed process", lambda: not psutil.pid_exists(killed))
        self.observer.wait_for_state("lidar_encoder", "active")
        assert process_of("lidar_encoder").pid != killed


@launch_testing.post_shutdown_test()
class TestAfterwards(unittest.TestCase):
    def test_nodes_end_cleanly(self, proc_info):
        codes = {info.process_name: info.returncode for info in proc_info}
        assert len(codes) >= len(NODES)
        # The process that was killed above is listed with the signal.
        assert all(
            code == 0 or (code == -signal.SIGKILL and "lidar" in name)
            for name, code in codes.items()
        ), codes
