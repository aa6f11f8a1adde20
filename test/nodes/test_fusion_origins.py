"""Whose features fusion takes: of the topic's own source, of one publisher, within a size."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import psutil
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import Harness, wait_until
from rclpy.topic_endpoint_info import TopicEndpointInfo

from edge_perception import msg
from edge_perception.core.types import DetectedObject, Feature, Geometry, ModelVersion
from edge_perception.nodes.conversion import feature_msg, tensor_msg
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.nodes.topics.endpoints import full_name

LARGE = 118_000_000
VERSION = ModelVersion(role="lidar", name="hand-made", version="1.0.0", sha256="0" * 64)


def box(name):
    return DetectedObject(
        class_name=name, score=0.9, center_m=(10.0, 0.0, 0.8), size_m=(4.5, 1.8, 1.6), yaw_rad=0.1
    )


def feature(source="lidar", name="car"):
    return feature_msg(
        Feature(
            stamp_ns=time.time_ns(),
            frame_id="lidar",
            source=source,
            modality=source,
            model=VERSION,
            sequence=1,
            geometry=Geometry(pose_source="parameter"),
            objects=(box(name),),
        )
    )


class Robot:
    """A fusion node, and features at 10 Hz from the driver on the topics that are named."""

    def __init__(self, harness, sources=("lidar", "camera")):
        self.harness = harness
        self.node = harness.add(FusionNode, parameters={"sources": list(sources), "model": ""})
        self.fused = harness.subscribe(msg.FusedPerception, "perception/fused")
        self.diagnostics = harness.subscribe(DiagnosticArray, "/diagnostics")
        self.publishers = {
            name: harness.driver.create_publisher(msg.Feature, f"features/{name}", 5)
            for name in sources
        }
        self.live = set(sources)
        harness.driver.create_timer(0.1, self._publish)
        harness.start()
        self.wait(lambda view: view.mode == view.MODE_FULL)

    def _publish(self):
        for name in self.live:
            self.publishers[name].publish(feature(name))

    def wait(self, accept):
        return self.fused.wait(accept, since=len(self.fused.messages))

    def refuses(self, source, text):
        """Wait until a source is INVALID for a reason; returns the view."""

        def said(view):
            status = next(item for item in view.sources if item.source == source)
            return status.state == status.INVALID and text in status.reason

        return self.wait(said)

    def assert_no(self, name):
        """No object of this class was ever in a view."""
        seen = {item.class_name for view in self.fused.messages for item in view.objects}
        assert "car" in seen
        assert name not in seen

    def recovers(self):
        self.wait(lambda view: view.mode == view.MODE_FULL)


def test_a_feature_of_another_source_than_its_topic_is_not_taken(harness):
    robot = Robot(harness)
    for change, text in (
        ({"source": "lidar"}, "features/camera: expected source 'camera', got 'lidar'"),
        ({"modality": "audio"}, "features/camera: expected modality 'camera', got 'audio'"),
        ({"source": "camera_rear"}, "features/camera: expected source 'camera', got 'camera_rear'"),
    ):
        robot.live = {"lidar"}
        message = feature("camera", "ghost")
        for name, value in change.items():
            setattr(message, name, value)
        robot.publishers["camera"].publish(message)
        assert robot.refuses("camera", text).mode == msg.FusedPerception.MODE_DEGRADED
        robot.live = {"lidar", "camera"}
        robot.recovers()
    robot.assert_no("ghost")


def test_decisions_of_a_stranger_are_refused_by_name_until_the_first_one_ends(harness, ros_domain):
    robot = Robot(harness)
    stranger = Harness(ros_domain)
    try:
        node = stranger.driver
        publisher = node.create_publisher(msg.Feature, "features/lidar", 5)
        wait_until(publisher.get_subscription_count, "the stranger is heard")
        known = robot.node.get_publishers_info_by_topic
        wait_until(
            lambda: [info.node_name for info in known("/features/lidar")] == ["driver"] * 2,
            "both publishers are known by name",
        )
        publisher.publish(feature(name="ghost"))
        view = robot.refuses("lidar", "features/lidar: second publisher: /driver [")
        assert "beside /driver [" in view.reason, "two launches share names: identities tell them"
        assert view.mode == view.MODE_DEGRADED
        robot.diagnostics.wait(
            lambda array: any("second publisher" in status.message for status in array.status)
        )
        robot.recovers()  # once the stranger is silent again
        robot.assert_no("ghost")
        # An encoder that ends leaves its place at once, as when it is started anew.
        robot.live = {"camera"}
        harness.driver.destroy_publisher(robot.publishers.pop("lidar"))
        node.create_timer(0.1, lambda: publisher.publish(feature(name="heir")))
        stranger.start()
        robot.wait(lambda view: any(item.class_name == "heir" for item in view.objects))
        robot.recovers()
    finally:
        stranger.close()


def test_a_publisher_whose_node_is_not_discovered_yet_is_told_in_words():
    info = TopicEndpointInfo(
        node_name="_NODE_NAME_UNKNOWN_", node_namespace="_NODE_NAMESPACE_UNKNOWN_"
    )
    assert full_name(info) == "a node that has not told its name yet"


FUSION = "from edge_perception.nodes.fusion.node import main; main()"


@contextmanager
def process_of_fusion(domain, *parameters):
    """Run a fusion node of its own."""
    arguments = [part for text in parameters for part in ("-p", text)]
    process = subprocess.Popen(
        [sys.executable, "-c", FUSION, "--ros-args", *arguments],
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def test_a_second_launch_is_noticed_at_its_start_until_it_ends(harness, ros_domain):
    robot = Robot(harness)
    texts = ("2 nodes are called /fusion", "/perception/fused has 2 publishers (/fusion, /fusion)")

    def of_fusion(accept):
        def found(array):
            return next((s for s in array.status if s.name == "fusion" and accept(s)), None)

        return lambda since: found(robot.diagnostics.wait(found, since=since))

    noticed = of_fusion(lambda s: any(text in s.message for text in texts))
    with process_of_fusion(ros_domain, "sources:=[lidar,camera]"):
        status = noticed(since=0)
        assert status.level == DiagnosticStatus.WARN
        assert "a second launch" in status.message
        # One that is ended while it loads its model leaves like one that was killed.
        sequence = max(view.sequence for view in robot.fused.messages)  # of the first one
        robot.wait(lambda view: view.valid and view.sequence < sequence)
    fine = of_fusion(lambda s: s.level == DiagnosticStatus.OK)
    assert fine(since=len(robot.diagnostics.messages)).message == "FULL"


def test_a_large_feature_is_refused_by_size_and_leaves_nothing(harness, ros_domain):
    fused = harness.subscribe(msg.FusedPerception, "perception/fused")
    publisher = harness.driver.create_publisher(msg.Feature, "features/lidar", 5)
    harness.start()
    limits = (f"lidar.{name}_after_s:=10.0" for name in ("late", "stale", "missing"))
    with process_of_fusion(ros_domain, "sources:=[lidar]", *limits) as process:

        def good():
            wait_until(publisher.get_subscription_count, "fusion listens")

            def contributes():
                publisher.publish(feature())
                return bool(fused.messages) and fused.messages[-1].sources[0].contributed

            wait_until(contributes, "its features are used", period_s=0.1)

        def refused():
            status = fused.messages[-1].sources[0]
            return status.state == status.INVALID and "max_feature_mb" in status.reason

        good()
        rss = psutil.Process(process.pid).memory_info
        idle = rss().rss
        large = feature()
        large.tensors.append(tensor_msg("large", np.zeros(LARGE, np.uint8)))
        for count in (1, 4):  # alone, and faster than they are taken
            for _ in range(count):
                publisher.publish(large)
            wait_until(lambda: fused.messages and refused(), "the refusal")
            reason = fused.messages[-1].sources[0].reason
            assert "expected at most" in reason
            assert "got 118.0 MB from /driver [" in reason
            good()
            # The middleware keeps a buffer for each that waited, until its reader is made anew.
            wait_until(lambda: rss().rss < idle + 0.5 * LARGE, "the memory is given back")
            good()
