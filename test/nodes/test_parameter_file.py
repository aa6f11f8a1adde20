"""config/perception.yaml is what the nodes declare, and ROS reads it."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from edge_perception.nodes.fusion_node import FusionNode
from edge_perception.nodes.parameter_file import parameter_file

CONFIG = Path(__file__).resolve().parents[2] / "config" / "perception.yaml"


def test_the_committed_file_is_current():
    assert CONFIG.read_text() == parameter_file(), (
        "config/perception.yaml differs from what the nodes declare: "
        "edge-perception parameters > config/perception.yaml"
    )


def test_it_lists_every_parameter_of_fusion_with_its_default(harness):
    node = harness.add(FusionNode, parameters={"autostart": False})
    listed = yaml.safe_load(CONFIG.read_text())["/**/fusion"]["ros__parameters"]
    declared = {
        name: parameter.value
        for name, parameter in node.get_parameters_by_prefix("").items()
        if name not in ("use_sim_time", "model_folders", "provider_options", "autostart")
        # ROS's own, and those of diagnostic_updater where it is installed
        and not name.startswith(("qos_overrides", "start_type", "diagnostic_updater."))
    }
    for name, value in declared.items():
        assert listed[name] == (list(value) if isinstance(value, (list, tuple)) else value), name
    assert set(listed) == {*declared, "autostart"}


def test_ros_reads_it_for_a_node_in_any_namespace(tmp_path, ros_domain):
    text = CONFIG.read_text().replace("deadline_s: 0.25", "deadline_s: 99.0", 1)
    assert "deadline_s: 99.0" in text
    (tmp_path / "wrong.yaml").write_text(text)
    command = [sys.executable, "-m", "edge_perception.nodes.composition", "--ros-args"]
    result = subprocess.run(
        [*command, "-r", "__ns:=/robot", "--params-file", str(tmp_path / "wrong.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "ROS_DOMAIN_ID": str(ros_domain)},
        check=False,
    )
    assert result.returncode == 2
    assert "deadline_s: expected 0.01 to 10 s" in result.stderr
    assert "Traceback" not in result.stderr
