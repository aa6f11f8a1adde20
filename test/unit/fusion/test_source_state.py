"""Every transition of one source, with value and limit in the reason."""

import numpy as np
import pytest

from edge_perception.core.types import (
    DetectedObject,
    Feature,
    ImageObject,
    Instant,
    ModelVersion,
    SourceState,
)
from edge_perception.fusion.clock_watch import ClockWatch
from edge_perception.fusion.config import SourceConfig
from edge_perception.fusion.state import SourceTrack

MS = 1_000_000
START_NS = 1_000_000_000_000
VERSION = ModelVersion(role="lidar", name="net", version="1.0.0", sha256="0" * 64)
RECOVERY = 3


class Source:
    """One track with its clock; times in ms since the start, on both clocks."""

    def __init__(self, **config):
        self.track = SourceTrack(
            SourceConfig(source="lidar", modality="lidar", **config), _moment(0)
        )
        self.clock = ClockWatch(_moment(0))

    def receive(self, at_ms, stamp_ms=None, **more):
        now = _moment(at_ms)
        self.clock.observe(now)
        stamp_ns = _moment(at_ms if stamp_ms is None else stamp_ms).node_ns
        return self.offer(Feature(**{**_plain(stamp_ns), **more}), now)

    def offer(self, feature, now):
        return self.track.offer(feature, now, self.clock, RECOVERY)

    def status(self, at_ms):
        now = _moment(at_ms)
        return self.track.status(now, self.track.raw_state(now), "", RECOVERY, False)


def _moment(ms):
    return Instant(node_ns=START_NS + round(ms * MS), steady_ns=round(ms * MS))


def _plain(stamp_ns):
    return {
        "stamp_ns": stamp_ns,
        "frame_id": "lidar",
        "source": "lidar",
        "modality": "lidar",
        "model": VERSION,
        "sequence": 0,
    }


def _good(count=5):
    source = Source()
    for index in range(count):
        assert source.receive(index * 100) is not None
    return source  # the newest arrived at 400 ms


@pytest.mark.parametrize(
    ("silence_ms", "state", "reason"),
    [
        (0, SourceState.OK, ""),
        (210, SourceState.OK, ""),  # one lost frame and jitter
        (220, SourceState.OK, ""),
        (221, SourceState.LATE, "silence 0.221 s > 0.220 s"),
        (500, SourceState.LATE, "silence 0.500 s > 0.220 s"),
        (501, SourceState.STALE, "silence 0.501 s > 0.500 s"),
        (1000, SourceState.STALE, "silence 1.000 s > 0.500 s"),
        (1001, SourceState.MISSING, "silence 1.001 s > 1.000 s"),
    ],
)
def test_silence_leads_through_the_states(silence_ms, state, reason):
    status = _good().status(400 + silence_ms)
    assert (status.state, status.reason) == (state, reason)
    assert status.silence_s == pytest.approx(silence_ms / 1e3)


def test_limits_can_be_set_one_by_one():
    source = Source(late_after_s=0.15, stale_after_s=0.3, missing_after_s=0.4)
    source.receive(0)
    states = [source.status(ms).state for ms in (151, 301, 401)]
    assert states == [SourceState.LATE, SourceState.STALE, SourceState.MISSING]


def test_never_heard_of_is_missing_from_the_start():
    status = Source().status(1500)
    assert (status.state, status.reason) == (
        SourceState.MISSING,
        "nothing received for 1.50 s",
    )
    assert np.isnan(status.age_s)
    assert np.isnan(status.silence_s)
    assert status.stamp_ns == 0


@pytest.mark.parametrize("gap_ms", [250, 600, 1500])
def test_recovery_takes_three_good_frames(gap_ms):
    source = _good()
    back_ms = 400 + gap_ms
    seen = []
    for index in range(4):
        source.receive(back_ms + index * 100)
        status = source.status(back_ms + index * 100)
        seen.append((status.state, status.reason))
    assert seen == [
        (SourceState.LATE, "recovering, 1 of 3 good frames"),
        (SourceState.LATE, "recovering, 2 of 3 good frames"),
        (SourceState.OK, ""),
        (SourceState.OK, ""),
    ]


