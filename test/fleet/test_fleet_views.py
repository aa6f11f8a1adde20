"""What a fleet is told of views and diagnostics, from their bytes."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2: real messages")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.serialization import serialize_message

from edge_perception import msg
from edge_perception.nodes.conversion.status_reading import read_statuses
from edge_perception.nodes.manager.fleet_telemetry import _wanted_of
from edge_perception.nodes.manager.fleet_views import FleetViews
from edge_perception.releases.slo import Slo


def view(*, late_ms, valid):
    message = msg.FusedPerception(
        mode=msg.FusedPerception.MODE_FULL,
        valid=valid,
        end_to_end_s=late_ms / 1e3,
        deadline_missed=late_ms > 500,
        sources=[
            msg.SourceStatus(source="camera", state=msg.SourceStatus.OK),
            msg.SourceStatus(source="lidar", state=msg.SourceStatus.LATE),
        ],
        objects=[msg.DetectedObject(class_name="car")] * 3,
        models=[msg.ModelVersion(role="fusion", name="bev")],
    )
    return serialize_message(message)


def test_views_are_sampled_and_judged_by_the_objectives():
    drifts = [False]
    views = FleetViews(Slo, lambda: drifts[0])
    assert views.take() == {}
    views.on_view(view(late_ms=80, valid=True), 10.0)
    views.on_view(view(late_ms=900, valid=False), 10.1)  # not looked at
    drifts[0] = True
    views.on_view(view(late_ms=900, valid=False), 10.2)
    found = views.take()
    assert found["slo"] == {
        "views": 2,
        "bad": {"end_to_end_p99": 1, "deadlines": 1, "availability": 1, "errors": 0, "drift": 1},
    }
    assert found["metric"]["not_ok"] == {"lidar": 2}
    assert found["metric"]["modes"] == {"FULL": 2}
    assert found["metric"]["invalid"] == found["metric"]["deadline_missed"] == 1
    assert found["metric"]["end_to_end_ms"]["max"] == pytest.approx(900.0)
    assert views.take() == {}


def test_of_diagnostics_only_the_drift_of_encoders_is_read():
    values = [KeyValue(key="rate_hz", value="10"), KeyValue(key="drift", value="score PSI 0.4")]
    names = ("camera_front_encoder", "/robot/lidar_encoder", "fusion")
    array = DiagnosticArray(status=[DiagnosticStatus(name=n, values=values) for n in names])
    found = read_statuses(serialize_message(array), _wanted_of)
    assert [(s.name, dict(s.values)) for s in found] == [
        ("camera_front_encoder", {"drift": "score PSI 0.4"}),
        ("/robot/lidar_encoder", {"drift": "score PSI 0.4"}),
    ]
