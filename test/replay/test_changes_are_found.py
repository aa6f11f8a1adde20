"""What changed is found and named: a model, a frame, a threshold, a stamp, a device."""

import json
import shutil

import pytest
from changed_model import changed_model

from edge_perception.validation.bags import run_bags
from edge_perception.validation.baseline import find_baseline
from edge_perception.validation.result import ValidationOptions
from edge_perception.validation.settings import ReplaySettings
from edge_perception.validation.thresholds import Thresholds


def lines(result, kind):
    return [f.line() for f in result.findings if f.kind == kind and f.failed]


def test_nothing_changed_passes(replay, baseline):
    result = replay(baseline=baseline)
    assert result.passed
    assert result.comparison.paired == result.account["outputs"]
    assert result.comparison.objects_same == result.comparison.objects > 50
    assert result.baseline.head.sha256 == result.account["sha256"]


def test_a_changed_model_is_named(replay, baseline, tmp_path):
    changed_model("bev_lite/lidar", tmp_path / "models")
    result = replay(
        baseline=baseline,
        overrides={"lidar_encoder.model_folders": [str(tmp_path / "models")]},
    )
    assert not result.passed
    (line,) = lines(result, "model")
    assert line.startswith("model: lidar: bev_lite_lidar") or "lidar" in line
    assert "0.9.9" in line
    assert lines(result, "objects"), "its effect on the objects is told too"
    assert not lines(result, "parameter")


def test_one_lost_frame_is_named_with_its_moment(replay, baseline):
    for name in ("lidar", "camera"):
        result = replay(baseline=baseline, lose=(f"{name}:2.0s",))
        told = lines(result, "frames")
        assert any(line.startswith(f"frames: {name} 1 fewer received at 2.") for line in told), told


def test_a_changed_threshold_is_named(replay, baseline):
    result = replay(baseline=baseline, overrides={"fusion.decision.min_score": 0.6})
    assert lines(result, "parameter") == ["parameter: fusion.decision.min_score: 0.2 became 0.6"]
    assert any("removed" in line for line in lines(result, "objects"))


def test_a_parameter_of_newer_code_is_told_and_fails_nothing(replay, baseline, tmp_path):
    older = tmp_path / "older"
    shutil.copytree(baseline, older)
    (head,) = older.glob("*/baseline.json")
    told = json.loads(head.read_text())
    del told["parameters"]["fusion.decision.max_objects"]
    head.write_text(json.dumps(told))
    result = replay(baseline=older)
    assert result.passed
    assert any("max_objects" in f.text for f in result.findings if f.kind == "parameter")


def test_some_of_the_sources_are_compared_with_the_baseline_of_all(replay, baseline):
    result = replay(baseline=baseline, subset=("camera", "audio"))
    assert not result.failure
    assert result.baseline.exact
    assert any("source lidar is gone" in line for line in lines(result, "states"))


def test_a_stamp_shift_of_20_ms_is_named(replay, baseline):
    result = replay(baseline=baseline, shift=("lidar:20ms",))
    told = lines(result, "timing")
    assert any(line.startswith("timing: lidar stamps shifted by +20.0 ms") for line in told), told


def test_tolerances_decide_what_fails(replay, baseline, tmp_path):
    from dataclasses import replace

    loose = replace(
        Thresholds().same_device,
        objects_share=1.0, timing_share=1.0, states_share=1.0, messages_share=1.0, events_share=1.0,
    )  # fmt: skip
    thresholds = replace(
        Thresholds(), same_device=loose, other_device=loose, parameters_may_change=True
    )
    options = ValidationOptions(out=tmp_path / "loose", baseline=baseline, thresholds=thresholds)
    result = replay(options=options, overrides={"fusion.decision.min_score": 0.6})
    assert result.passed
    assert any(f.kind == "parameter" for f in result.findings), "told, though it may change"


def test_a_swap_on_the_way_changes_the_model_at_its_stamp(replay, baseline, tmp_path):
    changed_model("bev_lite/lidar", tmp_path / "models")
    (tmp_path / "models" / "bev_lite").rename(tmp_path / "models" / "next")
    result = replay(
        baseline=baseline,
        overrides={"lidar_encoder.model_folders": [str(tmp_path / "models")]},
        swap=("lidar=next/lidar@2s",),
    )
    first = min(f.first_s for f in result.findings if f.kind == "objects")
    assert 1.9 <= first <= 2.3
    assert "lidar from lidar=next/lidar" in result.account["models"]
    from edge_perception.validation.merging import read_lines

    versions = [
        {m["version"] for m in r["models"] if m["role"] == "lidar"}
        for r in read_lines(result.folder / "fused.jsonl")
    ]
    used = [v for v in versions if v]
    assert used[0] != used[-1] == {"0.9.9"}
    assert all(len(v) == 1 for v in used)


def test_another_device_compares_with_its_own_tolerances(replay, baseline, tmp_path, drive):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(baseline, elsewhere)
    (head,) = elsewhere.glob("*/baseline.json")
    told = json.loads(head.read_text())
    told["device"] = "another machine"
    told["recording"]["content"] = "0" * 64  # and its pictures differ in the last bit
    head.write_text(json.dumps(told))
    result = replay(baseline=elsewhere)
    assert result.passed
    assert not result.baseline.exact
    assert any("another machine" in f.text for f in result.findings)


def test_a_recording_without_baseline_is_an_input_error(replay, tmp_path):
    result = replay(baseline=tmp_path / "nothing")
    assert result.usage
    assert "no baseline for this recording" in result.failure
    assert "--update-baseline" in result.failure


def test_a_baseline_is_small_and_says_where_it_comes_from(baseline, plain):
    found = find_baseline(baseline, plain.account["recording"])
    assert sum(f.stat().st_size for f in found.path.iterdir()) < 60_000
    head = found.head
    assert {"camera", "lidar", "audio", "fusion"} == set(head.models)
    assert all(len(model["sha256"]) == 64 for model in head.models.values())
    assert "onnxruntime" in head.runtime
    assert head.device


@pytest.mark.parametrize("jobs", [2])
def test_a_bag_that_kills_its_worker_does_not_lose_the_others(drive, tmp_path, jobs):
    bad = tmp_path / "bad.mcap"
    bad.write_bytes(b"no recording at all")
    options = ValidationOptions(out=tmp_path / "out", jobs=jobs)
    names = {"good": ReplaySettings(bag=str(drive)), "bad": ReplaySettings(bag=str(bad))}
    good, broken = run_bags(names, options, lambda _: None)
    assert good.account["outputs"] > 30
    assert broken.failure
    assert broken.usage
