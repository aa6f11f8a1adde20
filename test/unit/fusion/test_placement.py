import math

import numpy as np
import pytest
from fusion_scene import box, camera_geometry, seen, surface

from edge_perception.core.types import ImageObject
from edge_perception.fusion.config import DecisionConfig
from edge_perception.fusion.placement import Sight, place

CONFIG = DecisionConfig()
NO_POINTS = np.empty((0, 3))


def _place(item, points=NO_POINTS, name="car", config=CONFIG):
    return place(item, name, Sight.of("camera", camera_geometry(), points), config)


@pytest.mark.parametrize("x", [10.0, 20.0, 35.0])
@pytest.mark.parametrize("y", [-5.0, 0.0, 3.0])
def test_points_place_a_car_within_a_metre(x, y):
    car = box(x, y)
    placed = _place(seen(car), surface(car))
    assert math.dist(placed.center_m[:2], (x, y)) < 1.0
    assert placed.center_m[2] == pytest.approx(0.8, abs=0.4)
    assert placed.score == pytest.approx(0.7 * CONFIG.points_factor)
    assert placed.size_m == (4.4, 1.8, 1.6)


@pytest.mark.parametrize("x", [12.0, 25.0])
def test_crossing_car_is_seen_from_its_side(x):
    car = box(x, 0.0, yaw=math.pi / 2)
    placed = _place(seen(car), surface(car))
    assert placed.yaw_rad == pytest.approx(math.pi / 2)
    assert math.dist(placed.center_m[:2], (x, 0.0)) < 0.7


def test_wall_behind_the_windows_is_not_the_car():
    car = box(15.0, 1.0)
    wall = np.random.default_rng(1).uniform([30.0, -10.0, 0.3], [30.2, 10.0, 3.0], (2000, 3))
    placed = _place(seen(car), np.concatenate([surface(car), wall]))
    assert math.dist(placed.center_m[:2], (15.0, 1.0)) < 1.0


def test_lone_point_in_front_is_not_the_car():
    car = box(20.0, 0.0)
    drop = np.array([[11.0, 0.0, 1.2]])
    placed = _place(seen(car), np.concatenate([surface(car), drop]))
    assert math.dist(placed.center_m[:2], (20.0, 0.0)) < 1.0
    assert placed.score == pytest.approx(0.7 * CONFIG.points_factor)


def test_points_of_something_else_do_not_place_a_distant_car():
    """A hedge hides the LiDAR's view: at its range the car would be 0.4 m high."""
    car = box(48.0, 0.0)
    hedge = np.random.default_rng(1).uniform([10.0, -3.0, 0.3], [10.2, 3.0, 1.6], (500, 3))
    placed = _place(seen(car), hedge)
    assert placed.center_m[0] > 40.0
    assert placed.score == pytest.approx(0.7 * CONFIG.ground_factor)


@pytest.mark.parametrize("name", ["car", "truck", "bus", "pedestrian", "cyclist"])
def test_without_lidar_the_road_places_every_class(name):
    item = box(20.0, 2.0, name=name)
    placed = _place(seen(item), name=name)
    assert math.dist(placed.center_m[:2], (20.0, 2.0)) < 1.0
    assert placed.class_name == name
    assert placed.score == pytest.approx(0.7 * CONFIG.ground_factor)


def test_nothing_is_placed_above_the_horizon_or_too_far():
    above = ImageObject(
        class_name="car", score=0.9, x_min=900.0, y_min=300.0, x_max=1000.0, y_max=500.0
    )
    assert _place(above) is None
    assert _place(seen(box(70.0, 0.0))) is None
    assert _place(seen(box(70.0, 0.0)), config=DecisionConfig(ground_range_m=80.0)) is not None


def test_too_few_points_are_no_evidence():
    car = box(20.0, 0.0)
    placed = _place(seen(car), surface(car, count=2))
    assert placed.score == pytest.approx(0.7 * CONFIG.ground_factor)
