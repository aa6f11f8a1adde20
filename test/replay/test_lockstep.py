"""Lock-step replay: the same bytes every time, degradation on virtual time."""

import itertools
import json

import pytest
from copies import copy_recording, later

from edge_perception.validation.accounts import peak_mb
from edge_perception.validation.merging import read_lines
from edge_perception.validation.pairing import pair


def records(result):
    return list(read_lines(result.folder / "fused.jsonl"))


def boxes(result):
    """Return all objects without what is known of them from before."""
    past = ("emergency", "emergency_evidence", "track_id", "age_s", "covariance")
    return [
        [{key: value for key, value in item.items() if key not in past} for item in r["objects"]]
        for r in records(result)
    ]


def source(record, name):
    return next(status for status in record["sources"] if status["source"] == name)


def test_two_runs_and_two_jobs_give_the_same_bytes(replay, plain):
    whole, again = plain, replay()
    one = replay(segment_s=2.0, warm_up_s=1.5, jobs=1)
    two = replay(segment_s=2.0, warm_up_s=1.5, jobs=2)
    assert whole.account["outputs"] > 35
    assert one.account["segments"] == 2
    assert whole.account["sha256"] == again.account["sha256"]
    assert one.account["sha256"] == two.account["sha256"]


def test_a_cut_is_not_seen_in_the_result(replay, drive, tmp_path):
    """What matters of the past fits in the warm-up.

    Images half a period from the sweeps go on with the one, before or after, that they met first
    (docs/validation.md): without odometry each warm-up begins as the whole does.
    """
    bag = copy_recording(
        drive, tmp_path / "still.mcap", lambda m: None if m.topic == "/odometry" else m
    )
    whole = replay(bag=bag)
    one = replay(bag=bag, segment_s=2.0, warm_up_s=1.5, jobs=1)
    two = replay(bag=bag, segment_s=2.0, warm_up_s=1.5, jobs=2)
    assert one.account["sha256"] == two.account["sha256"]
    assert [r["mode"] for r in records(one)] == [r["mode"] for r in records(whole)]
    # Tracks and sirens look back further than this warm-up; the five seconds of the default hold.
    assert boxes(one) == boxes(whole)
    ids = [[item["track_id"] for item in r["objects"]] for r in records(one)]
    assert all(len(set(row)) == len(row) and all(row) for row in ids)
    assert [r["sequence"] for r in records(two)] == list(range(len(records(two))))


def test_the_first_messages_recover_and_then_all_is_full(plain):
    found = records(plain)
    # The first window of sound is a second long, and a source is OK from its third good frame on.
    steady = found[12:-10]
    assert {record["mode"] for record in steady} == {"FULL"}
    assert all(record["level"] == "FEATURE" for record in steady)
    assert sum(len(record["objects"]) for record in found) > 50


def test_a_silent_sensor_degrades_on_virtual_time(replay):
    found = records(replay(drop=("lidar:1-3",)))
    start_ns = found[0]["published_ns"]
    inside = [r for r in found if 1.6e9 < r["published_ns"] - start_ns < 2.9e9]
    assert {record["mode"] for record in inside} == {"DEGRADED"}
    assert {source(record, "lidar")["state"] for record in inside} <= {"STALE", "MISSING"}
    gaps = [b["published_ns"] - a["published_ns"] for a, b in itertools.pairwise(found)]
    assert max(gaps) <= 0.25e9, "output never stops"


def test_declared_latency_drops_frames_and_shows_in_the_figures(replay):
    found = replay(latency="fixed:camera=150ms,lidar=30ms,fusion=8ms")
    # 150 ms a frame at 10 Hz: every second or third frame is overwritten in the mailbox.
    assert 10 <= found.account["dropped"]["camera"] <= 24
    assert found.account["dropped"]["lidar"] == 0
    last = records(found)[-5]
    assert source(last, "camera")["latency"]["inference_s"] == pytest.approx(0.15)
    assert last["fusion_s"] == pytest.approx(0.008)
    assert found.figures.metrics()["end_to_end_ms"]["p50"] > 150


def test_measured_latency_of_a_device_is_replayed_alike(replay, plain):
    first = plain
    file = first.folder / "latency.json"
    told = json.loads(file.read_text())
    assert set(told["stages"]) == {"camera", "lidar", "audio", "fusion"}
    runs = [replay(latency=f"measured:{file}") for _ in range(2)]
    assert runs[0].account["sha256"] == runs[1].account["sha256"]
    assert runs[0].account["sha256"] != first.account["sha256"]


def test_fog_noise_and_silence_change_the_result_repeatably(replay, plain):
    change = {
        "fog": 0.5,
        "noise": ("lidar:0.05", "camera:8", "audio:0.01"),
        "drop": ("audio:0-2",),
    }
    first, second = replay(**change), replay(**change)
    assert first.account["sha256"] == second.account["sha256"] != plain.account["sha256"]


def test_a_subset_has_no_other_source(replay):
    found = records(replay(subset=("camera", "audio")))
    assert {s["source"] for r in found for s in r["sources"]} == {"camera", "audio"}


def test_delayed_frames_are_told_late(replay, plain):
    found = records(replay(delay=("camera:60ms",)))
    age = [source(r, "camera")["age_s"] for r in found[15:25]]
    before = [source(r, "camera")["age_s"] for r in records(plain)[15:25]]
    assert min(age) > max(before)


def test_what_replay_costs_is_told(plain):
    told = plain.to_json()
    assert 0.1 < told["throughput_ratio"] < 5
    assert 0.05 < told["throughput_ratio_inference_only"] < told["throughput_ratio"]
    assert 50 < told["peak_mb"] <= peak_mb()  # of the whole process, which does more here


def test_pairs_of_messages_follow_the_time_of_publication():
    def at(*times_ms):
        return [{"published_ns": time * 1_000_000} for time in times_ms]

    def times(pairs):
        return [
            tuple(None if r is None else r["published_ns"] // 1_000_000 for r in p) for p in pairs
        ]

    assert times(pair(at(0, 100, 200), at(0, 101, 200))) == [(0, 0), (100, 101), (200, 200)]
    assert times(pair(at(0, 200), at(0, 100, 200))) == [(0, 0), (None, 100), (200, 200)]
    assert times(pair(at(0, 50, 100), at(0, 100))) == [(0, 0), (50, None), (100, 100)]
    assert times(pair(at(), at(5))) == [(None, 5)]


def test_a_first_calibration_behind_the_first_image_holds_for_it(replay, plain, drive, tmp_path):
    def change(message):
        return later(message, 10**7) if message.topic.endswith("camera_info") else message

    behind = replay(bag=copy_recording(drive, tmp_path / "behind.mcap", change))
    assert not behind.failure
    assert boxes(behind) == boxes(plain)
    assert not any(source(r, "camera")["refused"] for r in records(behind))
