"""Overlap, AP over 40 recalls and errors, on boxes whose figures can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_perception.core.types import DetectedObject, Geometry
from edge_perception.evaluation.boxes import (
    OVERLAPS,
    BoxTruth,
    ap_r40,
    detection_score,
    error_table,
    judge_boxes,
    overlap,
)
from edge_perception.evaluation.matching import Curve
from edge_perception.evaluation.recorded import AROUND, VIEW, _coverage, _judge, _Seen
from edge_perception.evaluation.recorded_tables import lines, subset_table

CAR = DetectedObject(
    class_name="car", score=0.9, center_m=(10.0, 0.0, 0.8), size_m=(4.0, 2.0, 1.6), yaw_rad=0.0
)


def moved(box=CAR, **changes):
    return replace(box, **changes)


def truth(*boxes, wanted=None):
    count = len(boxes)
    return BoxTruth(
        class_name=np.array([box.class_name for box in boxes], "U16"),
        center_m=np.array([box.center_m for box in boxes], np.float32).reshape(-1, 3),
        in_lidar=np.ones(count, bool) if wanted is None else np.array(wanted),
        in_camera=np.zeros(count, bool),
        in_image=np.ones(count, bool),
        boxes=boxes,
    )


def judge(found, true):
    return judge_boxes(found, true, wanted=true.in_lidar)


@pytest.mark.parametrize(
    ("other", "above", "space"),
    [
        (CAR, 1.0, 1.0),
        (moved(center_m=(12.0, 0.0, 0.8)), 1 / 3, 1 / 3),
        (moved(center_m=(10.0, 0.0, 1.6)), 1.0, 1 / 3),
        (moved(center_m=(10.0, 0.0, 2.4)), 1.0, 0.0),
        (moved(yaw_rad=np.pi / 2), 4 / 12, 4 / 12),
        (moved(yaw_rad=np.pi), 1.0, 1.0),
        (moved(size_m=(2.0, 1.0, 0.8)), 0.25, 0.125),
        (moved(center_m=(20.0, 0.0, 0.8)), 0.0, 0.0),
    ],
)
def test_overlap(other, above, space) -> None:
    assert overlap(CAR, other) == pytest.approx((above, space), abs=1e-6)


def test_a_box_is_found_where_it_overlaps_enough() -> None:
    near = moved(center_m=(10.5, 0.0, 0.8))  # 3.5 of 4.5: 0.78
    apart = moved(center_m=(11.2, 0.0, 0.8))  # 2.8 of 5.2: 0.54
    high = moved(center_m=(10.0, 0.0, 1.3))  # 1.1 of 2.1 in space: 0.52
    hits = {
        name: judge([box], truth(CAR)).overlaps.hit[0].tolist()
        for name, box in (("near", near), ("apart", apart), ("high", high))
    }
    assert OVERLAPS == ("bev", "3d", "bev_loose", "3d_loose")
    assert hits == {
        "near": [True, True, True, True],
        "apart": [False, False, True, True],
        "high": [True, False, True, True],
    }


def test_one_label_is_found_once_and_what_nobody_asks_for_excuses() -> None:
    twice = judge([CAR, moved(score=0.5)], truth(CAR)).overlaps
    assert twice.hit[:, 0].tolist() == [True, False]
    assert twice.counts[:, 0].tolist() == [True, True]
    for other in (truth(CAR, wanted=[False]), truth(moved(class_name="other"))):
        excused = judge([CAR], other).overlaps
        assert not excused.hit.any()
        assert not excused.counts.any()
    outside = moved(center_m=(60.0, 0.0, 0.8))
    assert not judge([outside], truth(outside)).overlaps.counts.any()


def test_ap_over_forty_recalls() -> None:
    half = Curve(recall=np.array([0.5]), precision=np.array([1.0]), wanted=2)
    assert ap_r40(half) == pytest.approx(0.5)
    late = Curve(recall=np.array([0.0, 0.5, 1.0]), precision=np.array([0.0, 0.5, 2 / 3]), wanted=2)
    assert ap_r40(late) == pytest.approx(2 / 3)
    assert ap_r40(Curve(recall=np.zeros(0), precision=np.zeros(0), wanted=3)) == 0.0
    assert np.isnan(ap_r40(Curve(recall=np.zeros(0), precision=np.zeros(0), wanted=0)))


def test_errors_are_those_of_the_pair() -> None:
    off = moved(center_m=(10.6, 0.8, 0.8), size_m=(2.0, 2.0, 1.6), yaw_rad=3.0)
    table = error_table([judge([off], truth(CAR))])["car"]
    assert table["all"]["translation_m"] == pytest.approx(1.0, abs=1e-5)
    assert table["all"]["scale"] == pytest.approx(0.5)
    assert table["all"]["orientation_rad"] == pytest.approx(3.0)
    assert (table["0-20 m"]["found"], table["20-35 m"]["found"]) == (1, 0)
    assert np.isnan(table["20-35 m"]["scale"])
    lost = error_table([judge([moved(center_m=(13.0, 0, 0.8))], truth(CAR))])["car"]["all"]
    assert (lost["found"], lost["wanted"]) == (0, 1)
    assert detection_score({"car": 0.0}, {"car": {"all": lost}}) == 0.0
    exact = error_table([judge([CAR], truth(CAR))])
    assert detection_score({"car": 1.0}, exact) == pytest.approx(1.0)


def test_labels_in_the_images_alone_are_taken_for_that() -> None:
    objects = dict.fromkeys((("feature", "lidar"),), (CAR, moved(center_m=(-10.0, 0.0, 0.8))))
    looks_ahead = Geometry(
        T_base_sensor=np.array(
            [[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]], np.float64
        ),
        intrinsics=np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]),
        image_size=(640, 480),
    )
    seen = _Seen(truth=truth(CAR), camera=looks_ahead, objects=objects)
    assert _coverage([seen] * 9) == AROUND  # too few to tell
    assert _coverage([seen] * 10) == VIEW
    beside = replace(seen.truth, in_image=np.zeros(1, bool))
    assert _coverage([seen] * 10 + [replace(seen, truth=beside)]) == AROUND
    for in_view_only, counted in ((True, [True, False]), (False, [True, True])):
        found: dict = {}
        _judge(seen, found, in_view_only=in_view_only)
        (judged,) = found["feature", "lidar"]
        assert judged.centers.counts[:, 2].tolist() == counted
        assert judged.overlaps.counts[:, 0].tolist() == counted


def test_a_report_without_one_judged_object_says_so() -> None:
    table = subset_table([judge([CAR], truth())])
    levels = {level: {"lidar": table} for level in ("feature", "decision")}
    told = list(lines({"frames": 1, "left_out": [], "labelled": ["around"], **levels}))
    assert told[1].startswith("objects: none of a class that is judged")
    assert len(told) == 2


def test_tables_of_few_frames_say_how_sure_they_are() -> None:
    far = moved(center_m=(30.0, 5.0, 0.8))
    frames = [judge([CAR], truth(CAR, far)), judge([CAR, far], truth(CAR, far))] * 2
    table = subset_table(frames)
    assert table["kitti"]["car"]["3d"]["0-20 m"] == pytest.approx(1.0)
    assert table["kitti"]["car"]["3d"]["20-35 m"] == pytest.approx(0.5)
    low, high = table["intervals"]["kitti.car.3d"]
    assert low < table["kitti"]["car"]["3d"]["all"] < high
    report = {
        "frames": 4,
        "left_out": [],
        "labelled": ["view"],
        "feature": {"lidar": table},
        "decision": {"lidar": table},
    }
    text = "\n".join(lines(report))
    for words in (
        "as KITTI",
        "only what the camera shows",
        "as nuScenes",
        "20-35 m",
        "9 of 10",
        "8 car",
    ):
        assert words in text
