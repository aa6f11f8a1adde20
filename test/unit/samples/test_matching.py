import numpy as np
import pytest
from made_up_run import OPTICAL, car, found

from edge_perception.samples.matching import Region, Score, compare, total

REGION = Region(
    T_camera_base=np.linalg.inv(OPTICAL),
    K=np.array([[1000.0, 0, 960], [0, 1000, 540], [0, 0, 1]]),
    image_size=(1920, 1080),
)


def score(objects, boxes):
    return compare(objects, boxes, REGION).score


def test_a_car_within_two_metres_is_correct_and_beyond_is_false():
    assert score([found(10, 1.9)], [car(10, 0)]) == Score(labelled=1, correct=1)
    assert score([found(10, 2.1)], [car(10, 0)]) == Score(labelled=1, false=1)


def test_height_does_not_matter():
    high = found(10, 0)
    assert score([high], [car(10, 0)]).correct == 1


def test_one_label_takes_one_detection_and_the_stronger_one_first():
    comparison = compare([found(10.5, 0, score=0.4), found(11, 0, score=0.9)], [car(10, 0)], REGION)
    assert comparison.pairs == ((1, 0),)
    assert comparison.false == (0,)


def test_each_detection_takes_the_nearest_label():
    comparison = compare([found(10, 0), found(12, 0)], [car(11.8, 0), car(10, 0.2)], REGION)
    assert set(comparison.pairs) == {(0, 1), (1, 0)}


@pytest.mark.parametrize(
    ("x_m", "y_m", "asked"),
    [(39.9, 0.0, True), (40.1, 0.0, False), (-5.0, 0.0, False), (10.0, 9.0, True),
     (10.0, 10.0, False)],
)  # fmt: skip
def test_only_cars_ahead_near_and_in_the_image_are_asked_for(x_m, y_m, asked):
    assert score([], [car(x_m, y_m)]).labelled == int(asked)


def test_outside_the_region_nothing_is_correct_or_false():
    assert score([found(60, 0), found(50, 5)], [car(60, 0)]) == Score()


def test_a_car_seen_where_a_pick_up_is_labelled_is_neither_correct_nor_false():
    pick_up = car(10, 0, label="Pickup Truck", class_name="truck")
    assert score([found(10, 0)], [pick_up]) == Score()


def test_other_classes_are_left_out():
    assert score([found(10, 0, class_name="pedestrian")], [car(10, 0)]) == Score(labelled=1)


def test_totals_precision_and_recall():
    both = total([Score(labelled=4, correct=3, false=1), Score(labelled=4, correct=3, false=1)])
    assert both == Score(labelled=8, correct=6, false=2)
    assert both.precision == pytest.approx(0.75)
    assert both.recall == pytest.approx(0.75)
    assert np.isnan(Score().precision)
