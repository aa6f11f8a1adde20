"""A camera node whose driver publishes raw and compressed: one of them is listened to."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
import sensors
from diagnostic_msgs.msg import DiagnosticArray
from harness import wait_until
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from edge_perception import msg
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.topics import endpoints

RAW, COMPRESSED = "camera/image_raw", "camera/image_raw/compressed"


class Driver:
    """Publishes one picture in the ways it is asked for."""

    def __init__(self, harness, **parameters):
        self.harness = harness
        self.node = harness.add(EncoderNode, "camera", parameters=parameters)
        self.features = harness.subscribe(msg.Feature, "features/camera")
        self.diagnostics = harness.subscribe(DiagnosticArray, "/diagnostics")
        self.publishers = {
            RAW: harness.driver.create_publisher(Image, RAW, qos_profile_sensor_data),
            COMPRESSED: harness.driver.create_publisher(
                CompressedImage, COMPRESSED, qos_profile_sensor_data
            ),
        }
        harness.start()
        sensors.calibrate(harness.driver, self.node)
        wait_until(lambda: harness.driver.count_publishers("features/camera") > 0, "discovery")

    def show(self, *topics):
        stamp_ns = time.time_ns()
        image = sensors.image(stamp_ns)
        for topic in topics:
            message = image
            if topic == COMPRESSED:
                pixels = np.frombuffer(image.data, np.uint8).reshape(240, 320, 3)
                data = cv2.imencode(".jpg", pixels)[1]
                message = CompressedImage(format="jpeg", data=sensors.filled(data))
                message.header = image.header
            self.publishers[topic].publish(message)

    def show_until(self, condition, what, *topics):
        def shown():
            self.show(*topics)
            return condition()

        wait_until(shown, what, period_s=0.1)

    def subscribed(self, topic):
        return self.publishers[topic].get_subscription_count()

    def stamps(self):
        return [
            feature.header.stamp.sec * 10**9 + feature.header.stamp.nanosec
            for feature in self.features.messages
        ]


def test_with_both_published_raw_counts_and_the_other_is_not_listened_to(harness):
    driver = Driver(harness)
    driver.show_until(
        lambda: driver.subscribed(RAW) and not driver.subscribed(COMPRESSED),
        "only raw is subscribed", RAW, COMPRESSED,
    )  # fmt: skip
    since = len(driver.features.messages)
    driver.show_until(
        lambda: len(driver.features.messages) >= since + 3, "features", RAW, COMPRESSED
    )
    assert all(feature.valid for feature in driver.features.messages)
    assert len(driver.stamps()) == len(set(driver.stamps())), "a frame counted twice"
    status = driver.diagnostics.wait(
        lambda array: any(
            item.key == "input" and item.value.startswith("raw")
            for status in array.status
            for item in status.values
        )
    ).status[0]
    values = {item.key: item.value for item in status.values}
    assert values["input"] == f"raw (/{RAW})"
    assert values["input_not_used"] == f"compressed (/{COMPRESSED})"


def test_raw_dies_and_comes_again(harness):
    driver = Driver(harness, rate_hz=20.0)
    driver.show_until(lambda: not driver.subscribed(COMPRESSED), "raw alone", RAW)
    since = len(driver.features.messages)
    driver.show_until(
        lambda: len(driver.features.messages) > since + 2, "features of compressed", COMPRESSED
    )
    driver.show_until(
        lambda: driver.subscribed(RAW) and not driver.subscribed(COMPRESSED),
        "raw again", RAW, COMPRESSED,
    )  # fmt: skip
    assert all(feature.valid for feature in driver.features.messages)


@pytest.mark.parametrize(("way", "other"), [("compressed", RAW), ("raw", COMPRESSED)])
def test_a_parameter_names_the_way(harness, way, other):
    driver = Driver(harness, input=way)
    driver.show_until(lambda: len(driver.features.messages) > 2, "features", RAW, COMPRESSED)
    assert not driver.subscribed(other)


def test_two_drivers_on_one_topic_are_named_once_it_is_no_ghost(harness, monkeypatch):
    """Frames of two cameras, or a player beside the driver; a killed one is gone in 25 s."""
    driver = Driver(harness)
    driver.show_until(lambda: len(driver.features.messages) > 2, "features", RAW)
    other = harness.driver.create_publisher(Image, RAW, qos_profile_sensor_data)
    wait_until(lambda: driver.node.count_publishers(RAW) == 2, "both are in the graph")
    assert "publishers (" not in driver.node.health().message
    monkeypatch.setattr(endpoints, "GONE_AFTER_S", 0.2)

    def said():
        driver.show(RAW)
        return f"/{RAW} has 2 publishers (/driver, /driver): frames mix" in (
            driver.node.health().message
        )

    wait_until(said, "two publishers are named", period_s=0.05)
    harness.driver.destroy_publisher(other)

    def gone():
        driver.show(RAW)
        return "publishers (" not in driver.node.health().message

    wait_until(gone, "one is left", period_s=0.05)
