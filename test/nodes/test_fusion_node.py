"""The whole pipeline in one process, and fusion alone on hand-made features."""

from __future__ import annotations

import math
import socket
import time

import cloud_rig
import numpy as np
import pytest
import sensors
from diagnostic_msgs.msg import DiagnosticArray
from harness import wait_until
from nav_msgs.msg import Odometry
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from edge_perception import msg, srv
from edge_perception.core.types import DetectedObject, Feature, ModelVersion
from edge_perception.nodes.conversion import feature_msg, tensor_msg, time_msg
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode

CAR = DetectedObject(
    class_name="car", score=0.9, center_m=(10.0, 0.0, 0.8), size_m=(4.5, 1.8, 1.6), yaw_rad=0.1
)
VERSION = ModelVersion(role="lidar", name="hand-made", version="1.0.0", sha256="0" * 64)


class Fusion:
    """A real fusion node with LiDAR as its only source, fed by hand."""

    def __init__(self, harness):
        self.node = harness.add(FusionNode, parameters={"sources": ["lidar"], "model": ""})
        assert self.node.is_active
        self.fused = harness.subscribe(msg.FusedPerception, "perception/fused")
        self.markers = harness.subscribe(MarkerArray, "perception/markers")
        self.diagnostics = harness.subscribe(DiagnosticArray, "/diagnostics")
        self.publisher = harness.driver.create_publisher(msg.Feature, "features/lidar", 10)
        self.sequence = 0
        harness.start()
        wait_until(
            lambda: (
                self.publisher.get_subscription_count()
                and harness.driver.count_publishers("perception/fused")
            ),
            "discovery",
        )

    def send(self, stamp_ns=None, change=None):
        self.sequence += 1
        message = feature_msg(
            Feature(
                stamp_ns=time.time_ns() if stamp_ns is None else stamp_ns,
                frame_id="lidar",
                source="lidar",
                modality="lidar",
                model=VERSION,
                sequence=self.sequence,
                objects=(CAR,),
            )
        )
        if change:
            change(message)
        since = len(self.fused.messages)
        self.publisher.publish(message)
        return since

    def state(self, message):
        return message.sources[0].state


@pytest.fixture
def fusion(harness):
    return Fusion(harness)


def contributed(message):
    return message.sources[0].contributed


def test_a_feature_becomes_a_fused_message(fusion):
    stamp_ns = time.time_ns()
    since = fusion.send(stamp_ns)
    message = fusion.fused.wait(contributed, since=since)
    assert message.mode in (msg.FusedPerception.MODE_FULL, msg.FusedPerception.MODE_DEGRADED)
    assert message.valid
    assert message.level == msg.FusedPerception.LEVEL_DECISION
    assert message.level_reason
    assert message.header.frame_id == "base_link"
    assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == stamp_ns
    (item,) = message.objects
    assert (item.class_name, list(item.sources)) == ("car", ["lidar"])
    assert item.center.x == pytest.approx(10.0)
    assert [model.name for model in message.models] == ["hand-made"]
    assert 0 < message.end_to_end_s < 10
    assert not message.deadline_missed


def test_silence_is_said_and_never_silent(fusion):
    fusion.send()
    missing = fusion.fused.wait(lambda m: fusion.state(m) == msg.SourceStatus.MISSING)
    assert missing.mode == msg.FusedPerception.MODE_NONE
    assert not missing.valid
    assert "silence" in missing.sources[0].reason or "nothing" in missing.sources[0].reason
    assert not missing.objects
    since = len(fusion.fused.messages)
    fusion.fused.wait(lambda m: not m.valid, since=since)
    status = fusion.diagnostics.wait(
        lambda array: any("MISSING" in status.message for status in array.status)
    ).status[0]
    assert status.level == b"\x02"


@pytest.mark.parametrize(
    ("stamp_ns", "text"),
    [(lambda: 0, "stamp"), (lambda: time.time_ns() + 10**10, "ahead of the node clock")],
)
def test_zero_and_future_stamps_are_invalid_and_never_used(fusion, stamp_ns, text):
    since = fusion.send(stamp_ns())
    message = fusion.fused.wait(lambda m: fusion.state(m) == msg.SourceStatus.INVALID, since=since)
    assert text in message.sources[0].reason
    assert not contributed(message)
    since = fusion.send()
    assert fusion.fused.wait(contributed, since=since).valid


def test_a_backward_stamp_is_invalid(fusion):
    stamp_ns = time.time_ns()
    fusion.fused.wait(contributed, since=fusion.send(stamp_ns))
    since = fusion.send(stamp_ns - 50_000_000)
    message = fusion.fused.wait(lambda m: fusion.state(m) == msg.SourceStatus.INVALID, since=since)
    assert "back" in message.sources[0].reason


