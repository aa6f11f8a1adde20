"""The trace, the verdict and the operator table."""

import json
import math
from itertools import pairwise

import pytest

from edge_perception.core.errors import UnknownNameError
from edge_perception.observe.profiling.operators import operator_tables
from edge_perception.observe.profiling.trace import (
    FeatureTiming,
    Recording,
    ViewTiming,
    bottlenecks,
    trace_of,
)

STAMP_NS = 1_700_000_000_000_000_000


def feature(sequence=1, source="camera", stages=(0.002, 0.001, 0.003, 0.010, 0.001), dropped=0):
    return FeatureTiming(
        source=source,
        sequence=sequence,
        stamp_ns=STAMP_NS + sequence * 50_000_000,
        stages_s=stages,
        dropped=dropped,
        model="bev_lite_camera",
    )


RECORDING = Recording(
    features=(feature(1), feature(2, dropped=3), feature(1, "lidar", (0.02, *[0.001] * 4))),
    views=(
        ViewTiming(
            sequence=1,
            published_ns=STAMP_NS + 100_000_000,
            wait_s=0.004,
            fusion_s=0.003,
            end_to_end_s=0.02,
            models=("bev_lite_fusion",),
        ),
    ),
)


def test_every_stage_is_an_event_and_follows_the_one_before():
    events = json.loads(trace_of(RECORDING))["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert sorted(names.values()) == ["camera", "fusion", "lidar"]
    camera = next(pid for pid, name in names.items() if name == "camera")
    spans = [e for e in events if e["ph"] == "X" and e["pid"] == camera][:5]
    assert [e["name"] for e in spans] == ["receive", "queue", "preprocess", "inference",
                                          "postprocess"]  # fmt: skip
    assert spans[0]["ts"] == pytest.approx((STAMP_NS + 50_000_000) / 1e3)
    for before, after in pairwise(spans):
        assert after["ts"] == pytest.approx(before["ts"] + before["dur"], abs=1.0)
    fusion = [e for e in events if e["ph"] == "X" and e["name"] == "fusion"]
    assert fusion[0]["dur"] == pytest.approx(3000)


def test_stages_that_were_not_measured_are_left_out():
    recording = Recording(features=(feature(stages=(math.nan,) * 5),), views=())
    assert [e["ph"] for e in json.loads(trace_of(recording))["traceEvents"]] == ["M", "M"]
    assert bottlenecks(recording) == ["camera: no stage was measured"]


def test_the_verdict_names_the_stage_that_takes_most():
    camera, lidar, fusion = bottlenecks(RECORDING)
    assert camera.startswith("camera: model takes most")
    assert camera.endswith("3 frames dropped")
    assert lidar.startswith("lidar: transport takes most")
    assert "end to end 20.00" in fusion


def tables_of(asked, recording=None, runs=2):
    tables = operator_tables(recording=recording, params_files=(), asked=asked, runs=runs)
    return {table.split(":")[0]: table.splitlines() for table in tables}


def shares(lines):
    rows = [line.split() for line in lines if " x " in line]
    return [float(next(word for word in row if word.endswith("%"))[:-1]) for row in rows]


ALONE = {"fusion.model": ""}


def test_a_model_is_profiled_as_its_node_runs_it_and_the_table_adds_up():
    asked = {**ALONE, "fusion.sources": ["audio"], "audio_encoder.threads": 2}
    (lines,) = tables_of(asked).values()
    assert lines[0].startswith("audio: bev_lite_audio ")
    assert lines[1].startswith("  onnxruntime ")
    assert lines[1].endswith("CPUExecutionProvider, 2 threads")
    assert lines[2] == "  inputs: 2 runs on zeros: no --recording"
    found = shares(lines)
    assert any("Conv" in line for line in lines)
    assert found == sorted(found, reverse=True)
    assert sum(found) == pytest.approx(100, abs=1.5)


def test_another_backend_is_taken_where_the_node_has_it():
    pytest.importorskip("openvino", reason="extra 'openvino' is not installed")
    asked = {**ALONE, "fusion.sources": ["audio"], "audio_encoder.backend": "openvino"}
    (lines,) = tables_of(asked).values()
    assert lines[1].startswith("  openvino ")
    assert "f32, 1 thread" in lines[1]
    assert sum(shares(lines)) == pytest.approx(100, abs=1.5)


def test_an_unknown_model_is_said():
    with pytest.raises(UnknownNameError, match="no_such_model"):
        tables_of({**ALONE, "fusion.sources": ["audio"], "audio_encoder.model": "no_such_model"})
