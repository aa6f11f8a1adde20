"""A simulated drive through the whole replay: velocities and bearings against the truth."""

import json
import lzma
import math

import numpy as np
import pytest

from edge_perception.recordings.reader import Recording
from edge_perception.validation.merging import read_lines

SECONDS = 3.0


@pytest.fixture(scope="module")
def siren_drive(tmp_path_factory):
    """A recording with odometry and four microphones, and what is true of it."""
    for module in ("rclpy", "nav_msgs.msg", "edge_perception.msg"):
        pytest.importorskip(module, reason=f"{module} is not installed: it writes the recording")
    from edge_perception.samples.drive import TRUTH, simulate_drive, write_drive
    from edge_perception.simulation.scenario_file import load_scenario

    path = tmp_path_factory.mktemp("siren") / "drive.mcap"
    scenario = load_scenario("siren_from_behind")
    write_drive(simulate_drive(scenario, 7, SECONDS, progress=lambda _: None), path)
    return path, json.loads(Recording(path).attachment(TRUTH))


@pytest.fixture(scope="module")
def views(siren_drive, tmp_path_factory):
    from edge_perception.validation.bags import run_bags
    from edge_perception.validation.result import ValidationOptions
    from edge_perception.validation.settings import ReplaySettings

    options = ValidationOptions(out=tmp_path_factory.mktemp("replayed"))
    (result,) = run_bags(
        {"drive": ReplaySettings(bag=str(siren_drive[0]))}, options, lambda _: None
    )
    assert not result.failure
    return list(read_lines(result.folder / "fused.jsonl"))


def pairs(views, truth):
    """Pair objects with what is there at that moment: (found velocity, true velocity)."""
    found = []
    for view in views:
        frame = min(truth["frames"], key=lambda f: abs(f["stamp_ns"] - view["stamp_ns"]))
        after_s = (view["stamp_ns"] - frame["stamp_ns"]) / 1e9
        ego = np.array(frame["ego_velocity_mps"][:2])
        for item in view["objects"]:
            near = []
            for true in frame["objects"]:
                moved = after_s * (np.array(true["velocity_mps"][:2]) - ego)
                near.append((math.dist(item["center_m"][:2], true["center_m"][:2] + moved), true))
            gap_m, true = min(near, key=lambda pair: pair[0], default=(math.inf, None))
            if gap_m < 1.0:
                found.append((item["velocity_mps"][:2], true["velocity_mps"][:2]))
    return found


def test_velocities_are_those_of_the_truth(siren_drive, views):
    _, truth = siren_drive
    assert math.hypot(*truth["frames"][0]["ego_velocity_mps"]) > 3.0, "the vehicle moves"
    late = [view for view in views if view["stamp_ns"] > truth["frames"][6]["stamp_ns"]]
    found = pairs(late, truth)
    told = [(a, b) for a, b in found if a[0] is not None]
    errors = [math.dist(a, b) for a, b in told]
    moving = [math.dist(a, b) for a, b in told if math.hypot(*b) > 2.0]
    assert len(told) > 0.7 * len(found) > 30
    assert len(moving) > 20
    assert np.median(errors) < 0.5
    assert np.median(moving) < 0.8


def test_the_siren_is_heard_from_where_it_is(siren_drive, views):
    _, truth = siren_drive
    (track,) = [sound for sound in truth["sounds"] if sound["class_name"] == "siren"]
    events = [e for view in views for e in view["sound_events"] if e["class_name"] == "siren"]
    errors = []
    for event in events:
        at_s = (event["window_end_ns"] - truth["start_ns"]) / 1e9
        true = track["bearing_rad"][int(np.argmin(np.abs(np.array(track["time_s"]) - at_s)))]
        errors.append(abs(math.degrees(math.remainder(event["bearing_rad"] - true, 2 * math.pi))))
    assert len(events) > 10
    assert np.mean(np.array(errors) < 20.0) > 0.8


def test_velocities_and_bearings_are_compared_with_a_baseline(siren_drive, tmp_path):
    from edge_perception.validation.bags import run_bags
    from edge_perception.validation.result import ValidationOptions
    from edge_perception.validation.settings import ReplaySettings

    def run(name, *, update=False, **overrides):
        options = ValidationOptions(
            out=tmp_path / name, baseline=tmp_path / "baseline", update_baseline=update
        )
        settings = ReplaySettings(bag=str(siren_drive[0]), overrides=overrides)
        (result,) = run_bags({"drive": settings}, options, lambda _: None)
        assert not result.failure
        return result, "\n".join(f.line() for f in result.findings if f.failed)

    run("made", update=True)
    same, _ = run("same")
    assert same.passed
    square = [0.07, 0.07, 1.6, 0.07, -0.07, 1.6, -0.07, 0.07, 1.6, -0.07, -0.07, 1.6]
    turned = [value for k in (1, 3, 0, 2) for value in square[3 * k : 3 * k + 3]]
    _, told = run("turned", **{"audio_encoder.microphone_positions": turned})
    assert "siren bearing changed" in told
    assert "parameter: audio_encoder.microphone_positions" in told
    (path,) = (tmp_path / "baseline").glob("*/fused.jsonl.xz")
    with lzma.open(path, "rt") as file:
        records = [json.loads(line) for line in file]
    known = [item for record in records for item in record["objects"] if "velocity_mps" in item]
    known[0]["velocity_mps"][0] += 0.5
    del known[-1]["velocity_mps"]
    with lzma.open(path, "wt") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    _, told = run("slower")
    assert f"{known[0]['class_name']} velocity changed" in told
    assert f"{known[-1]['class_name']} velocity told now" in told
