"""What belongs to a sensor's base topic moves with a remap of it, as with image_transport."""

from __future__ import annotations

import time

import pytest
import sensors
from diagnostic_msgs.msg import DiagnosticArray
from harness import wait_until
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from edge_perception.msg import Feature, FusedPerception
from edge_perception.nodes.encoder.input_topics import input_topic
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.running.process_plan import topic_remaps

SAID = "the one before is used"
IMAGE, COMPRESSED, INFO = (
    "camera/image_raw",
    "camera/image_raw/compressed",
    "camera/camera_info",
)


@pytest.mark.parametrize(
    ("remaps", "expected"),
    [
        ([], ("/car/" + IMAGE, "/car/" + COMPRESSED, "/car/" + INFO)),
        (
            ["camera/image_raw:=/front/image_rect"],
            ("/front/image_rect", "/front/image_rect/compressed", "/front/camera_info"),
        ),
        (
            ["camera/image_raw:=front/image"],
            ("/car/front/image", "/car/front/image/compressed", "/car/front/camera_info"),
        ),
        (["camera/image_raw:=/image"], ("/image", "/image/compressed", "/camera_info")),
        (
            ["camera/image_raw:=/front/image", "camera/camera_info:=/elsewhere/info"],
            ("/front/image", "/front/image/compressed", "/elsewhere/info"),
        ),
        (  # two cameras change places
            ["camera/image_raw:=rear/image_raw", "rear/image_raw:=camera/image_raw"],
            ("/car/rear/image_raw", "/car/rear/image_raw/compressed", "/car/rear/camera_info"),
        ),
        (
            ["camera/image_raw/compressed:=/front/jpeg"],
            ("/car/" + IMAGE, "/front/jpeg", "/car/" + INFO),
        ),
    ],
)
def test_names_under_remaps(harness, remaps, expected):
    arguments = ["--ros-args", *(word for remap in remaps for word in ("-r", remap))]
    node = Node("named", namespace="car", context=harness.context, cli_args=arguments)
    names = (
        input_topic(node, IMAGE, IMAGE),
        input_topic(node, COMPRESSED, IMAGE),
        input_topic(node, INFO, IMAGE, sibling=True),
    )
    assert tuple(node.resolve_topic_name(name) for name in names) == expected


def test_a_remapped_camera_is_heard_compressed_and_calibrated(harness):
    node = harness.add(
        EncoderNode, "camera", cli_args=["--ros-args", "-r", f"{IMAGE}:=/front/image"]
    )
    harness.start()
    driver = harness.driver
    info = driver.create_publisher(CameraInfo, "/front/camera_info", qos_profile_sensor_data)
    for topic in ("/front/image", "/front/image/compressed"):
        wait_until(lambda topic=topic: driver.count_subscribers(topic) == 1, topic)

    def calibrated():
        info.publish(sensors.camera_info(1))
        return node.geometry.intrinsics is not None

    wait_until(calibrated, "the calibration")


def test_a_changed_calibration_that_is_refused_is_a_warning_and_the_one_before_stays(harness):
    node = harness.add(EncoderNode, "camera")
    harness.add(FusionNode, parameters={"sources": ["camera"]})
    fused = harness.subscribe(FusedPerception, "perception/fused")
    statuses = harness.subscribe(DiagnosticArray, "/diagnostics")
    harness.start()
    sensors.calibrate(harness.driver, node)
    before = node.geometry.intrinsics
    bad = sensors.camera_info(2)
    bad.k[0] = float("nan")
    info = harness.driver.create_publisher(CameraInfo, INFO, qos_profile_sensor_data)
    images = harness.driver.create_publisher(Image, IMAGE, qos_profile_sensor_data)
    wait_until(lambda: images.get_subscription_count() and info.get_subscription_count(), "both")

    def warned():
        info.publish(bad)
        images.publish(sensors.image(time.time_ns()))
        said = [array.status[0] for array in statuses.messages]
        return any(SAID in view.sources[0].warning for view in fused.messages) and any(
            SAID in status.message and status.hardware_id == "camera" for status in said
        )

    wait_until(warned, "the warning, in the fused view and in diagnostics")
    assert (node.geometry.intrinsics == before).all()


@pytest.mark.parametrize(
    ("sec", "nanosec", "said"),
    [
        (-3, 0, "got a negative stamp, -3 s"),
        # All nanoseconds since 1970, cut to 32 bits (bnbhat/bno08x_ros2_driver#20).
        (1_700_000_000, 4_000_000_000, "got nanosec 4000000000, of a second that has 1000000000"),
    ],
)
def test_a_stamp_that_is_none_is_called_that(harness, sec, nanosec, said):
    harness.add(EncoderNode, "camera")
    features = harness.subscribe(Feature, "features/camera")
    harness.start()
    images = harness.driver.create_publisher(Image, IMAGE, qos_profile_sensor_data)
    wait_until(images.get_subscription_count, "images")
    message = sensors.image(time.time_ns())
    message.header.stamp.sec = sec
    message.header.stamp.nanosec = nanosec

    def refused():
        images.publish(message)
        return features.messages

    wait_until(refused, "a feature")
    assert said in features.messages[-1].invalid_reason


def test_topics_by_source_become_remaps():
    text = "camera_front:=/front/, lidar := /velodyne_points"
    assert topic_remaps(text, ("camera_front", "lidar")) == (
        ("camera_front/image_raw", "/front/image_raw"),
        ("lidar/points", "/velodyne_points"),
    )
