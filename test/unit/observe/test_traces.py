"""A fused view as a trace: its id from the stamp, its times as they were measured."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pipeline_messages import STAGES, S, source, view

from edge_perception.core.types import UNKNOWN, SourceState
from edge_perception.observe.traces.spans import in_share, is_slow, spans_of, trace_id

MS = 10**6


def stamp(ns: int) -> SimpleNamespace:
    return SimpleNamespace(sec=ns // S, nanosec=ns % S)


def seen(name: str, stamp_ns: int, **changed):
    latency = SimpleNamespace(**dict(zip(STAGES, (0.001, 0.002, 0.003, 0.010, 0.004), strict=True)))
    values = {"stamp": stamp(stamp_ns), "inferred_stamp": stamp(0), "reason": "",
              "latency": latency, **changed}  # fmt: skip
    return source(name, **values)


def fused(*sources, **changed):
    newest = max((_ns(s.stamp) for s in sources if s.contributed), default=9 * S)
    values = {"header": SimpleNamespace(stamp=stamp(newest)), "reason": "", "sources": sources}
    return view(**{**values, **changed})


def _ns(found: SimpleNamespace) -> int:
    return found.sec * S + found.nanosec


def test_the_spans_of_a_view_stand_where_its_time_went():
    lidar_ns, camera_ns = 5 * S, 5 * S + 30 * MS
    spans = spans_of(
        fused(seen("lidar", lidar_ns), seen("camera", camera_ns), end_to_end_s=0.080), "car"
    )
    by_name = {span.name: span for span in spans if span.name not in ("receive", "queue")}
    root = spans[0]
    assert (root.name, root.start_ns, root.end_ns) == ("fused view", lidar_ns, lidar_ns + 80 * MS)
    frame = by_name["camera frame"]
    assert (frame.node, frame.parent_id) == ("camera_encoder", root.span_id)
    assert (frame.start_ns, frame.end_ns) == (camera_ns, camera_ns + 20 * MS)
    stages = [span for span in spans if span.parent_id == frame.span_id]
    assert [span.name for span in stages] == [name.removesuffix("_s") for name in STAGES]
    assert stages[0].start_ns == camera_ns
    assert stages[-1].end_ns == frame.end_ns
    assert all(a.end_ns == b.start_ns for a, b in itertools.pairwise(stages))
    wait, fusion = by_name["wait"], by_name["fusion"]
    assert (fusion.start_ns, fusion.end_ns) == (root.end_ns - 3 * MS, root.end_ns)
    assert (wait.start_ns, wait.end_ns) == (root.end_ns - 13 * MS, fusion.start_ns)
    assert {span.trace_id for span in spans} == {trace_id(camera_ns, "car")}
    assert len({span.span_id for span in spans}) == len(spans)
    assert not any(span.fault for span in spans)


def test_the_id_of_a_trace_is_found_from_the_stamp_and_tells_vehicles_apart():
    found = trace_id(5 * S, "car")
    assert f"{found:032x}".startswith(f"{5 * S:016x}")
    assert found != trace_id(5 * S, "truck")
    assert trace_id(0, "car") != 0
    ids = [trace_id(n * 100 * MS, "car") for n in range(4000)]
    assert sum(in_share(each, 0.1) for each in ids) == pytest.approx(400, abs=80)
    assert all(in_share(each, 1.0) for each in ids)
    assert not any(in_share(i, 0.0) for i in ids)


def test_what_was_not_measured_or_did_not_contribute_has_no_span_but_is_told():
    camera = seen("camera", 5 * S)
    camera.latency.queue_s = UNKNOWN
    lost = seen("lidar", 3 * S, contributed=False, state=SourceState.STALE, reason="age 2 s > 1 s")
    spans = spans_of(fused(camera, lost), "car")
    assert not any("lidar" in span.name for span in spans)
    assert "queue" not in [span.name for span in spans]
    assert spans[0].attributes["source.lidar"] == "STALE: age 2 s > 1 s"
    assert "source.camera" not in spans[0].attributes


def test_a_view_of_nothing_is_its_cycle_and_a_fault():
    lost = seen("lidar", 3 * S, contributed=False, state=SourceState.MISSING, reason="never")
    spans = spans_of(fused(lost, valid=False, reason="no source", end_to_end_s=UNKNOWN), "car")
    root = spans[0]
    assert (root.start_ns, root.end_ns) == (9 * S - 13 * MS, 9 * S)
    assert root.fault == "not valid: no source"
    assert len(spans) == 3


def test_slow_is_above_the_limit_or_a_missed_deadline_or_not_valid():
    usual = fused(seen("camera", 5 * S), end_to_end_s=0.080)
    assert not is_slow(usual, 0.0)
    assert not is_slow(usual, 100.0)
    assert is_slow(usual, 50.0)
    missed = fused(seen("camera", 5 * S), deadline_missed=True)
    assert is_slow(missed, 0.0)
    assert spans_of(missed, "car")[0].fault == "deadline missed"
    assert is_slow(fused(valid=False, end_to_end_s=UNKNOWN), 0.0)


def test_a_collector_that_hangs_holds_nobody_and_all_are_counted():
    pytest.importorskip("opentelemetry.sdk", reason="extra 'traces' is not installed")
    import threading

    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    from edge_perception.observe.traces import collector as module

    let_go, took = threading.Event(), threading.Event()

    class Hanging(SpanExporter):
        def export(self, spans):
            took.set()
            assert let_go.wait(30)
            return SpanExportResult.FAILURE

        def shutdown(self):
            let_go.set()

    spans = spans_of(fused(seen("camera", 5 * S)), "car")
    collector = module.Collector(Hanging(), namespace="/", vehicle="car")
    collector.put(spans)
    assert took.wait(30)
    for number in range(module.MOST_WAITING + 7):
        collector.put([replace(span, span_id=span.span_id + number) for span in spans])
    assert collector.counts.dropped == 7
    collector.close(patience_s=0.3)
    counts = collector.counts
    assert counts.sent == 0
    assert "refused" in counts.problem
    assert counts.failed + counts.dropped == module.MOST_WAITING + 8
