"""Spans of real stages at a receiver of OTLP: one fused message followed through its nodes."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import sensors
from harness import wait_until
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2

pytest.importorskip("opentelemetry.proto", reason="opentelemetry, extra 'traces', is missing")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from edge_perception import msg
from edge_perception.core.health import Level
from edge_perception.nodes.conversion import stamp_ns
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.observe.traces.node import TracesNode

WHOLE = {"fused view", "wait", "fusion", "lidar frame", "receive", "queue", "preprocess",
         "inference", "postprocess"}  # fmt: skip


class Receiver:
    """Takes traces as a collector does, or refuses them."""

    def __init__(self) -> None:
        self.status = 200
        self.spans: dict[str, dict[str, tuple[str, object]]] = {}  # by trace: name → node, span
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            of = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    trace = self.spans.setdefault(span.trace_id.hex(), {})
                    trace[span.name] = (of["service.name"], span)

    def whole(self) -> list[str]:
        return [trace for trace, spans in dict(self.spans).items() if set(spans) == WHOLE]


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def test_a_fused_message_is_followed_through_its_nodes(harness, receiver):
    harness.add(EncoderNode, "lidar")
    harness.add(FusionNode, parameters={"sources": ["lidar"], "model": ""})
    node = harness.add(TracesNode, parameters={"endpoint": receiver.url, "share": 1.0})
    fused = harness.subscribe(msg.FusedPerception, "perception/fused")
    clouds = harness.driver.create_publisher(PointCloud2, "lidar/points", qos_profile_sensor_data)
    harness.start()
    wait_until(clouds.get_subscription_count, "discovery")

    def traced() -> bool:
        clouds.publish(sensors.cloud(harness.driver.get_clock().now().nanoseconds))
        return bool(receiver.whole())

    wait_until(traced, "a trace of all stages", period_s=0.1)
    trace = receiver.whole()[0]
    spans = receiver.spans[trace]
    view = next(v for v in fused.messages if trace.startswith(f"{stamp_ns(v.header.stamp):016x}"))
    assert {name for name, (of, _) in spans.items() if of == "fusion"} == {
        "fused view", "wait", "fusion"
    }  # fmt: skip
    assert {of for of, _ in spans.values()} == {"fusion", "lidar_encoder"}
    root, frame, inference = (spans[n][1] for n in ("fused view", "lidar frame", "inference"))
    assert not root.parent_span_id
    assert frame.parent_span_id == root.span_id
    assert inference.parent_span_id == frame.span_id
    took_s = (root.end_time_unix_nano - root.start_time_unix_nano) / 1e9
    assert took_s == pytest.approx(view.end_to_end_s, abs=1e-5)
    took_s = (inference.end_time_unix_nano - inference.start_time_unix_nano) / 1e9
    assert took_s == pytest.approx(view.sources[0].latency.inference_s, abs=1e-6)
    assert root.start_time_unix_nano == stamp_ns(view.sources[0].stamp)
    assert frame.end_time_unix_nano <= root.end_time_unix_nano

    receiver.status = 400
    sent = node.health().values["sent"]
    wait_until(lambda: traced() and node.health().level == Level.ERROR, "what is not taken is told")
    assert "does not take traces" in node.health().message
    assert "400" in node.health().message
    assert int(node.health().values["failed"]) > 0
    assert int(sent) > 0
    assert not harness.callback_errors
