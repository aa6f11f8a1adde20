"""One source watched: what diagnostics say with and without a reference, and after a swap."""

from dataclasses import replace

import numpy as np
import pytest

from edge_perception.core.types import (
    DetectedObject,
    Feature,
    FrameLatency,
    Geometry,
    ModelVersion,
)
from edge_perception.monitoring.drift.reference import Reference, SectionBuilder
from edge_perception.monitoring.source import MonitorOptions, SourceMonitor, classes, quantities

S = 10**9
VERSION = ModelVersion(role="lidar", name="m", version="1", sha256="0")


class Numbers:
    """Statistics that are given."""

    def of(self, frame, geometry):
        return frame

    def scores(self, seen):
        return {"fog": 1.0 if seen["a"] > 50.0 else 0.0}


def feature(stamp_ns, rng, score=0.6):
    objects = tuple(
        DetectedObject(
            class_name="car",
            score=float(np.clip(score + 0.05 * rng.standard_normal(), 0, 1)),
            center_m=(10.0 + rng.random(), 0.0, 0.0),
            size_m=(4.0 + 0.1 * rng.random(), 2.0, 1.5),
            yaw_rad=0.0,
        )
        for _ in range(3)
    )
    return Feature(
        stamp_ns=stamp_ns,
        frame_id="",
        source="lidar",
        modality="lidar",
        model=VERSION,
        sequence=1,
        objects=objects,
        tensors={"bev": rng.standard_normal((8, 16, 16)).astype(np.float16)},
        latency=FrameLatency(preprocess_s=0.002, inference_s=0.01, postprocess_s=0.001),
    )


def frame(rng, shift=0.0):
    return {name: float(rng.standard_normal() + shift) for name in "abcd"}


@pytest.fixture(scope="module")
def reference():
    rng, builder = np.random.default_rng(0), SectionBuilder()
    for step in range(1500):
        made = feature(step * S // 5, rng)
        builder.add(quantities(frame(rng), made), classes(made))
    return Reference(
        schema_version=1,
        source="lidar",
        modality="lidar",
        model="m",
        model_sha256="0",
        sections={"all": builder.section()},
    )


def drive(monitor, seconds, *, start_s=100.0, shift=0.0, score=0.6, rng=None):
    rng = rng or np.random.default_rng(1)
    for step in range(int(seconds * 5)):
        stamp_ns = round(start_s * S) + step * S // 5
        assert monitor.wants(stamp_ns)
        monitor.see(frame(rng, shift), Geometry(), feature(stamp_ns, rng, score))


def test_without_a_reference_drift_and_the_unfamiliar_are_not_known():
    monitor = SourceMonitor("lidar", Numbers(), MonitorOptions(), why_none="no reference")
    drive(monitor, 60)
    assert monitor.describe()["drift"] == "not known: no reference"
    assert monitor.findings() == ()
    assert "unfamiliar" not in monitor.conditions.known
    assert "fog" in monitor.conditions.known


def test_a_good_drive_a_drifted_one_and_something_never_seen(reference):
    monitor = SourceMonitor("lidar", Numbers(), MonitorOptions(), reference=reference)
    drive(monitor, 25)
    assert monitor.describe()["drift"] == "not known: fewer than 3 looks yet", "no alert could be"
    drive(monitor, 95, start_s=125.0)
    said = monitor.describe()
    assert (said["drift"], "drift_not_judged" in said) == ("none", False)
    assert monitor.history() == ()
    assert monitor.conditions.text == "nothing special"
    assert "unfamiliar" in monitor.conditions.known
    drive(monitor, 150, start_s=220.0, score=0.35)
    assert "score" in monitor.describe()["drift"]
    assert any("drift of score: median 0.599" in line for line in monitor.findings())
    drive(monitor, 10, start_s=370.0, shift=9.0)
    assert "unfamiliar" in monitor.conditions
    drive(monitor, 400, start_s=380.0)
    assert monitor.findings() == ()
    assert any("drift of score" in line for line in monitor.history()), "over, and not forgotten"


def test_what_could_not_be_judged_is_named(reference):
    monitor = SourceMonitor("lidar", Numbers(), MonitorOptions(), reference=reference)
    rng = np.random.default_rng(1)
    for step in range(500):
        stamp_ns = (100 + step // 5) * S + step % 5 * S // 5
        nothing = replace(feature(stamp_ns, rng), objects=())
        monitor.see(frame(rng), Geometry(), nothing)
    assert {"score", "distance_m"} <= set(monitor.describe()["drift_not_judged"].split(", "))


def test_frames_between_are_left_out_and_invalid_ones_tell_no_drift(reference):
    monitor = SourceMonitor("lidar", Numbers(), MonitorOptions(), reference=reference)
    rng = np.random.default_rng(2)
    monitor.see(frame(rng), Geometry(), feature(100 * S, rng))
    assert not monitor.wants(100 * S + S // 10)
    assert monitor.wants(100 * S + S // 5)
    assert monitor.wants(90 * S)  # the bag began anew
    before = monitor._detector._quantities["score"].window.counts.sum()
    broken = replace(feature(101 * S, rng), invalid_reason="black")
    monitor.see(frame(rng, 60.0), Geometry(), broken)
    reused = feature(102 * S, rng)
    monitor.see(frame(rng, 60.0), Geometry(), reused, own=False)
    assert monitor._detector._quantities["score"].window.counts.sum() == before


def test_conditions_stay_when_the_model_changes(reference):
    monitor = SourceMonitor("lidar", Numbers(), MonitorOptions(), reference=reference)
    drive(monitor, 10, shift=60.0)
    assert "fog" in monitor.conditions
    successor = SourceMonitor("lidar", Numbers(), MonitorOptions())
    successor.go_on_from(monitor)
    assert "fog" in successor.conditions
    off = SourceMonitor("lidar", Numbers(), MonitorOptions(conditions=False))
    drive(off, 10, shift=60.0)
    assert off.conditions.text == "not known"
