"""Encoder nodes that get their pose from tf2_msgs; run by test_interfaces with that package."""

from __future__ import annotations

import random
import time

import pytest
import sensors
from any_value import spoiled
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from harness import wait_until
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2
from tf2_msgs.msg import TFMessage

from edge_perception import msg
from edge_perception.nodes.conversion import feature_from_msg
from edge_perception.nodes.encoder.node import EncoderNode

STATIC = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STRAIGHT, OPTICAL = (0.0, 0.0, 0.0, 1.0), (-0.5, 0.5, -0.5, 0.5)


def step(parent, child, position, turn=STRAIGHT, stamp_ns=0):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = parent, sensors.time_msg(stamp_ns)
    place, rotation = message.transform.translation, message.transform.rotation
    place.x, place.y, place.z = position
    rotation.x, rotation.y, rotation.z, rotation.w = turn
    return message


def latch(harness, *transforms):
    """Publish /tf_static; a broadcaster lives as long as its node."""
    publisher = harness.driver.create_publisher(TFMessage, "/tf_static", STATIC)
    publisher.publish(TFMessage(transforms=transforms))
    return publisher


class Sensor:
    """One encoder and its driver."""

    def __init__(self, harness, modality, **parameters):
        self.modality = modality
        self.harness = harness
        self.node = harness.add(EncoderNode, modality, parameters=parameters)
        assert self.node.is_active
        kind, topic = {
            "lidar": (PointCloud2, "lidar/points"),
            "camera": (Image, "camera/image_raw"),
        }[modality]
        self.features = harness.subscribe(msg.Feature, f"features/{modality}")
        self.diagnostics = harness.subscribe(DiagnosticArray, "/diagnostics")
        self.publisher = harness.driver.create_publisher(kind, topic, qos_profile_sensor_data)
        harness.start()
        wait_until(
            lambda: (
                self.publisher.get_subscription_count()
                and harness.driver.count_publishers(f"features/{modality}")
            ),
            "discovery",
        )
        if modality == "camera":
            sensors.calibrate(harness.driver, self.node)

    def feature(self, accept=lambda _: True, stamp_ns=None):
        """Send frames until one gives a feature that is accepted."""
        found = []

        def came():
            at_ns = stamp_ns if stamp_ns is not None else time.time_ns()
            is_lidar = self.modality == "lidar"
            sent = sensors.cloud(at_ns, height_m=1.0) if is_lidar else sensors.image(at_ns)
            self.publisher.publish(sent)
            found[:] = [f for f in map(feature_from_msg, self.features.messages) if accept(f)]
            return bool(found)

        wait_until(came, "a feature like that")
        return found[-1]

    def told(self, text):
        """Send frames until diagnostics warn of something."""

        def says():
            self.feature()
            return any(
                status.level == DiagnosticStatus.WARN and text in status.message
                for array in self.diagnostics.messages
                for status in array.status
            )

        wait_until(says, f"a warning: {text}")


def test_a_static_chain_that_was_latched_before_places_the_lidar(harness):
    latch(
        harness,
        step("/base_link", "/mast", (1.0, 0.0, 1.0)),
        step("mast", "lidar", (0.0, 0.5, 0.7)),
    )
    feature = Sensor(harness, "lidar").feature(lambda f: f.geometry.pose_source == "tf")
    assert feature.geometry.T_base_sensor[:3, 3].tolist() == [1.0, 0.5, 1.7]
    assert feature.valid
    assert not feature.warning


def test_static_transforms_of_somebody_who_does_not_keep_them(harness):
    publisher = harness.driver.create_publisher(TFMessage, "/tf_static", 10)
    sensor = Sensor(harness, "lidar")

    def placed():
        publisher.publish(TFMessage(transforms=[step("base_link", "lidar", (0.0, 0.0, 1.7))]))
        return sensor.feature().geometry.pose_source == "tf"

    wait_until(placed, "a pose from a player that repeats /tf_static")


def test_the_parameter_comes_before_tf(harness):
    latch(harness, step("base_link", "lidar", (9.0, 0.0, 0.0)))
    sensor = Sensor(harness, "lidar", T_base_sensor=[0.0, 0.0, 1.7, 0.0, 0.0, 0.0, 1.0])
    feature = sensor.feature()
    assert feature.geometry.pose_source == "parameter"
    assert feature.geometry.T_base_sensor[:3, 3].tolist() == [0.0, 0.0, 1.7]