def test_another_gap_starts_recovery_again():
    source = _good()
    source.receive(1000)
    source.receive(1100)
    source.receive(1400)  # a gap of three periods
    assert source.status(1400).reason == "recovering, 1 of 3 good frames"


BAD = {
    "refused by the encoder": (
        {"invalid_reason": "lidar: field 'x' is missing"},
        "lidar: field 'x' is missing",
    ),
    "zero stamp": ({"stamp_ns": 0}, "zero stamp"),
    "negative stamp": ({"stamp_ns": -(10**9)}, "negative stamp: -1 s"),
    "future stamp": (
        {"stamp_ns": START_NS + 800 * MS},
        "stamp 0.30 s ahead of the node clock > 0.20 s",
    ),
    "backward stamp": ({"stamp_ns": START_NS + 150 * MS}, "stamp went back 0.250 s"),
    "stamp again": ({"stamp_ns": START_NS + 400 * MS}, "stamp did not advance"),
    "NaN tensor": (
        {"tensors": {"bev": np.array([0.0, np.nan], np.float32)}},
        "tensor 'bev' has NaN or Inf",
    ),
    "Inf tensor": (
        {"tensors": {"bev": np.full((64, 64, 8), np.inf, np.float16)}},
        "tensor 'bev' has NaN or Inf",
    ),
    "NaN box": (
        {
            "objects": (
                DetectedObject(
                    class_name="car",
                    score=0.5,
                    center_m=(1.0, float("nan"), 0.0),
                    size_m=(4.0, 2.0, 1.5),
                    yaw_rad=0.0,
                ),
            )
        },
        "object 'car' has NaN or Inf",
    ),
    "Inf 2-D box": (
        {
            "image_objects": (
                ImageObject(
                    class_name="bus", score=0.5, x_min=0.0, y_min=0.0, x_max=float("inf"), y_max=1.0
                ),
            )
        },
        "image object 'bus' has NaN or Inf",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_feature_is_invalid_until_three_good_ones(kind):
    more, reason = BAD[kind]
    source = _good()
    assert source.receive(500, **more) is None
    status = source.status(510)
    assert (status.state, status.reason) == (SourceState.INVALID, reason)
    assert status.stamp_ns == START_NS + 400 * MS
    assert status.refused == (0 if "invalid_reason" in more else 1)
    assert source.receive(600) is not None, "the next good frame is used at once"
    assert source.status(600).state is SourceState.INVALID
    assert source.status(600).reason == f"recovering, 1 of 3 good frames after: {reason}"
    source.receive(700)
    source.receive(800)
    assert source.status(800).state is SourceState.OK


def test_refused_source_that_falls_silent_becomes_stale_then_missing():
    source = _good()
    source.receive(500, invalid_reason="lidar: cloud is empty")
    states = [source.status(500 + ms).state for ms in (300, 501, 1001)]
    assert states == [SourceState.INVALID, SourceState.STALE, SourceState.MISSING]


def test_old_features_are_stale_though_they_keep_coming():
    source = Source()
    for index in range(10):
        source.receive(1000 + index * 100, stamp_ms=400 + index * 100)
    status = source.status(1900)
    assert (status.state, status.reason) == (SourceState.STALE, "age 0.60 s > 0.50 s")
    assert status.age_s == pytest.approx(0.6)
    assert status.silence_s == 0.0


def test_counters_and_rate_reach_the_status():
    source = Source()
    for index in range(30):
        source.receive(index * 100, dropped=7, refused=2)
    source.receive(2950, stamp_ms=5000, dropped=7, refused=2)
    status = source.status(2960)
    assert (status.received, status.dropped, status.refused) == (31, 7, 3)
    assert status.rate_hz == pytest.approx(10.0, abs=0.6)
    assert source.status(6000).rate_hz == 0.0


def test_clock_jump_forgives_the_stamps_it_explains():
    source = _good()
    source.receive(500, stamp_ms=100)
    assert source.status(500).state is SourceState.INVALID
    source.track.on_clock_jump()
    assert source.status(500).state is SourceState.OK
    assert source.receive(600, stamp_ms=150) is not None


def test_clock_jump_does_not_forgive_content():
    source = _good()
    source.receive(500, invalid_reason="lidar: cloud is empty")
    source.track.on_clock_jump()
    assert source.status(500).state is SourceState.INVALID
