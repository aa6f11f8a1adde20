"""The doctor on broken set-ups: real nodes, watched from another ROS context."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import sensors
from harness import Harness, wait_until
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from edge_perception.cli.main import main
from edge_perception.msg import AudioChunk, Feature, FusedPerception, SourceStatus
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

        def vehicle(self, make=None, **fusion):
            """A LiDAR with its encoder and fusion, running."""
            # Limits that a machine at work on other things keeps.
            encoder = self.add(
                EncoderNode, "lidar", parameters={"rate_hz": 2.0, "budget_ms": 10000.0}
            )
            usual = {"sources": ["lidar"], "model": "", "lidar.rate_hz": 2.0}
            node = self.add(FusionNode, parameters={**usual, **fusion})
            if make is not None:
                self.feed(PointCloud2, "lidar/points", qos_profile_sensor_data, make)
            self.start()
            return encoder, node

        def gone(self):
            """Wait until the doctor finds nothing any more."""
            for _ in range(5):
                seen = observe(domain_id=ros_domain, watch_s=1.0)
                if not (found := causes(seen)):
                    return
            raise AssertionError(f"still {found}")

        def change_state(self, node, transition):
            request = ChangeState.Request(transition=Transition(label=transition))
            return harness.call(ChangeState, f"{node}/change_state", request).success

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
    assert "chronyc" in cause.fix
    assert "time_offset_s" not in cause.fix  # 10 s are the most that is accepted


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
    encoder, _ = system.vehicle(cloud)
    fused = system.harness_.subscribe(FusedPerception, "perception/fused")
    fused.wait(lambda message: message.mode == message.MODE_FULL)
    wait_until(lambda: encoder.is_active, "encoder")
    seen = observe(domain_id=system.domain, watch_s=1.5)
    assert causes(seen) == []
    assert seen.fused_valid > 0


def test_a_driver_that_is_there_and_silent_until_it_sends(system):
    system.vehicle()
    publisher = system.harness_.driver.create_publisher(
        PointCloud2, "lidar/points", qos_profile_sensor_data
    )
    cause = system.diagnose("silent_driver")
    assert "/lidar/points: /driver is there and published nothing" in cause.text
    system.harness_.driver.create_timer(0.1, lambda: publisher.publish(cloud(0)))
    system.gone()


def test_a_node_that_is_not_active_until_it_is_activated(system):
    system.vehicle(cloud)
    assert system.change_state("lidar_encoder", "deactivate")
    cause = system.diagnose("not_active")
    assert "/lidar_encoder is inactive" in cause.text
    assert cause.fix == "ros2 lifecycle set /lidar_encoder activate"
    assert system.change_state("lidar_encoder", "activate")
    system.gone()


def test_two_launches_until_one_ends(system):
    system.vehicle(cloud)
    command = [sys.executable, "-m", "edge_perception.nodes.executables", "perception"]
    parameters = ["-p", "sources:=[lidar]", "-p", "fusion:model:=''", "-p", "budget_ms:=10000.0"]
    other = subprocess.Popen([*command, "--ros-args", *parameters])
    names = system.harness_.driver.get_node_names
    try:
        wait_until(lambda: names().count("fusion") == 2, "the second launch")
        cause = system.diagnose("two_launches")
        assert "/fusion, /lidar_encoder" in cause.text
    finally:
        other.send_signal(signal.SIGINT)
        assert other.wait(10.0) == 0
    system.gone()


@pytest.mark.parametrize(
    ("kind", "topic"), [(Feature, "features/lidar"), (FusedPerception, "perception/fused")]
)
def test_a_stranger_on_our_topics_until_it_ends(system, kind, topic):
    system.vehicle(cloud)
    publisher = system.harness_.driver.create_publisher(kind, topic, 5)
    cause = system.diagnose("second_publisher")
    assert f"/{topic}: /driver publishes it besides /" in cause.text
    system.harness_.driver.destroy_publisher(publisher)
    system.gone()


def test_stamps_behind_until_the_offset_that_is_advised_is_set(system):
    system.vehicle(lambda _: sensors.cloud(time.time_ns() - 3 * 10**9))
    cause = system.diagnose("other_clock")
    assert "3.0 s old" in cause.text
    name, _, value = cause.fix.rpartition("or ")[2].partition("   (")[0].partition(": ")
    request = SetParameters.Request(
        parameters=[Parameter(name, value=float(value)).to_parameter_msg()]
    )
    answer = system.harness_.call(SetParameters, "fusion/set_parameters", request)
    assert answer.results[0].successful
    assert name == "lidar.time_offset_s"


def test_a_source_whose_encoder_is_not_there(system):
    system.vehicle(cloud, sources=["lidar", "audio"])
    cause = system.diagnose("source_not_ok")
    assert "audio: MISSING" in cause.text
    assert "/audio_encoder is not there" in cause.fix


def test_nodes_that_live_in_two_times(system):
    system.add(EncoderNode, "lidar", parameters={"use_sim_time": True})
    system.add(FusionNode, parameters={"sources": ["lidar"], "model": ""})
    system.harness_.driver.create_publisher(Clock, "/clock", 1)
    system.start()
    cause = system.diagnose("mixed_clocks")
    assert "true on /lidar_encoder and false on /fusion" in cause.text


def test_features_of_another_set(system):
    """The fusion model serves, and cannot read what this encoder sends."""
    encoder, _ = system.vehicle(cloud, model="bev_lite/fusion")
    loaded = encoder._models.pipeline.model.loaded
    manifest = dataclasses.replace(loaded.bundle.manifest, feature_space="other_1")
    encoder._models.pipeline.model.loaded = dataclasses.replace(
        loaded, bundle=dataclasses.replace(loaded.bundle, manifest=manifest)
    )
    cause = system.diagnose("feature_space")
    assert "other_1" in cause.text
    assert "model: bev_lite/lidar" in cause.fix
    encoder._models.pipeline.model.loaded = loaded
    system.gone()


def test_nodes_of_a_namespace_are_found_and_another_is_named(system):
    system.harness_.add(
        FusionNode, parameters={"sources": ["lidar"], "model": ""}, namespace="/robot1"
    )
    system.start()
    assert observe(domain_id=system.domain, watch_s=0.2).namespace == "/robot1"
    seen = observe(domain_id=system.domain, namespace="robot2", watch_s=0.2)
    cause = causes(seen)[0]
    assert cause.code == "namespace"
    assert "--namespace /robot1" in cause.fix


LARGE_DRIVER = """
import array, time, rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("large_driver")
qos = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
publisher = node.create_publisher(Image, "camera/image_raw", qos)
image = Image(width=1920, height=1080, encoding="bgr8", step=5760)
image.data = array.array("B", bytes(5760 * 1080))
end = time.monotonic() + 60
while time.monotonic() < end:
    now = time.time_ns()
    image.header.stamp.sec, image.header.stamp.nanosec = divmod(now, 10**9)
    image.data[0] = now % 256
    publisher.publish(image)
    time.sleep(0.03)
