"""The aggregator's configuration takes every status that the nodes say, each once.

`diagnostic_aggregator` is C++ and not among the wheels: the rules of its GenericAnalyzer are
applied here to what running nodes publish.
"""

from __future__ import annotations

import itertools
import re
import time

import pytest
import rclpy
import sensors
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2

from edge_perception.core.share import share_file
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.nodes.manager.node import ModelManagerNode
from edge_perception.nodes.recorder.node import EventRecorderNode
from edge_perception.nodes.recorder.plan import RecordPlan
from edge_perception.recordings.ring import RingOptions
from edge_perception.recordings.triggers import TriggerOptions

EXPECTED = {
    "camera_encoder": "Encoders",
    "lidar_encoder": "Encoders",
    "audio_encoder": "Encoders",
    "fusion": "Fusion",
    "fusion: camera": "Sources",
    "fusion: lidar": "Sources",
    "fusion: audio": "Sources",
    "model_manager": "Models",
    "event_recorder": "Recorder",
}


def analyzers():
    data = yaml.safe_load(share_file("config/diagnostic_aggregator.yaml").read_text())
    return data["/**"]["ros__parameters"]["analyzers"].values()


def takes(analyzer, name: str) -> bool:
    """Whether a GenericAnalyzer takes a status: any of its rules, each a string or a list."""
    rules = {
        "startswith": lambda rule: name.startswith(rule),
        "contains": lambda rule: rule in name,
        "expected": lambda rule: name == rule,
        "name": lambda rule: name == rule,
        "regex": lambda rule: re.fullmatch(rule, name) is not None,
    }
    return any(
        rules[kind](rule)
        for kind in rules.keys() & analyzer.keys()
        for rule in ([analyzer[kind]] if isinstance(analyzer[kind], str) else analyzer[kind])
    )


def paths(name: str) -> list[str]:
    return [item["path"] for item in analyzers() if takes(item, name)]


@pytest.mark.parametrize("namespace", ["", "robot_1/"])
def test_every_name_has_one_place(namespace):
    for name, path in EXPECTED.items():
        assert paths(namespace + name) == [path]
    assert not paths("somebody_else"), "other nodes are left to other analyzers"


def test_the_nodes_say_these_names_and_no_other(harness, tmp_path):
    for modality in ("camera", "lidar", "audio"):
        harness.add(EncoderNode, modality)
    harness.add(FusionNode)
    harness.add(ModelManagerNode)
    plan = RecordPlan.of(params_files=[])
    recorder = EventRecorderNode(
        plan, RingOptions(), TriggerOptions(), tmp_path, context=harness.context
    )
    try:
        said = harness.subscribe(DiagnosticArray, "/diagnostics")
        publisher = harness.driver.create_publisher(
            PointCloud2, "lidar/points", qos_profile_sensor_data
        )
        harness.driver.create_timer(
            0.1, lambda: publisher.publish(sensors.cloud(time.time_ns(), points=500))
        )
        harness.start()

        def names():
            return {status.name for array in said.messages for status in array.status}

        said.wait(lambda _: names() >= EXPECTED.keys())
        assert names() == EXPECTED.keys()
    finally:
        recorder.close()
        rclpy.try_shutdown(context=harness.context)


@pytest.mark.parametrize("name", ["fusion", "fusion: lidar"])
def test_a_status_is_said_more_often_than_the_timeout(harness, name):
    harness.add(FusionNode, parameters={"sources": ["lidar"], "model": ""})
    said = harness.subscribe(DiagnosticArray, "/diagnostics")
    harness.start()

    def moments_s():
        stamps = [a.header.stamp for a in said.messages if any(s.name == name for s in a.status)]
        return [stamp.sec + stamp.nanosec * 1e-9 for stamp in stamps]

    said.wait(lambda _: len(moments_s()) >= 3)
    gaps_s = [after - before for before, after in itertools.pairwise(moments_s())]
    assert max(gaps_s) < min(item["timeout"] for item in analyzers())
