"""The recorder with real topics: a mode change leaves one complete file."""

import time

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo

from edge_perception import msg
from edge_perception.nodes.recorder.node import EventRecorderNode
from edge_perception.nodes.recorder.plan import RecordPlan
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.ring import RingOptions
from edge_perception.recordings.triggers import KINDS, TriggerOptions


@pytest.mark.timeout(60)
def test_a_mode_change_is_recorded_with_what_was_before(tmp_path, ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    plan = RecordPlan.of(params_files=[])
    assert "/lidar/points" in plan.names
    ring = RingOptions(before_s=30.0, after_s=30.0)
    recorder = EventRecorderNode(plan, ring, TriggerOptions(kinds=KINDS), tmp_path, context=context)
    node = rclpy.create_node("source", context=context)
    # Told once, before anybody listens.
    once = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    calibration = node.create_publisher(CameraInfo, "camera/camera_info", once)
    calibration.publish(CameraInfo(width=7))
    publisher = node.create_publisher(msg.FusedPerception, "perception/fused", 10)
    diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    trials = node.create_publisher(msg.Feature, "trial/features/lidar", 5)
    mode = [3]
    end = time.monotonic() + 30.0
    drifted = DiagnosticStatus(name="camera_encoder")
    drifted.values = [KeyValue(key="drift", value="score")]
    seen = msg.DetectedObject(class_name="car", score=0.9)
    seen.center.x = 10.0
    tried = msg.Feature(source="lidar", valid=True, objects=[seen])
    status = msg.SourceStatus(source="lidar")
    status.stamp.sec = tried.header.stamp.sec = 7
    reasons = recorder.recorder._reasons

    def step():
        if publisher.get_subscription_count():
            view = msg.FusedPerception(mode=mode[0], sequence=mode[0], sources=[status])
            publisher.publish(view)
            held = len(recorder.recorder._ring)
            calibrated = recorder.recorder._held["/camera/camera_info"]
            if (held >= 5 and calibrated) or recorder.recorder._writer is not None:
                mode[0] = 2
            if recorder.recorder._writer is not None:
                diagnostics.publish(DiagnosticArray(status=[drifted]))
                trials.publish(tried)
        kinds = {reason.split()[1].rstrip(":") for reason in reasons}
        return {"mode", "drift", "trial"} <= kinds or time.monotonic() > end

    recorder.spin(until=step)
    recorder.close()
    node.destroy_node()
    context.try_shutdown()
    (path,) = recorder.recorder.files
    assert "mode_FULL_became_DEGRADED" in path.name
    assert Recording(path).message_count >= 6
    told = " ".join(Recording(path).metadata("events").values())
    assert "drift: camera: score" in told
    assert "trial: lidar: only the new model: car at 10 m; only the old: nothing" in told
    assert Recording(path).count("/camera/camera_info") == 1
    assert not list(tmp_path.glob("*.partial"))


def test_before_the_first_view_it_says_that_none_came(tmp_path, ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    plan, ring = RecordPlan.of(params_files=[]), RingOptions()
    recorder = EventRecorderNode(plan, ring, TriggerOptions(kinds=KINDS), tmp_path, context=context)
    health = recorder._health()
    recorder.close()
    context.try_shutdown()
    assert health.message == "no /perception/fused came yet: no event is seen"
