"""Recorded latencies as a trace in the Chrome JSON format, which Perfetto opens.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU (Trace Event
Format): complete events, times in microseconds.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

STAGES = ("receive", "queue", "preprocess", "inference", "postprocess")
# What the time of a stage says about the bottleneck.
_KINDS = {
    "receive": "transport",
    "queue": "waiting for the inference thread",
    "preprocess": "preprocessing",
    "inference": "model",
    "postprocess": "postprocessing",
}


@dataclass(frozen=True, kw_only=True)
class FeatureTiming:
    """Times of one feature."""

    source: str
    sequence: int
    stamp_ns: int
    stages_s: tuple[float, ...]  # in the order of STAGES; NaN: not measured
    dropped: int
    model: str


@dataclass(frozen=True, kw_only=True)
class ViewTiming:
    """Times of one fused view."""

    sequence: int
    published_ns: int  # arrival in the recorder less its own delay is not known: arrival
    wait_s: float
    fusion_s: float
    end_to_end_s: float
    models: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What was heard."""

    features: tuple[FeatureTiming, ...]
    views: tuple[ViewTiming, ...]


def trace_of(recording: Recording) -> str:
    """Return the trace as JSON."""
    events: list[dict[str, Any]] = []
    tracks = sorted({feature.source for feature in recording.features})
    for number, source in enumerate([*tracks, "fusion"]):
        events.append(_meta("process_name", number, source))
    for feature in recording.features:
        at_ns = float(feature.stamp_ns)
        track = tracks.index(feature.source)
        for stage, duration_s in zip(STAGES, feature.stages_s, strict=True):
            if not np.isfinite(duration_s):
                continue
            # Frames overlap: while one is inferred the next is on its way.
            thread = STAGES.index(stage) if stage in ("receive", "queue") else 2
            details: dict[str, float] = {"sequence": feature.sequence, "dropped": feature.dropped}
            events.append(_event(stage, track, thread, at_ns, duration_s, details))
            at_ns += duration_s * 1e9
    for view in recording.views:
        details = {"sequence": view.sequence, "end_to_end_ms": view.end_to_end_s * 1e3}
        start_ns = view.published_ns - view.fusion_s * 1e9
        events.append(_event("fusion", len(tracks), 1, start_ns, view.fusion_s, details))
        opened_ns = start_ns - view.wait_s * 1e9
        events.append(_event("wait", len(tracks), 0, opened_ns, view.wait_s, details))
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})


def bottlenecks(recording: Recording) -> list[str]:
    """Return a line for each source: the stage that takes most, and all medians."""
    by_source: dict[str, list[FeatureTiming]] = defaultdict(list)
    for feature in recording.features:
        by_source[feature.source].append(feature)
    lines = []
    for source, features in sorted(by_source.items()):
        medians = _nanmedian(np.array([feature.stages_s for feature in features]))
        if not np.isfinite(medians).any():
            lines.append(f"{source}: no stage was measured")
            continue
        worst = STAGES[int(np.nanargmax(medians))]
        stages = ", ".join(
            f"{stage} {value * 1e3:.2f}" for stage, value in zip(STAGES, medians, strict=True)
        )
        lost = features[-1].dropped - features[0].dropped
        lines.append(
            f"{source}: {_KINDS[worst]} takes most; p50 in ms: {stages}; {lost} frames dropped"
        )
    if recording.views:
        times = np.array([(v.wait_s, v.fusion_s, v.end_to_end_s) for v in recording.views])
        wait, fusion, end = _nanmedian(times) * 1e3
        lines.append(
            f"fusion: p50 in ms: wait {wait:.2f}, fusion {fusion:.2f}, end to end {end:.2f}"
        )
    return lines


def _nanmedian(values: np.ndarray) -> np.ndarray:
    """Return the median of each column, NaN for a column without a number."""
    medians = [
        np.median(column[np.isfinite(column)]) if np.isfinite(column).any() else np.nan
        for column in values.T
    ]
    return np.array(medians)


def _meta(name: str, process: int, value: str) -> dict[str, Any]:
    return {"ph": "M", "name": name, "pid": process, "args": {"name": value}}


def _event(
    name: str, process: int, thread: int, at_ns: float, duration_s: float, details: dict[str, Any]
) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": name,
        "pid": process,
        "tid": thread,
        "ts": at_ns / 1e3,
        "dur": duration_s * 1e6,
        "args": details,
    }
