"""What the metrics node reads of bytes, against the same of typed messages."""

from __future__ import annotations

import functools
import struct
from types import SimpleNamespace

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.serialization import deserialize_message, serialize_message

pytest.importorskip("prometheus_client", reason="prometheus-client, extra 'observe', is missing")

from edge_perception import msg
from edge_perception.cdr import CdrError
from edge_perception.nodes.conversion.status_reading import (
    StatusRead,
    is_any,
    is_none,
    read_statuses,
)
from edge_perception.nodes.conversion.view_facts import facts_of
from edge_perception.observe.metrics.drift_values import drift_values
from edge_perception.observe.metrics.exposition import PipelineText
from edge_perception.observe.metrics.node import MetricsNode
from edge_perception.observe.metrics.state import PipelineState
from edge_perception.observe.metrics.told import told_by_encoders
from edge_perception.releases.slo import Slo

S = 10**9
OURS = ("lidar_encoder", "camera_front_encoder", "fusion", "resources")
ENCODER = {
    "frames": "812", "load_step": "1 of 2: a cheaper variant", "load_skipped": "3",
    "load_reused": "4", "model_cache_hit_rate": "0.50", "session_users": "2", "note": "é \n",
    "drift": "score", "drift.score": "psi 1.20 ks 0.50 z 7.0", "drifting": "no", "empty": "",
}  # fmt: skip
RESOURCES = {"cpu_share": "0.5", "watts VDD_IN": "7.25", "throttling": "none"}


def status(name: str, values: dict[str, str], level: bytes = b"\0") -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message="as it is", values=pairs)


def array(*statuses: DiagnosticStatus) -> bytes:
    return serialize_message(DiagnosticArray(status=list(statuses)))


def view(number: int, **changed: object) -> bytes:
    sources = [
        msg.SourceStatus(source=name, contributed=True, received=number, age_s=0.05)
        for name in ("camera_front", "lidar")
    ]
    for source in sources:
        source.stamp.sec = number
        source.latency.inference_s = 0.004 * number
    message = msg.FusedPerception(
        sequence=number,
        mode=msg.FusedPerception.MODE_FULL,
        valid=True,
        end_to_end_s=0.07,
        sources=sources,
        objects=[msg.DetectedObject(class_name="car")] * number,
        models=[msg.ModelVersion(role="fusion", name="bev", version=f"1.0.{number}")],
        conditions=[msg.Condition(name="rain", confidence=0.1 * number)],
        late_evidence=[msg.LateEvidence()],
        speed_advice_mps=8.0,
    )
    for name, value in changed.items():
        setattr(message, name, value)
    return serialize_message(message)


ARRAYS = (
    array(status("lidar_encoder", ENCODER)),
    array(status("camera_front_encoder", {}, b"\2"), status("camera_front_encoder: part", ENCODER)),
    array(status("fusion", ENCODER, b"\1"), status("resources", RESOURCES)),
    array(status("wheel_encoder", ENCODER), status("other/fusion", ENCODER)),
    array(),
    array(status("lidar_encoder", {**ENCODER, "drift": "not known: no reference"})),
)


def pipeline() -> PipelineState:
    facts = functools.partial(facts_of, decisions=False)
    return PipelineState(Slo(), facts, started_ns=0, started_stamp_ns=0)


def shown(state: PipelineState) -> list[str]:
    text = PipelineText(state, lambda: 2 * S).write(is_open=False).decode()
    return [line for line in text.split("\n") if "_metrics_process_" not in line]


def count_typed(state: PipelineState, data: bytes) -> None:
    """Count what a typed message of /diagnostics says, with all of its values."""
    for item in deserialize_message(data, DiagnosticArray).status:
        if item.name not in OURS:
            continue
        state.on_status(item.name, item.level[0], S)
        values = {pair.key: pair.value for pair in item.values}
        if item.name == "resources":
            state.told.on_resources(values, S)
        if item.name.endswith("_encoder"):
            source = item.name.removesuffix("_encoder")
            state.told.on_encoder(source, values, S)
            if (said := drift_values(values)) is not None:
                state.on_drift(source, said, S)