def test_no_pose_at_all_is_a_warning_that_ends_when_tf_gives_one(harness):
    sensor = Sensor(harness, "lidar")
    feature = sensor.feature()
    assert feature.valid
    assert feature.geometry.pose_source == ""
    assert "lidar: no pose of the sensor: T_base_sensor is not set" in feature.warning
    sensor.told("no pose of the sensor")
    latch(harness, step("base_link", "lidar", (0.0, 0.0, 1.7)))
    feature = sensor.feature(lambda f: f.geometry.pose_source == "tf")
    assert not feature.warning


def test_a_frame_that_tf_does_not_know_is_named_with_those_it_knows(harness):
    latch(harness, step("base_link", "lidar_top", (0.0, 0.0, 1.7)))
    sensor = Sensor(harness, "lidar")
    feature = sensor.feature(lambda f: "lidar_top" in f.warning)
    assert "did you mean 'lidar_top'?" in feature.warning


def test_a_moving_mount_is_where_it_was_at_the_stamp_of_the_frame(harness):
    publisher = harness.driver.create_publisher(TFMessage, "/tf", 10)
    sensor = Sensor(harness, "lidar")
    wait_until(publisher.get_subscription_count, "tf is heard")
    start_ns = time.time_ns()
    for index in range(5):
        lift = step(
            "base_link", "lidar", (0.0, 0.0, 1.0 + index), stamp_ns=start_ns + index * 10**8
        )
        publisher.publish(TFMessage(transforms=[lift]))
    tree, last_ns = sensor.node._transforms.tree, start_ns + 4 * 10**8
    wait_until(
        lambda: (
            "lidar" in tree.frames and tree.lookup("base_link", "lidar", last_ns).T[2, 3] == 5.0
        ),
        "all transforms are known",
    )
    feature = sensor.feature(stamp_ns=start_ns + 250_000_000)
    assert feature.geometry.T_base_sensor[2, 3] == pytest.approx(3.5)


def test_a_camera_with_the_frame_of_its_body_is_told_that_it_looks_into_the_sky(harness):
    latch(harness, step("base_link", "camera_optical", (1.5, 0.0, 1.4)))
    sensor = Sensor(harness, "camera")
    feature = sensor.feature(lambda f: f.geometry.pose_source == "tf")
    assert "looks into the sky" in feature.warning
    sensor.told("body frame (x forward, z up)")


def test_a_camera_with_its_optical_frame_is_not(harness):
    latch(harness, step("base_link", "camera_optical", (1.5, 0.0, 1.4), OPTICAL))
    sensor = Sensor(harness, "camera")
    feature = sensor.feature(lambda f: f.geometry.pose_source == "tf")
    assert "sky" not in feature.warning
    assert feature.geometry.intrinsics is not None


def test_broken_transforms_end_nothing(harness):
    latch(
        harness,
        step("base_link", "lidar", (float("nan"), 0.0, 0.0)),
        step("", "", (0.0, 0.0, 0.0)),
        step("base_link", "lidar", (0.0, 0.0, 1.7), (0.0, 0.0, 0.0, 0.0)),
        step("base_link", "mast", (0.0, 0.0, 1.0)),
        step("mast", "lidar", (0.0, 0.0, 0.7)),
    )
    feature = Sensor(harness, "lidar").feature(lambda f: f.geometry.pose_source == "tf")
    assert feature.geometry.T_base_sensor[2, 3] == pytest.approx(1.7)


def test_no_value_of_any_field_of_a_transform_ends_anything(harness):
    sensor = Sensor(harness, "lidar")
    publisher = harness.driver.create_publisher(TFMessage, "/tf", 100)
    wait_until(publisher.get_subscription_count, "tf is heard")
    message = TFMessage(transforms=[step("base_link", "lidar", (0.0, 0.0, 1.7))])
    arrivals = sensor.node._inlet.arrivals

    def fresh():
        message.transforms[0].header.stamp = sensors.time_msg(time.time_ns())

    for what, data in spoiled(message, random.Random(21), fresh=fresh, mixed=30):
        before = arrivals()["/tf"].received
        publisher.publish(data)
        wait_until(lambda before=before: arrivals()["/tf"].received > before, what, period_s=0.0005)
    assert harness.callback_errors == []

    def good():
        fresh()
        publisher.publish(message)
        return sensor.feature().geometry.T_base_sensor[2, 3] == pytest.approx(1.7)

    wait_until(good, "the pose of a good transform")