"""


def test_frames_that_get_lost_on_their_way_are_counted(system):
    """A driver of another process without shared memory for its 6 MB, as most are started."""
    system.add(EncoderNode, "camera")
    system.start()
    driver = subprocess.Popen(
        [sys.executable, "-c", LARGE_DRIVER],
        env={**os.environ, "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"},
    )
    try:
        cause = system.diagnose("frames_lost", watch_s=3.0)
    finally:
        driver.kill()
        driver.wait()
    assert "/camera/image_raw: " in cause.text
    assert "/large_driver sent in 3 s never reached /camera_encoder" in cause.text
    assert "edge-perception transport" in cause.fix


def test_any_number_in_a_fused_message_is_looked_at(system):
    system.add(FusionNode, parameters={"sources": ["lidar"], "model": ""})
    system.feed(
        FusedPerception,
        "perception/fused",
        5,
        lambda _: FusedPerception(level=200, sources=[SourceStatus(source="x", state=77)]),
    )
    system.start()
    cause = system.diagnose("source_not_ok")
    assert "77" in cause.text or "lidar" in cause.text


def test_the_same_question_has_the_same_answer(system):
    system.vehicle(lambda _: sensors.cloud(time.time_ns() - 900 * 10**9))
    answers = [
        [cause.code for cause in causes(observe(domain_id=system.domain, watch_s=1.0))]
        for _ in range(3)
    ]
    assert answers == [["other_clock"]] * 3
