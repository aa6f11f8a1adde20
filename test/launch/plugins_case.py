"""perception.launch.py with a radar of a plug-in folder: run by test_launch.py."""

import sys
import tempfile
import unittest
from pathlib import Path

import launch
import launch_testing.actions
import launch_testing.asserts
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from edge_perception.core.share import share_file

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "plugins"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "models"))
import radar
from observer import Observer


def generate_test_description():
    folder = Path(tempfile.mkdtemp(prefix="edge_perception_test_"))
    bundle = radar.import_bundle(folder)
    parameters = radar.parameters(folder, bundle, plugins=False)
    arguments = {"params_file": str(parameters), "plugin_folders": str(radar.EXTENSIONS)}
    source = PythonLaunchDescriptionSource(str(share_file("launch/perception.launch.py")))
    include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    return launch.LaunchDescription([include, launch_testing.actions.ReadyToTest()])


class TestRunning(unittest.TestCase):
    def setUp(self):
        self.observer = Observer()

    def tearDown(self):
        self.observer.close()

    def test_the_radar_has_its_encoder(self):
        for node in ("radar_encoder", "fusion"):
            self.observer.wait_for_state(node, "active")
        known = self.observer.parameters("radar_encoder", "modality", "source", "backend")
        assert known == ["radar", "radar", "reference"]
        for node in ("radar_encoder", "fusion", "model_manager"):
            assert self.observer.parameters(node, "plugin_folders") == [[str(radar.EXTENSIONS)]]


@launch_testing.post_shutdown_test()
class TestAfterwards(unittest.TestCase):
    def test_processes_end_cleanly(self, proc_info):
        names = sorted(Path(info.cmd[0]).name for info in proc_info)
        assert names == ["encoder", "fusion", "model_manager"]
        launch_testing.asserts.assertExitCodes(proc_info)
