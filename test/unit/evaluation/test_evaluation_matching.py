"""AP, calibration error and sound scores on cases that can be worked out by hand."""

import math

import numpy as np
import pytest

from edge_perception.core.types import DetectedObject
from edge_perception.evaluation.confidence import confidence_table, published, reliability
from edge_perception.evaluation.frames import Truth
from edge_perception.evaluation.matching import (
    CLASSES,
    COUNTED_AT,
    MATCH_M,
    Judged,
    ap_table,
    average_precision,
    curve,
    judge_frame,
)
from edge_perception.evaluation.report import sound_f1, targets, without_nan
from edge_perception.evaluation.trials import Heard


def found(x, y, score=0.9, name="car"):
    return DetectedObject(
        class_name=name, score=score, center_m=(x, y, 0.8), size_m=(4.0, 2.0, 1.5), yaw_rad=0.0
    )


def truth(*places, names=None):
    count = len(places)
    return Truth(
        class_name=np.array(names or ["car"] * count, dtype="U16"),
        center_m=np.array([(x, y, 0.8) for x, y in places], np.float32).reshape(-1, 3),
        in_lidar=np.ones(count, bool),
        in_camera=np.ones(count, bool),
    )


def judge(objects, true, wanted=None):
    wanted = np.ones(len(true.class_name), bool) if wanted is None else np.array(wanted)
    return judge_frame(objects, true, wanted=wanted)


def test_each_distance_has_its_own_matches():
    judged = judge([found(10.0, 0.0)], truth((11.5, 0.0)))
    assert judged.hit.tolist() == [[False, False, True, True]]
    assert judged.counts.all()


def test_an_object_is_found_once_and_by_the_stronger():
    judged = judge([found(10.0, 0.0, 0.3), found(10.2, 0.0, 0.8)], truth((10.0, 0.0)))
    assert judged.hit[:, COUNTED_AT].tolist() == [False, True]


def test_other_class_is_no_match():
    judged = judge([found(10.0, 0.0, name="truck")], truth((10.0, 0.0)))
    assert not judged.hit.any()
    assert judged.counts.all()


def test_detection_on_an_unwanted_object_counts_neither_way():
    judged = judge([found(10.0, 0.0)], truth((10.0, 0.0)), wanted=[False])
    assert not judged.counts.any()
    assert len(judged.wanted_label) == 0


def test_what_lies_outside_of_the_grid_is_left_out():
    judged = judge([found(70.0, 0.0), found(10.0, 26.0)], truth((70.0, 0.0), (10.0, 0.0)))
    assert not judged.counts.any()
    assert len(judged.wanted_label) == 1


def test_perfect_detections_have_ap_one_and_none_has_zero():
    places = [(float(x), 0.0) for x in range(0, 40, 4)]
    perfect = judge([found(x, y) for x, y in places], truth(*places))
    assert ap_table(perfect)["map"] == pytest.approx(1.0)
    nothing = judge([], truth(*places))
    assert ap_table(nothing)["map"] == 0.0
    assert ap_table(nothing)["objects"]["car"] == 10


def test_half_the_objects_without_a_false_one():
    places = [(float(x), 0.0) for x in range(0, 40, 2)]
    judged = judge([found(x, y) for x, y in places[:10]], truth(*places))
    # Recall 0.11 to 0.50 at precision 1 of recall 0.11 to 1: 40 of 90 points.
    assert average_precision(curve(judged, 0, COUNTED_AT)) == pytest.approx(40 / 90, abs=0.012)


def test_false_ones_that_are_stronger_cost_precision():
    places = [(float(x), 0.0) for x in range(0, 40, 4)]
    good = [found(x, y, 0.5) for x, y in places]
    false = [found(x, 15.0, 0.9) for x, _ in places]
    value = average_precision(curve(judge(good + false, truth(*places)), 0, COUNTED_AT))
    assert 0.1 < value < 0.5
    weak = [found(x, 15.0, 0.1) for x, _ in places]
    value = average_precision(curve(judge(good + weak, truth(*places)), 0, COUNTED_AT))
    assert value == pytest.approx(1.0, abs=0.01)


