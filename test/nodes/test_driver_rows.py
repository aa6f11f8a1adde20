"""The rows of docs/drivers.md through real nodes: their parameters are taken, the state is theirs.

What is decoded is held by test/unit/drivers; here the same messages go over the wire. The audio
packages are not among the wheels: audio_common_case.py has them.
"""

from __future__ import annotations

import json
from array import array
from types import SimpleNamespace

import driver_clouds
import driver_images
import driver_sounds
import pytest
from driver_case import REFUSED, WARN
from driver_table import rows
from harness import wait_until
from rclpy.qos import qos_profile_sensor_data

from edge_perception import msg
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.topics.message_types import is_installed, message_type

CASES = [
    case
    for case in (*driver_clouds.CASES, *driver_images.CASES, *driver_sounds.CASES)
    if is_installed(case.kind)
]
ROWS = {row.name: row for row in rows()}
TOPICS = {
    driver_clouds.CLOUD: "points",
    driver_images.IMAGE: "image_raw",
    driver_images.COMPRESSED: "image_raw/compressed",
    driver_images.INFO: "camera_info",
    driver_sounds.CHUNK: "",
}


def real(message, values):
    """Fill a message of rclpy with the attributes of a stand-in."""
    for name, value in vars(values).items():
        if isinstance(value, SimpleNamespace):
            real(getattr(message, name), value)
        elif isinstance(value, list) and value and isinstance(value[0], SimpleNamespace):
            kind = message_type("sensor_msgs/msg/PointField")
            setattr(message, name, [real(kind(), each) for each in value])
        else:
            data = array("B", value) if isinstance(value, bytes) else value
            setattr(message, name, data)
    return message


def key_of(case):
    """Cases with one key share a node; one without a calibration has none from another case."""
    alone = any("camera_info" in text for text in case.says) or is_rectified(case)
    alone = case.name if alone else ""
    return (case.modality, json.dumps(parameters_of(case), sort_keys=True), alone)


def is_rectified(case):
    """Whether the topic's own name matters: such a row keeps it, by a remapping."""
    return "image_rect" in ROWS[case.row].topic


def parameters_of(case):
    return {**ROWS[case.row].parameters, **case.parameters}


class Nodes:
    """One encoder for each set of parameters there is in the table."""

    def __init__(self, harness):
        self.harness, self.sources, self.features, self.publishers = harness, {}, {}, {}
        self.number = {}
        for case in CASES:
            parameters, key = parameters_of(case), key_of(case)
            source = self.sources.get(key)
            if source is None:
                source = self.sources[key] = f"{case.modality}_{len(self.sources)}"
                topic, name = ROWS[case.row].topic, f"{source}/{TOPICS[case.kind]}"
                remaps = ["--ros-args", "-r", f"{name}:={topic}"] if is_rectified(case) else []
                node = harness.add(
                    EncoderNode, case.modality, source=source, parameters=parameters,
                    cli_args=remaps,
                )  # fmt: skip
                assert node.is_active
                self.features[source] = harness.subscribe(msg.Feature, f"features/{source}")
        harness.start()

    def of(self, case):
        return self.sources[key_of(case)]

    def publish(self, source, kind, values, topic=""):
        name = topic or f"{source}/{TOPICS[kind]}".rstrip("/")
        qos = 50 if kind == driver_sounds.CHUNK else qos_profile_sensor_data
        publisher = self.publishers.get(name)
        if publisher is None:
            publisher = self.harness.driver.create_publisher(message_type(kind), name, qos)
            self.publishers[name] = publisher
            wait_until(publisher.get_subscription_count, f"somebody listens to {name}")
        publisher.publish(real(message_type(kind)(), values))

    def next(self, source):
        """Number of the next frame: none comes twice."""
        self.number[source] = self.number.get(source, -1) + 1
        return self.number[source]


@pytest.fixture(scope="module")
def nodes(shared_harness):
    return Nodes(shared_harness)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_state_is_that_of_the_page(nodes, case):
    source, found = nodes.of(case), nodes.features
    since = len(found[source].messages)

    def as_said(feature):
        said = f"{feature.warning} {feature.invalid_reason}"
        if not all(text in said for text in case.says):
            return False
        if case.state == REFUSED:
            return not feature.valid
        return feature.valid and bool(feature.warning) is (case.state == WARN)

    def came():
        topic = ROWS[case.row].topic if is_rectified(case) else ""
        beside = f"{topic.rpartition('/')[0]}/camera_info" if topic else ""
        for kind, values in case.before:
            nodes.publish(source, kind, values, beside)
        nodes.publish(source, case.kind, case.make(nodes.next(source)), topic)
        return any(map(as_said, found[source].messages[since:]))

    wait_until(came, f"a feature that is {case.state} {case.says}", period_s=0.03)