def test_nan_in_a_tensor_is_invalid(fusion):
    def poison(message):
        message.tensors.append(tensor_msg("bev", np.full((4, 4), np.nan, np.float32)))

    since = fusion.send(change=poison)
    message = fusion.fused.wait(lambda m: fusion.state(m) == msg.SourceStatus.INVALID, since=since)
    assert "bev" in message.sources[0].reason
    assert fusion.fused.wait(contributed, since=fusion.send()).valid


def test_a_tensor_that_lies_about_its_size_is_refused_and_the_next_feature_used(fusion):
    def lie(message):
        message.tensors.append(tensor_msg("bev", np.zeros(4, np.float32)))
        message.tensors[-1].shape = [4096, 4096]

    fusion.send(change=lie)
    fusion.diagnostics.wait(
        lambda array: any("expects 67108864 bytes" in s.message for s in array.status)
    )
    assert fusion.fused.wait(contributed, since=fusion.send()).valid


def test_odometry_moves_what_is_late(harness):
    node = harness.add(
        FusionNode,
        parameters={"sources": ["lidar", "camera"], "model": "", "odometry_topic": "odometry"},
    )
    fused = harness.subscribe(msg.FusedPerception, "perception/fused")
    diagnostics = harness.subscribe(DiagnosticArray, "/diagnostics")
    driver = harness.driver
    features = {
        name: driver.create_publisher(msg.Feature, f"features/{name}", 10)
        for name in ("lidar", "camera")
    }
    odometry = driver.create_publisher(Odometry, "odometry", qos_profile_sensor_data)
    harness.start()
    wait_until(
        lambda: (
            all(p.get_subscription_count() for p in (*features.values(), odometry))
            and driver.count_publishers("perception/fused")
        ),
        "discovery",
    )
    start_ns = time.time_ns()

    def drive(to_ns, frame="base_link"):
        message = Odometry(child_frame_id=frame)
        message.header.stamp = time_msg(to_ns)
        message.pose.pose.position.x = 20.0 * (to_ns - start_ns) / 1e9  # 20 m/s
        odometry.publish(message)

    def send(name, stamp_ns, objects=()):
        features[name].publish(
            feature_msg(
                Feature(
                    stamp_ns=stamp_ns,
                    frame_id=name,
                    source=name,
                    modality=name,
                    model=VERSION,
                    sequence=1,
                    objects=objects,
                )
            )
        )

    drive(start_ns, frame="imu_link")
    diagnostics.wait(lambda a: any("expected 'base_link', got 'imu_link'" in s.message
                                   for s in a.status))  # fmt: skip

    def moved() -> bool:
        now_ns = time.time_ns()
        for ago_ms in (500, 400, 300, 200, 100, 0):
            drive(now_ns - ago_ms * 1_000_000)
        wait_until(lambda: node.odometry_age_s() < 1.0, "odometry")
        send("lidar", now_ns - 200_000_000, objects=(CAR,))  # at 10 m, 200 ms ago
        send("camera", now_ns)
        message = fused.wait(lambda m: m.header.stamp == time_msg(now_ns))
        return bool(message.objects) and abs(message.objects[0].center.x - 6.0) < 0.05

    wait_until(moved, "the car 4 m nearer")


def test_markers_show_the_objects(fusion):
    wait_until(lambda: fusion.node.count_subscribers("perception/markers") > 0, "discovery")
    fusion.send()
    markers = fusion.markers.wait(lambda array: len(array.markers) > 1).markers
    assert {marker.ns for marker in markers} >= {"boxes", "labels"}
    box = next(marker for marker in markers if marker.ns == "boxes")
    assert box.pose.position.x == pytest.approx(10.0)
    assert 2 * math.atan2(box.pose.orientation.z, box.pose.orientation.w) == pytest.approx(0.1)


def test_configured_again_it_has_each_topic_once(harness):
    node = harness.add(FusionNode, parameters={"autostart": False})
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    topics = sorted(publisher.topic_name for publisher in node.publishers)
    assert "/perception/fused" in topics
    assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert sorted(publisher.topic_name for publisher in node.publishers) == topics


def test_its_model_is_told_before_it_is_active(harness):
    node = harness.add(FusionNode, parameters={"autostart": False})
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    harness.start()
    (info,) = harness.call(
        srv.GetVersions, "/fusion/get_versions", srv.GetVersions.Request()
    ).models
    assert (info.model.role, info.model.name, info.frames_served) == (
        "fusion",
        "bev_lite_fusion",
        0,
    )
    assert harness.callback_errors == []