def test_classes_without_objects_do_not_enter_the_mean():
    judged = judge([found(10.0, 0.0)], truth((10.0, 0.0)))
    assert list(ap_table(judged)["ap"]) == ["car"]
    assert math.isnan(average_precision(curve(judged, CLASSES.index("bus"), 0)))


def made_up(scores, hits):
    count = len(scores)
    return Judged(
        label=np.zeros(count, np.int8), score=np.array(scores, np.float32),
        hit=np.repeat(np.array(hits, bool)[:, None], len(MATCH_M), axis=1),
        counts=np.ones((count, len(MATCH_M)), bool), range_m=np.full(count, 10.0, np.float32),
        wanted_label=np.zeros(sum(hits), np.int8),
        wanted_range_m=np.full(sum(hits), 10.0, np.float32),
    )  # fmt: skip


THRESHOLDS = dict.fromkeys(CLASSES, 0.3)


def test_scores_that_are_frequencies_have_no_calibration_error():
    judged = made_up([0.75] * 4 + [0.25] * 4, [1, 1, 1, 0, 1, 0, 0, 0])
    everything = np.ones(8, bool)
    assert reliability(judged, everything).ece == pytest.approx(0.0)
    boastful = made_up([0.95] * 4, [1, 1, 0, 0])
    assert reliability(boastful, np.ones(4, bool)).ece == pytest.approx(0.45)


def test_only_what_reaches_its_threshold_is_published():
    judged = made_up([0.75, 0.29], [1, 0])
    assert published(judged, THRESHOLDS).tolist() == [True, False]
    table = confidence_table(judged, THRESHOLDS)
    assert (table["published"], table["precision"], table["recall"]) == (1, 1.0, 1.0)


def heard(present, reported):
    return Heard(class_name="siren", present=present, reported=reported)


def test_sound_f1():
    sounds = [heard(True, True)] * 3 + [heard(True, False)] + [heard(False, True)] * 2
    scores = sound_f1(sounds)
    assert scores["precision"] == pytest.approx(0.6)
    assert scores["recall"] == pytest.approx(0.75)
    assert scores["f1"] == pytest.approx(2 * 0.6 * 0.75 / 1.35)


def test_targets_say_what_is_not_reached():
    maps = {
        "camera+lidar+audio": 0.7, "camera+lidar": 0.7, "lidar+audio": 0.6, "lidar": 0.6,
        "camera+audio": 0.1, "camera": 0.1, "audio": 0.0,
    }  # fmt: skip
    report = {
        "subsets": {name: {"map": value, "siren_f1": 0.95} for name, value in maps.items()},
        "conditions": {
            "day": {"camera+lidar+audio": 0.72},
            "fog": {"camera+lidar+audio": 0.5, "lost_points": 8.0},
        },
        "rigs": {"6 cameras": {"share": {"LiDAR lost": 0.37, "one camera lost": 0.96}}},
    }
    verdicts = {name: entry["reached"] for name, entry in targets(report).items()}
    assert verdicts == {
        "fused above the best single modality, points": True,
        "LiDAR lost, share of the full mAP": False,
        "camera lost, share of the full mAP": True,
        "audio lost, change in points": True,
        "siren F1 at 0 dB": True,
        "6 cameras, LiDAR lost, share of the mAP": False,
        "6 cameras, one lost, share of the mAP": True,
        "fog: fused below day, points": False,
        "fog: below the same by clear day, points": True,
    }


def test_json_has_no_nan():
    assert without_nan({"a": [float("nan"), 1.0], "b": {"c": float("inf")}}) == {
        "a": [None, 1.0], "b": {"c": None}
    }  # fmt: skip
