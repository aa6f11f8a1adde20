"""The doctor on broken set-ups: real nodes, watched from another ROS context."""

from __future__ import annotations

import threading
import time

import pytest
import sensors
from harness import Harness, wait_until
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from edge_perception.cli.main import main
from edge_perception.msg import AudioChunk, FusedPerception
from edge_perception.nodes.encoder_node import EncoderNode
from edge_perception.nodes.fusion_node import FusionNode
from edge_perception.observe.doctor.observe import observe
from edge_perception.observe.doctor.rules import causes

BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture
def system(ros_domain):
    """Nodes and drivers in one context; `feed` publishes until the test ends."""
    harness = Harness(ros_domain)
    stop = threading.Event()
    threads = []

    class System:
        domain = ros_domain

        def add(self, *args, **kwargs):
            return harness.add(*args, **kwargs)

        def feed(self, type_, topic, qos, make):
            publisher = harness.driver.create_publisher(type_, topic, qos)

            def run():
                number = 0
                while not stop.wait(0.1):
                    publisher.publish(make(number))
                    number += 1

            threads.append(threading.Thread(target=run, daemon=True))

        def start(self):
            harness.start()
            for thread in threads:
                thread.start()

        def diagnose(self, code, watch_s=1.5):
            seen = observe(domain_id=ros_domain, watch_s=watch_s)
            found = {cause.code: cause for cause in causes(seen)}
            assert code in found, f"found {found} in {seen}"
            return found[code]

        harness_ = harness

    yield System()
    stop.set()
    for thread in threads:
        thread.join(2.0)
    harness.close()


def image(_number):
    return sensors.image(time.time_ns())


def cloud(_number):
    return sensors.cloud(time.time_ns())


def test_nobody_publishes_and_a_topic_of_the_type_is_offered(system):
    system.add(EncoderNode, "lidar")
    system.feed(PointCloud2, "velodyne_points", qos_profile_sensor_data, cloud)
    system.start()
    cause = system.diagnose("no_publisher")
    assert "/lidar/points" in cause.text
    assert "/lidar/points:=/velodyne_points" in cause.fix


def test_a_wrong_type_is_named_with_both_types(system):
    system.add(EncoderNode, "camera")
    system.start()
    stranger = Harness(system.domain)  # one participant cannot hold both types
    try:
        stranger.driver.create_publisher(
            CompressedImage, "camera/image_raw", qos_profile_sensor_data
        )
        cause = system.diagnose("wrong_type")
    finally:
        stranger.close()
    assert "sensor_msgs/msg/Image" in cause.text
    assert "sensor_msgs/msg/CompressedImage" in cause.text
    assert "driver" in cause.fix


def test_incompatible_qos_is_named_with_the_policy(system):
    system.add(EncoderNode, "audio")
    system.feed(
        AudioChunk, "audio", BEST_EFFORT, lambda n: sensors.chunk(time.time_ns(), n * sensors.CHUNK)
    )
    system.start()
    cause = system.diagnose("incompatible_qos")
    assert "best effort" in cause.text
    assert "reliability: reliable" in cause.fix


def test_zero_stamps_are_named_with_the_driver(system):
    system.add(EncoderNode, "lidar")
    system.feed(PointCloud2, "lidar/points", qos_profile_sensor_data, lambda _: sensors.cloud(0))
    system.start()
    cause = system.diagnose("zero_stamps")
    assert "/lidar/points" in cause.text
    assert "header.stamp" in cause.fix


def test_sim_time_without_a_clock(system):
    system.add(EncoderNode, "lidar", parameters={"use_sim_time": True})
    system.feed(PointCloud2, "lidar/points", qos_profile_sensor_data, cloud)
    system.start()
    cause = system.diagnose("sim_time_without_clock")
    assert "/lidar_encoder" in cause.text
    assert "use_sim_time: false" in cause.fix


def test_stamps_of_another_clock_give_the_offset(system):
    system.add(EncoderNode, "lidar")
    late = 60 * 10**9
    system.feed(
        PointCloud2,
        "lidar/points",
        qos_profile_sensor_data,
        lambda _: sensors.cloud(time.time_ns() - late),
    )
    system.start()
    cause = system.diagnose("other_clock")
    assert "60.0 s old" in cause.text
    assert "lidar.time_offset_s: 60.0" in cause.fix


def test_a_missing_calibration(system):
    system.add(EncoderNode, "camera")
    system.feed(Image, "camera/image_raw", qos_profile_sensor_data, image)
    system.start()
    cause = system.diagnose("no_calibration")
    assert "/camera/camera_info" in cause.text
    assert "camera_info_url" in cause.fix


def test_a_missing_model(system):
    node = system.add(EncoderNode, "lidar", parameters={"model": "no_such_model"})
    assert not node.is_active
    system.start()
    cause = system.diagnose("model_missing")
    assert "no_such_model" in cause.text
    assert "model:" in cause.fix


def test_another_domain_is_found(system, capsys):
    system.add(FusionNode)
    system.start()
    other = system.domain % 100 + 101
    seen = observe(domain_id=other, watch_s=0.4)
    cause = next(iter(causes(seen)))
    assert cause.code == "domain_mismatch"
    assert system.domain in seen.other_domains
    assert "export ROS_DOMAIN_ID=" in cause.fix
    assert main(["doctor", "--domain", str(other), "--watch", "0.4"]) == 1
    assert "change: export ROS_DOMAIN_ID=" in capsys.readouterr().out


def test_a_healthy_system_has_no_cause(system):
    encoder = system.add(EncoderNode, "lidar")
    system.add(FusionNode, parameters={"sources": ["lidar"], "model": ""})
    system.feed(PointCloud2, "lidar/points", qos_profile_sensor_data, cloud)
    system.start()
    fused = system.harness_.subscribe(FusedPerception, "perception/fused")
    fused.wait(lambda message: message.mode == message.MODE_FULL)
    wait_until(lambda: encoder.is_active, "encoder")
    seen = observe(domain_id=system.domain, watch_s=1.5)
    assert causes(seen) == []
    assert seen.fused_valid > 0