class Pipeline:
    """Camera and LiDAR encoders with fusion, as separate nodes or composed by reference."""

    def __init__(self, harness, *, composed, camera_parameters=None, fusion_parameters=None):
        fusion = harness.add(
            FusionNode,
            parameters={"sources": ["camera", "lidar"], **(fusion_parameters or {})},
            subscribe=not composed,
        )
        sink = fusion.accept if composed else None
        camera, lidar = (
            harness.add(EncoderNode, modality, sink=sink, parameters=parameters)
            for modality, parameters in (("camera", camera_parameters), ("lidar", None))
        )
        self.camera, self.fusion = camera, fusion
        assert camera.is_active
        assert lidar.is_active
        assert fusion.is_active
        self.fused = harness.subscribe(msg.FusedPerception, "perception/fused")
        self.image = harness.driver.create_publisher(
            Image, "camera/image_raw", qos_profile_sensor_data
        )
        self.cloud = harness.driver.create_publisher(
            PointCloud2, "lidar/points", qos_profile_sensor_data
        )
        harness.start()
        wait_until(
            lambda: (
                self.image.get_subscription_count()
                and self.cloud.get_subscription_count()
                and harness.driver.count_publishers("perception/fused")
                and (composed or fusion.count_publishers("features/lidar"))
            ),
            "discovery",
        )
        sensors.calibrate(harness.driver, camera)

    def send_until(self, accept, *, camera=True, lidar=True, seconds=60.0):
        """Publish at 10 Hz until a fused message is accepted."""
        since = len(self.fused.messages)
        for _ in range(int(seconds * 10)):
            if camera:
                self.image.publish(sensors.image(time.time_ns()))
            if lidar:
                self.cloud.publish(sensors.cloud(time.time_ns()))
            try:
                return self.fused.wait(accept, since=since, timeout_s=0.1)
            except AssertionError:
                continue
        return self.fused.wait(accept, since=since, timeout_s=0.1)


@pytest.mark.parametrize("composed", [False, True], ids=["separate", "composed"])
def test_sensors_come_and_go_and_the_output_says_so(harness, composed):
    pipeline = Pipeline(harness, composed=composed)
    mode = msg.FusedPerception
    # A frame may miss the first full cycles where other work holds the cores.
    full = pipeline.send_until(
        lambda m: m.mode == mode.MODE_FULL and all(s.contributed for s in m.sources)
    )
    assert full.level == mode.LEVEL_FEATURE, full.level_reason
    assert {model.role for model in full.models} == {"camera", "lidar", "fusion"}
    # Nobody said where they sit: used, and never as sure as if somebody had.
    assert all("no pose of the sensor" in status.warning for status in full.sources)
    assert full.confidence < 0.95
    degraded = pipeline.send_until(
        lambda m: m.mode == mode.MODE_DEGRADED and "lidar" in m.reason, lidar=False
    )
    assert degraded.valid
    pipeline.send_until(lambda m: m.mode == mode.MODE_FULL)
    pipeline.send_until(
        lambda m: m.mode == mode.MODE_DEGRADED and "camera" in m.reason, camera=False
    )


@pytest.fixture
def server():
    made = cloud_rig.server()
    yield made
    made.close()


def test_what_a_server_says_late_stands_beside_the_view_and_is_no_sensor(harness, server):
    cloud = {
        "cloud.tiers": [f"site {server.url} deadline_ms=20000"],
        "cloud.privacy_regions": [0.0, 0.5, 1.0, 1.0],
        "cloud.doubt_bits": 0.0,  # every frame
        "cloud.most_age_s": 30.0,
        "cloud.cache_s": 0.0,
    }
    held = {"late_hold_s": 30.0}
    pipeline = Pipeline(harness, composed=True, camera_parameters=cloud, fusion_parameters=held)
    # Of a busy machine every view may be without a sensor: nothing here asks for a mode.
    view = pipeline.send_until(lambda m: m.late_evidence, seconds=60.0)
    (late,) = view.late_evidence
    assert (late.source, late.modality, late.tier) == ("camera", "camera", "site")
    assert late.stamp == late.asked_stamp
    assert 0.0 < late.round_trip_s < late.age_s < 30.0
    assert late.hidden == 1
    assert (late.model.name, late.model.sha256) == ("bev_lite_camera", cloud_rig.bundle().sha256)
    assert "answers" in pipeline.camera.health().values["cloud_site"]
    assert "0 taken" not in pipeline.fusion.health().values["late_evidence"]
    # The camera falls silent: what a server said of its last frame makes no sensor of it.
    blind = pipeline.send_until(
        lambda m: m.late_evidence and not camera_in(m), camera=False, seconds=60.0
    )
    assert blind.mode != msg.FusedPerception.MODE_FULL
    assert not any("camera" in name for item in blind.objects for name in item.sources)
    assert "camera" not in {model.role for model in blind.models}
    # A server that dies, and comes back with another release: said, and the output goes on.
    server.metadata = cloud_rig.metadata(cloud_rig.bundle(), release="0.1.0")
    server.answer = lambda handler, _: handler.connection.shutdown(socket.SHUT_RDWR)
    said = pipeline.camera.health
    pipeline.send_until(
        lambda _: "states bev_lite_camera 0.1.0" in said().values["cloud_site"], seconds=60.0
    )
    pipeline.send_until(camera_in, seconds=60.0)


def camera_in(message):
    """Whether the camera contributes to a view."""
    return any(status.contributed for status in message.sources if status.source == "camera")
