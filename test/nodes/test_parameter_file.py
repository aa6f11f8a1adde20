"""config/perception.yaml is what the nodes declare, and ROS reads it."""

import functools
import os
import subprocess
import sys
from array import array
from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.context import Context

from edge_perception.encoders import encoders
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.nodes.manager.node import ModelManagerNode
from edge_perception.running.node_arguments import checked_arguments
from edge_perception.running.node_parameters import known_names
from edge_perception.running.parameter_file import parameter_file

CONFIG = Path(__file__).resolve().parents[2] / "config" / "perception.yaml"


def test_the_committed_file_is_current():
    assert CONFIG.read_text() == parameter_file(), (
        "config/perception.yaml differs from what the nodes declare: "
        "edge-perception parameters > config/perception.yaml"
    )


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("fusion", FusionNode),
        ("model_manager", ModelManagerNode),
        *(
            (f"{modality}_encoder", functools.partial(EncoderNode, modality))
            for modality in encoders().specs
        ),
    ],
)
def test_it_lists_what_each_node_declares_with_its_default(harness, name, make):
    node = harness.add(make, parameters={"autostart": False})
    known = known_names(encoders().specs)[name]
    assert [parameter for parameter in known if not node.has_parameter(parameter)] == []
    declared = {  # without lists that are not set
        parameter: value.value
        for parameter, value in node.get_parameters_by_prefix("").items()
        # ROS's own, and those of diagnostic_updater where it is installed
        if parameter != "use_sim_time"
        and not parameter.startswith(("qos_overrides", "start_type", "diagnostic_updater."))
    }
    assert set(declared) <= known
    listed = yaml.safe_load(CONFIG.read_text())[f"/**/{name}"]["ros__parameters"]
    for parameter, value in declared.items():
        if parameter == "autostart":
            continue  # as the test set it
        plain = list(value or []) if isinstance(value, (list, tuple, array, type(None))) else value
        assert listed.get(parameter, []) == plain, parameter  # an empty list is a comment


def test_ros_reads_it_for_a_node_in_any_namespace(tmp_path, ros_domain):
    text = CONFIG.read_text().replace("deadline_s: 0.25", "deadline_s: 99.0", 1)
    assert "deadline_s: 99.0" in text
    (tmp_path / "wrong.yaml").write_text(text)
    result = run_nodes(
        ros_domain, "-r", "__ns:=/robot", "--params-file", str(tmp_path / "wrong.yaml")
    )
    assert result.returncode == 2
    assert "deadline_s: expected 0.01 to 10 s" in result.stderr
    assert "Traceback" not in result.stderr


def run_nodes(ros_domain, *arguments):
    command = [sys.executable, "-m", "edge_perception.nodes.executables", "perception"]
    return subprocess.run(
        [*command, "--ros-args", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "ROS_DOMAIN_ID": str(ros_domain)},
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fusion:\n  ros__parameters:\n    deadlin_s: 0.3\n", "nearest: 'deadline_s'"),
        ("fusion:\n  deadline_s: 0.3\n", "expected ros__parameters"),
        ("fusion: [1\n", "expected YAML"),
    ],
)
def test_nodes_refuse_a_wrong_file_in_one_line(tmp_path, ros_domain, text, says):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    result = run_nodes(ros_domain, "--params-file", str(path))
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if "wrong.yaml" in line]
    assert says in line
    assert "Traceback" not in result.stderr


def test_a_list_with_whole_numbers_among_fractions_reaches_the_node(tmp_path, ros_domain):
    path = tmp_path / "pose.yaml"
    path.write_text(
        "lidar_encoder:\n  ros__parameters:\n    T_base_sensor: [0, 0, 1.73, 0, 0, 0, 1]\n"
    )
    arguments = ["n", "--ros-args", "--params-file", str(path), "-p", "autostart:=false"]
    context = Context()
    with checked_arguments(arguments) as checked:
        rclpy.init(args=checked, context=context)
    node = EncoderNode("lidar", context=context)
    try:
        assert list(node.get_parameter("T_base_sensor").value) == [0, 0, 1.73, 0, 0, 0, 1]
    finally:
        node.close()
        node.destroy_node()
        context.shutdown()
