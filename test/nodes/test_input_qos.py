"""Quality of service of the sensor topics, and what a user may change of it."""

import sensors
from harness import wait_until
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo

from edge_perception.nodes.encoder.node import EncoderNode


def test_a_sensor_topic_can_be_made_reliable(harness):
    name = "qos_overrides./lidar/points.subscription.reliability"
    harness.add(EncoderNode, "lidar", parameters={name: "reliable"})
    harness.add(EncoderNode, "camera")
    harness.start()
    found = {}
    for topic in ("lidar/points", "camera/image_raw"):
        wait_until(lambda t=topic: harness.driver.get_subscriptions_info_by_topic(t), topic)
        (info,) = harness.driver.get_subscriptions_info_by_topic(topic)
        found[topic] = info.qos_profile.reliability
    assert found == {
        "lidar/points": ReliabilityPolicy.RELIABLE,
        "camera/image_raw": ReliabilityPolicy.BEST_EFFORT,
    }


def test_the_queue_of_a_sensor_topic_can_be_made_longer(harness):
    name = "qos_overrides./audio.subscription.depth"
    node = harness.add(EncoderNode, "audio", parameters={name: 1000})
    harness.start()
    wait_until(lambda: harness.driver.get_subscriptions_info_by_topic("audio"), "audio")
    depths = {each.topic_name: each.qos_profile.depth for each in node.subscriptions}
    assert depths["/audio"] == 1000


def test_a_calibration_that_was_said_once_before_the_node_began(harness):
    """And one that another driver says again and again is heard beside it."""
    kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    harness.driver.create_publisher(CameraInfo, "camera/camera_info", kept).publish(
        sensors.camera_info(1)
    )
    node = harness.add(EncoderNode, "camera")
    harness.start()
    wait_until(lambda: node.geometry.intrinsics is not None, "the calibration said before")
    other = harness.driver.create_publisher(
        CameraInfo, "camera/camera_info", qos_profile_sensor_data
    )

    def changed():
        other.publish(sensors.camera_info(1, width=640, height=480))
        return node.geometry.image_size == (640, 480)

    wait_until(changed, "a calibration that is not kept")
