"""A driver that starts anew, with other stamps, sizes or encodings, costs one frame at most."""

from __future__ import annotations

import time

import numpy as np
import pytest
import sensors
from diagnostic_msgs.msg import DiagnosticArray
from harness import wait_until
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2, PointField

from edge_perception import msg
from edge_perception.nodes.encoder.node import EncoderNode

ERROR = b"\x02"


def start(harness, modality, type_, topic, qos=qos_profile_sensor_data):
    node = harness.add(EncoderNode, modality)
    features = harness.subscribe(msg.Feature, f"features/{modality}")
    diagnostics = harness.subscribe(DiagnosticArray, "/diagnostics")
    publisher = harness.driver.create_publisher(type_, topic, qos)
    harness.start()
    wait_until(
        lambda: (
            publisher.get_subscription_count()
            and harness.driver.count_publishers(f"features/{modality}")
        ),
        "discovery",
    )
    return node, features, diagnostics, publisher


def errors(diagnostics):
    """Texts of ERROR, but for that nothing came: a busy machine is no fault of the driver."""
    said = [status for array in diagnostics.messages for status in array.status]
    texts = [status.message for status in said if status.level == ERROR]
    return [text for text in texts if not text.startswith("no message")]


def test_a_camera_of_another_size_and_encoding(harness):
    node, features, diagnostics, publisher = start(harness, "camera", Image, "camera/image_raw")
    sensors.calibrate(harness.driver, node)
    for width, encoding in ((320, "bgr8"), (320, "bgr8"), (640, "rgb8"), (640, "rgb8")):
        image = sensors.image(time.time_ns(), width=width, height=width * 3 // 4)
        image.encoding = encoding
        since = len(features.messages)
        publisher.publish(image)
        assert features.wait(since=since).valid
    assert errors(diagnostics) == []


def test_a_lidar_of_another_layout_and_another_clock(harness):
    _, features, diagnostics, publisher = start(harness, "lidar", PointCloud2, "lidar/points")
    clouds = [sensors.cloud(time.time_ns()), sensors.cloud(time.time_ns(), points=7000)]
    since_boot = sensors.cloud(4_000_000_000, points=3000)
    values = np.frombuffer(since_boot.data, np.float32).reshape(-1, 4)
    since_boot.fields = [
        PointField(name=name, offset=8 * index, datatype=PointField.FLOAT64, count=1)
        for index, name in enumerate("xyz")
    ]
    since_boot.point_step, since_boot.row_step = 24, 0
    since_boot.data = sensors.filled(values[:, :3].astype(np.float64))
    for cloud in (*clouds, since_boot):
        since = len(features.messages)
        publisher.publish(cloud)
        assert features.wait(since=since).valid
    assert errors(diagnostics) == []


@pytest.mark.parametrize(
    ("rate_hz", "first_index"), [(sensors.RATE_HZ, 0), (48_000, 0), (48_000, 12 * sensors.CHUNK)]
)
def test_a_sound_card_that_starts_anew(harness, rate_hz, first_index):
    node, features, diagnostics, publisher = start(harness, "audio", msg.AudioChunk, "audio", 50)
    first_ns = time.time_ns()
    for index in range(12):
        publisher.publish(sensors.chunk(first_ns + index * 10**8, index * sensors.CHUNK))
    features.wait(lambda feature: feature.valid)
    since = len(features.messages)
    samples = rate_hz // 10
    for index in range(4):
        message = sensors.chunk(
            first_ns + (40 + index) * 10**8, first_index + index * samples, samples=samples
        )
        message.sample_rate = rate_hz
        publisher.publish(message)
    warned = features.wait(lambda feature: feature.warning, since=since)
    assert "the device started anew" in warned.warning
    assert sum(not feature.valid for feature in features.messages) <= 1
    assert node.health().values["restarts"] == "1"
    assert errors(diagnostics) == []