def test_the_metrics_are_those_of_typed_messages(harness):
    node = harness.add(MetricsNode, parameters={"port": 0})
    node.trigger_deactivate()  # it hears nothing by itself: its own diagnostics came in between
    node.pipeline, typed = pipeline(), pipeline()
    node.clock = SimpleNamespace(now=lambda: SimpleNamespace(steady_ns=S))
    for data in ARRAYS:
        node._on_diagnostics(data)
        count_typed(typed, data)
        assert shown(node.pipeline) == shown(typed)
    for number in (1, 2, 3, 5):
        node._on_view(view(number))
        typed.on_view(deserialize_message(view(number), msg.FusedPerception), S)
        if number != 2:  # the rest of a view is read only where somebody asks
            assert shown(node.pipeline) == shown(typed)
    text = "\n".join(shown(node.pipeline))
    for part in (
        'drift_known{source="lidar"} 0.0',
        'node_level{level="ERROR",node="camera_front_encoder"} 1.0',
        'power_watts{rail="VDD_IN"} 7.25',
        'load_frames_total{source="lidar",way="skipped"} 3.0',
        'condition_confidence_ratio{condition="rain"} 0.5',
        'model_info{feature_space="",model="bev",role="fusion",sha256="",version="1.0.5"} 1.0',
        "metrics_missed_views_total 1.0",
        'stage_seconds_count{source="lidar",stage="inference"} 4.0',
    ):
        assert f"edge_perception_{part}" in text, part


@pytest.mark.parametrize("wanted", [is_any, is_none, told_by_encoders])
@pytest.mark.parametrize("data", ARRAYS)
def test_statuses_are_those_of_the_typed_message(data, wanted):
    expected = [
        StatusRead(
            name=item.name,
            level=item.level[0],
            values={v.key: v.value for v in item.values if wanted(v.key.encode())},
        )
        for item in deserialize_message(data, DiagnosticArray).status
        if item.name != "fusion"
    ]
    assert read_statuses(data, lambda name: None if name == "fusion" else wanted) == expected


@pytest.mark.parametrize("wanted", [is_any, is_none, told_by_encoders])
def test_a_message_that_is_cut_off_is_refused(wanted):
    data = array(status("lidar_encoder", ENCODER), status("resources", RESOURCES))
    # The middleware pads the end of a message to a multiple of four.
    for length in range(4, len(data.rstrip(b"\0"))):
        with pytest.raises(CdrError):
            read_statuses(data[:length], lambda _name: wanted)


def test_a_length_that_cannot_be_is_refused_and_costs_no_memory():
    data = array(status("lidar_encoder", {"drift": "score"}))
    at = data.index(b"drift\0") - 4
    for offset in (at, at - 4):  # of the key, and the number of values
        broken = data[:offset] + struct.pack("<I", 0xFFFFFFF0) + data[offset + 4 :]
        for wanted in (is_any, is_none):
            with pytest.raises(CdrError):
                read_statuses(broken, lambda _name, wanted=wanted: wanted)


def test_both_byte_orders_and_other_encapsulations_are_read():
    pair = b"\0\0\0\2k\0" + b"\0\0" + b"\0\0\0\2v\0"
    big = b"\0\0\0\0" + bytes(8) + b"\0\0\0\1\0" + b"\0\0\0" + b"\0\0\0\1"
    big += b"\2" + b"\0\0\0" + b"\0\0\0\2n\0\0\0" + 2 * b"\0\0\0\1\0\0\0\0"
    big += b"\0\0\0\1" + pair
    assert read_statuses(big, lambda _name: is_any) == [
        StatusRead(name="n", level=2, values={"k": "v"})
    ]
    with pytest.raises(Exception, match="deserialize"):  # is left to the middleware
        read_statuses(b"\0\x77\0\0" + big[4:], lambda _name: is_any)
