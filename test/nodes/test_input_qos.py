"""Quality of service of the sensor topics, and what a user may change of it."""

from harness import wait_until
from rclpy.qos import ReliabilityPolicy

from edge_perception.nodes.encoder_node import EncoderNode


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
