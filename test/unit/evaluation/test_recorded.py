"""Labelled recordings: what is shown again counts once, scores are judged, cars ahead have aims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_perception.core.types import DetectedObject
from edge_perception.evaluation.ahead import SHOWN, ahead_table, ahead_targets, judge_ahead
from edge_perception.evaluation.boxes import BoxTruth, error_table, judge_boxes
from edge_perception.evaluation.matching import CLASSES
from edge_perception.evaluation.plots import recorded_reliability
from edge_perception.evaluation.recorded import RecordedFrames, _truth, evaluate_recordings
from edge_perception.evaluation.recorded_tables import lines, subset_table
from edge_perception.samples.build import BuildOptions, build_recording
from edge_perception.samples.scene import Scene, SceneFrame
from edge_perception.samples.truth import LabelledBox

MODELS = Path(__file__).parents[3] / "models" / "bev_lite"
CAR = DetectedObject(
    class_name="car", score=0.9, center_m=(10.0, 0.0, 0.8), size_m=(4.0, 2.0, 1.6), yaw_rad=0.0
)
OPTICAL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]], float)


def moved(box=CAR, **changes):
    return replace(box, **changes)


def truth(*boxes, in_camera=None):
    count = len(boxes)
    return BoxTruth(
        class_name=np.array([box.class_name for box in boxes], "U16"),
        center_m=np.array([box.center_m for box in boxes], np.float32).reshape(-1, 3),
        in_lidar=np.ones(count, bool),
        in_camera=np.ones(count, bool) if in_camera is None else np.array(in_camera),
        in_image=np.ones(count, bool),
        boxes=boxes,
    )


def judge(found, true):
    return judge_boxes(found, true, wanted=true.in_lidar)


def still(name, seed):
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 255, (90, 160, 3), np.uint8)
    return SceneFrame(
        name=name,
        jpeg=cv2.imencode(".jpg", picture)[1].tobytes(),
        camera_offset_s=-0.05,
        xyz_m=rng.uniform(-30, 30, (800, 3)).astype(np.float32),
        intensity=rng.integers(0, 255, 800).astype(np.uint8),
        time_offset_s=np.zeros(800, np.float32),
        boxes=(
            LabelledBox(
                label="Car", class_name="car", center_m=(10.0 + seed, 0.0, 0.8),
                size_m=(4.0, 2.0, 1.6), yaw_rad=0.0, points=50,
            ),
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    for module in ("rclpy", "edge_perception.msg"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    scene = Scene(
        origin="two stills",
        sequences=((still("a", 0), still("b", 1)),),
        start_ns=1_700_000_000_000_000_000,
        intrinsics=np.array([[100.0, 0, 80], [0, 100, 45], [0, 0, 1]]),
        image_size=(160, 90),
        T_base_camera=OPTICAL,
        T_base_lidar=np.eye(4),
        clip_name="silence",
        clip=np.zeros((1600, 1), np.int16),
        sample_rate_hz=16000,
        sounds=(),
    )
    path = tmp_path_factory.mktemp("stills") / "stills.mcap"
    build_recording(scene, path, BuildOptions(duration_s=3.0))
    return path


def test_a_moment_that_is_shown_again_is_taken_once(recording):
    frames = RecordedFrames(recording)
    assert [frame.name for frame in frames] == ["a", "b"]
    assert (len(frames), frames.repeated) == (30, 28)


def test_repeats_make_no_figure_surer(recording):
    report = evaluate_recordings(MODELS, [RecordedFrames(recording), RecordedFrames(recording)])
    assert (report["frames"], report["repeated"]) == (2, 58)
    for subset in ("camera+lidar", "lidar", "camera"):
        assert sum(report["feature"][subset]["objects"].values()) == 2
        assert "intervals" in report["feature"][subset]
        assert "ece" in report["feature"][subset]
    assert "2 labelled frames, 0 left out, 58 shown again and taken once" in list(lines(report))
    assert report["cars_ahead"]["lidar"]["cars"] == 2
    assert len(report["targets"]) == 3


def test_an_error_of_the_heading_is_told_as_axis_and_direction():
    turned = moved(yaw_rad=np.pi - 0.1)
    table = error_table([judge([turned], truth(CAR))])["car"]["all"]
    assert table["orientation_rad"] == pytest.approx(np.pi - 0.1)
    assert table["axis_rad"] == pytest.approx(0.1, abs=1e-5)
    assert table["turned"] == 1.0
    askew = error_table([judge([moved(yaw_rad=0.3)], truth(CAR))])["car"]["all"]
    assert (askew["axis_rad"], askew["turned"]) == (pytest.approx(0.3), 0.0)


def test_scores_are_held_to_what_they_promise(tmp_path):
    sure, unsure = moved(score=0.95), moved(score=0.55, center_m=(30.0, 9.0, 0.8))
    frames = [judge([sure, unsure], truth(CAR))] * 3 + [judge([sure], truth(moved(yaw_rad=1.0)))]
    table = subset_table(frames, thresholds=dict.fromkeys(CLASSES, 0.3))
    assert table["reliability"] == [
        {"from": 0.5, "to": 0.6, "promised": pytest.approx(0.55), "found": 0.0, "count": 3},
        {"from": 0.9, "to": 1.0, "promised": pytest.approx(0.95), "found": 1.0, "count": 4},
    ]
    assert table["ece"] == pytest.approx((3 * 0.55 + 4 * 0.05) / 7)
    low, high = table["intervals"]["ece"]
    assert low <= table["ece"] <= high
    report = {"frames": 4, "left_out": [], "labelled": ["around"], "feature": {"lidar": table}}
    text = "\n".join(lines(report))
    assert "what scores promise" in text
    assert "0.950  1.000 of 4" in text
    recorded_reliability(tmp_path / "reliability.png", report)
    assert (tmp_path / "reliability.png").is_file()


def test_the_camera_is_judged_by_what_it_shows_and_by_all():
    other, behind = moved(center_m=(20.0, 9.0, 0.8)), moved(center_m=(-10.0, 0.0, 0.8))
    true = truth(CAR, other, behind, in_camera=[True, False, False])
    objects = {"camera+lidar": [CAR, other], "lidar": [CAR], "camera": [CAR]}
    framed = {name: np.ones(len(found), bool) for name, found in objects.items()}
    table = ahead_table([judge_ahead(objects, true, np.ones(3, bool), framed)])
    assert {name: (entry["ap"], entry["cars"]) for name, entry in table.items()} == {
        "camera+lidar": (1.0, 2), "lidar": (0.5, 2), "camera": (0.5, 2), SHOWN: (1.0, 1)
    }  # fmt: skip
    reached = [entry["reached"] for entry in ahead_targets(table).values()]
    assert reached == [True, True, False]


def test_a_pickup_is_asked_for_as_nothing_and_no_detection_on_it_is_false():
    from edge_perception.core.types import Geometry

    camera = Geometry(
        T_base_sensor=OPTICAL, intrinsics=np.array([[100.0, 0, 80], [0, 100, 45], [0, 0, 1]]),
        image_size=(160, 90),
    )  # fmt: skip
    box = LabelledBox(
        label="Pickup Truck", class_name="truck", center_m=CAR.center_m, size_m=CAR.size_m,
        yaw_rad=0.0, points=50,
    )  # fmt: skip
    judged = judge([CAR], _truth((box,), camera)).centers
    assert not len(judged.wanted_label)
    assert not judged.counts[:, :3].any()
