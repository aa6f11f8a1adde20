"""Fused objects as vision_msgs; run by test_interfaces with that package."""

from __future__ import annotations

import math
import time

import pytest
from harness import wait_until
from vision_msgs.msg import Detection3DArray

from edge_perception import msg
from edge_perception.core.types import DetectedObject, Feature, ModelVersion
from edge_perception.nodes.conversion import feature_msg
from edge_perception.nodes.fusion.node import FusionNode

CAR = DetectedObject(
    class_name="car", score=0.9, center_m=(10.0, 2.0, 0.8), size_m=(4.5, 1.8, 1.6), yaw_rad=0.5
)
VERSION = ModelVersion(role="lidar", name="hand-made", version="1.0.0", sha256="0" * 64)


def test_fused_objects_are_published_as_vision_msgs(harness):
    harness.add(FusionNode, parameters={"sources": ["lidar"], "model": ""})
    detections = harness.subscribe(Detection3DArray, "perception/detections")
    fused = harness.subscribe(msg.FusedPerception, "perception/fused")
    publisher = harness.driver.create_publisher(msg.Feature, "features/lidar", 10)
    harness.start()
    wait_until(
        lambda: (
            publisher.get_subscription_count()
            and harness.driver.count_publishers("perception/detections")
        ),
        "discovery",
    )
    count = iter(range(1, 10_000))

    def seen():
        publisher.publish(
            feature_msg(
                Feature(
                    stamp_ns=time.time_ns(),
                    frame_id="lidar",
                    source="lidar",
                    modality="lidar",
                    model=VERSION,
                    sequence=next(count),
                    objects=(CAR,),
                )
            )
        )
        return any(array.detections for array in detections.messages)

    wait_until(seen, "a detection")
    array = next(array for array in detections.messages if array.detections)
    (detection,) = array.detections
    assert array.header.frame_id == "base_link"
    assert any(view.header.stamp == array.header.stamp for view in fused.messages)
    (result,) = detection.results
    assert result.hypothesis.class_id == "car"
    assert 0.0 < result.hypothesis.score <= 1.0
    box = detection.bbox
    assert [box.center.position.x, box.center.position.y] == pytest.approx([10.0, 2.0], abs=0.2)
    assert [box.size.x, box.size.y, box.size.z] == pytest.approx([4.5, 1.8, 1.6], abs=0.2)
    turn = box.center.orientation
    assert 2 * math.atan2(turn.z, turn.w) == pytest.approx(0.5, abs=0.1)
    assert result.pose.pose.position == box.center.position
