"""A radar from a plug-in folder in real processes: encoder, fusion, diagnostics, replay."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time

import pytest
import radar
from diagnostic_msgs.msg import DiagnosticArray
from harness import wait_until
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import PointCloud2

from edge_perception import msg
from edge_perception.cli.main import main
from edge_perception.core.errors import ConfigurationError
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.recordings.qos import SENSOR_DATA
from edge_perception.recordings.writer import RecordingWriter, Topic
from edge_perception.running.process_plan import choose_sources
from edge_perception.running.supervised_nodes import node_processes

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 50_000_000


@contextlib.contextmanager
def process(*command: str):
    """A process that must end well when it is asked to."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=60)
            assert running.returncode == 0, said[-3000:]
        finally:
            running.kill()


class Radar:
    """The driver: publishes the car until something came of it."""

    def __init__(self, harness):
        self._publisher = harness.driver.create_publisher(
            PointCloud2, "radar/points", qos_profile_sensor_data
        )

    def until(self, received, accept, what):
        found = []

        def come():
            self._publisher.publish(radar.sweep(time.time_ns()))
            found[:] = [m for m in received.messages if accept(m)]
            return bool(found)

        wait_until(come, what, timeout_s=120)
        return found[0]


def status_of(array, name):
    return next((s for s in array.status if s.name.split(":")[0] == name), None)


def test_the_generic_executable_is_the_encoder(harness, parameters):
    features = harness.subscribe(msg.Feature, "features/radar")
    told = harness.subscribe(DiagnosticArray, "/diagnostics")
    harness.start()
    # The command line of the plan that `run --supervise` follows.
    (spec, *_) = node_processes_of(parameters)
    with process(*spec.command):
        driver = Radar(harness)
        feature = driver.until(features, lambda m: m.objects, "a feature with an object")
        assert (feature.source, feature.modality) == ("radar", "radar")
        assert feature.model.name == "radar_net"
        assert "radar_heat" in {tensor.name for tensor in feature.tensors}
        center = feature.objects[0].center
        assert (center.x, center.y, center.z) == pytest.approx(radar.SEEN_AT)

        def fine(array):
            status = status_of(array, "radar_encoder")
            return status is not None and status.level == b"\0"

        values = status_of(driver.until(told, fine, "diagnostics OK"), "radar_encoder").values
        assert any("reference" in pair.value for pair in values), values


def node_processes_of(parameters):
    sources = choose_sources("", [parameters], namespace="")
    return node_processes(sources, ["--params-file", str(parameters)])


def test_run_fuses_what_it_finds(harness, parameters, bundle, tmp_path):
    """The folder by the command line this time, and the parameter file knows nothing of it."""
    plain = radar.parameters(tmp_path, bundle, plugins=False)
    views = harness.subscribe(msg.FusedPerception, "perception/fused")
    told = harness.subscribe(DiagnosticArray, "/diagnostics")
    harness.start()
    command = [sys.executable, "-m", "edge_perception.cli.main", "run"]
    command += ["--params-file", str(plain), "--plugin-folder", str(radar.EXTENSIONS)]
    with process(*command):
        driver = Radar(harness)
        view = driver.until(
            views,
            lambda m: m.objects and m.mode == msg.FusedPerception.MODE_FULL,
            "a fused view with the car",
        )
        assert [(s.source, s.modality, s.contributed) for s in view.sources] == [
            ("radar", "radar", True)
        ]
        assert view.level == msg.FusedPerception.LEVEL_DECISION
        assert list(view.objects[0].sources) == ["radar"]
        assert view.objects[0].center.x == pytest.approx(radar.SEEN_AT[0])
        driver.until(
            told,
            lambda m: (s := status_of(m, "fusion")) is not None and s.level == b"\0",
            "fusion OK",
        )


def test_a_node_takes_folders_as_a_parameter(harness, bundle):
    values = {"plugin_folders": [str(radar.EXTENSIONS)], "backend": "reference"}
    values |= {"model": "radar_net", "model_folders": [str(bundle.path.parent)]}
    by_parameter = harness.add(EncoderNode, parameters={**values, "modality": "radar"})
    named = ["--ros-args", "-r", "__node:=radar_rear_encoder"]
    by_name = harness.add(EncoderNode, parameters=values, cli_args=named)
    for node, source in ((by_parameter, "radar"), (by_name, "radar_rear")):
        assert node.is_active
        assert node.get_parameter("source").value == source
    harness.start()


def test_a_node_of_one_modality_is_no_other(harness):
    with pytest.raises(ConfigurationError, match="modality: expected 'camera', got 'lidar'"):
        harness.add(EncoderNode, "camera", parameters={"modality": "lidar"})
    harness.start()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "encoder: modality: expected one of audio, camera, lidar, got none"),
        (["--modality", "sonar"], "unknown modality 'sonar'; known: audio, camera, lidar"),
        (["--ros-args", "-r", "__node:=sonar_encoder"], "source 'sonar'; known: audio, camera"),
    ],
)
def test_the_generic_executable_says_which_modalities_there_are(ros_domain, arguments, text):
    command = [sys.executable, "-m", "edge_perception.nodes.executables", "encoder", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 2
    assert text in done.stderr


def test_validate_replays_it_in_processes_of_its_own(tmp_path, parameters, capsys):
    bag = tmp_path / "radar.mcap"
    with RecordingWriter(bag) as writer:
        kind = "sensor_msgs/msg/PointCloud2"
        writer.add_topic(Topic(name="/radar/points", type=kind, qos=SENSOR_DATA))
        for index in range(80):
            stamp_ns = START_NS + index * PERIOD_NS
            data = serialize_message(radar.sweep(stamp_ns))
            writer.write("/radar/points", data, log_time_ns=stamp_ns + 5_000_000)
    command = ["validate", str(bag), "--params-file", str(parameters), "--quiet"]
    command += ["--segment", "2", "--warm-up", "0.5", "--jobs", "2", "--noise", "radar:0.1"]
    assert main([*command, "--out", str(tmp_path / "report")]) == 0, capsys.readouterr()
    lines = (tmp_path / "report" / "fused.jsonl").read_text().splitlines()
    views = [json.loads(line) for line in lines]
    assert len(views) > 70
    full = [view for view in views if view["mode"] == "FULL"]
    assert len(full) > 60
    assert all(view["objects"][0]["sources"] == ["radar"] for view in full)
