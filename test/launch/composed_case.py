"""perception.launch.py composed in one process: run by test_launch.py or `launch_test FILE`."""

import sys
import unittest
from pathlib import Path

import launch
import launch_testing.actions
import launch_testing.asserts
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from edge_perception.core.share import share_file

sys.path.insert(0, str(Path(__file__).parent))
from observer import Observer

ARGUMENTS = {
    "composed": "True",  # as other packages' launch files hand it on
    "namespace": "car",
    "sources": "camera_front, lidar",
    "autostart": "False",
    "log_level": "warn",
    "model_store": "/nowhere/store",
    "trust_file": "/nowhere/trust.json",
}


def generate_test_description():
    source = PythonLaunchDescriptionSource(str(share_file("launch/perception.launch.py")))
    include = IncludeLaunchDescription(source, launch_arguments=ARGUMENTS.items())
    return launch.LaunchDescription([include, launch_testing.actions.ReadyToTest()])


class TestRunning(unittest.TestCase):
    def setUp(self):
        self.observer = Observer(namespace="car")

    def tearDown(self):
        self.observer.close()

    def test_arguments_reach_the_nodes(self):
        # autostart is off: a node manager would configure them.
        for node in ("camera_front_encoder", "lidar_encoder", "fusion", "model_manager"):
            self.observer.wait_for_state(node, "unconfigured")

        assert self.observer.parameters("fusion", "sources", "autostart", "use_sim_time") == [
            ["camera_front", "lidar"],
            False,
            False,
        ]
        assert self.observer.parameters("camera_front_encoder", "source") == ["camera_front"]
        for node in ("lidar_encoder", "fusion", "model_manager"):
            assert self.observer.parameters(node, "model_store") == ["/nowhere/store"]
        assert self.observer.parameters("model_manager", "trust_file") == ["/nowhere/trust.json"]
        nodes = dict(self.observer.node.get_node_names_and_namespaces())
        assert nodes["fusion"] == "/car"
        assert "audio_encoder" not in nodes


@launch_testing.post_shutdown_test()
class TestAfterwards(unittest.TestCase):
    def test_one_process_ends_cleanly(self, proc_info):
        assert len(list(proc_info)) == 1
        launch_testing.asserts.assertExitCodes(proc_info)
