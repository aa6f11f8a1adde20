"""config/perception.yaml is what the nodes declare, and ROS reads it."""

import functools
import os
import subprocess
import sys
from array import array
from pathlib import Path

import pytest
import yaml

from edge_perception.encoders import encoders
from edge_perception.nodes.encoder_node import EncoderNode
from edge_perception.nodes.fusion_node import FusionNode
from edge_perception.nodes.model_manager_node import ModelManagerNode
from edge_perception.nodes.parameter_file import parameter_file
from edge_perception.running.node_parameters import known_names

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
    command = [sys.executable, "-m", "edge_perception.nodes.executables"]
    command += ["perception", "--ros-args"]
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
