import dataclasses
import math

import numpy as np
import pytest
from fusion_scene import box, camera, camera_geometry, lidar, seen, surface

from edge_perception.core.types import Geometry, ImageObject
from edge_perception.fusion.config import DecisionConfig
from edge_perception.fusion.decision import decide

CONFIG = DecisionConfig()


def _decide(*features, config=CONFIG, **more):
    return decide({feature.source: feature for feature in features}, config, **more).objects


def test_agreeing_sensors_raise_the_score_and_both_are_named():
    car = box(20.0, 2.0)
    (fused,) = _decide(lidar(car), camera(seen(car)))
    assert fused.score == pytest.approx(1 - 0.4 * 0.3)
    assert fused.sources == ("lidar", "camera")
    assert fused.center_m == car.center_m


def test_camera_names_the_class_when_it_is_surer():
    truck = box(25.0, 0.0, name="truck", score=0.4)
    (fused,) = _decide(lidar(truck), camera(seen(truck, name="bus", score=0.8)))
    assert fused.class_name == "bus"
    assert fused.size_m == truck.size_m, "the LiDAR measured it"
    (fused,) = _decide(lidar(box(25.0, 0.0, score=0.9)), camera(seen(box(25.0, 0.0), name="bus")))
    assert fused.class_name == "car"


def test_pedestrian_never_confirms_a_car():
    car = box(15.0, 0.0)
    objects = _decide(lidar(car), camera(seen(car, name="person")))
    assert {item.class_name: item.sources for item in objects} == {
        "car": ("lidar",),
        "pedestrian": ("camera",),
    }


@pytest.mark.parametrize(
    ("coco", "common"),
    [("person", "pedestrian"), ("bicycle", "cyclist"), ("motorcycle", "cyclist"), ("car", "car")],
)
def test_names_of_foreign_detectors_become_common_ones(coco, common):
    (placed,) = _decide(camera(seen(box(15.0, 0.0, name=common), name=coco)))
    assert placed.class_name == common


@pytest.mark.parametrize("name", ["traffic light", "Auto"])
def test_traffic_lights_are_no_objects(name):
    """Names of another language neither, and the view says why it is empty."""
    decision = decide({"camera": camera(seen(box(15.0, 0.0), name=name))}, CONFIG)
    assert decision.objects == ()
    assert decision.notes == ("camera: none of its 2-D boxes is of a road user, so no object",)


def test_what_only_the_camera_sees_is_placed_by_the_points():
    car = box(25.0, -3.0)
    (fused,) = _decide(lidar(points=surface(car)), camera(seen(car)))
    assert math.dist(fused.center_m[:2], car.center_m[:2]) < 1.0
    assert fused.sources == ("camera",)


def test_placed_box_that_lands_on_a_lidar_box_supports_it():
    """The outlines do not overlap enough, but the points say it is the same car."""
    car = box(20.0, 2.0)
    whole = seen(car)
    half = dataclasses.replace(
        whole,
        x_max=(whole.x_min + whole.x_max) / 2,
        y_min=whole.y_max - 0.5 * (whole.y_max - whole.y_min),
    )
    objects = _decide(lidar(car, points=surface(car)), camera(half))
    assert [item.sources for item in objects] == [("lidar", "camera")]


def test_near_visible_box_without_camera_evidence_is_doubted_not_dropped():
    ghost, far, behind = box(15.0, 2.0), box(45.0, 5.0), box(-15.0, 0.0)
    other = box(20.0, -4.0)
    objects = _decide(lidar(ghost, far, behind, other), camera(seen(other)))
    scores = {item.center_m: item.score for item in objects}
    assert scores[ghost.center_m] == pytest.approx(0.6 * CONFIG.unseen_factor)
    assert scores[far.center_m] == pytest.approx(0.6)
    assert scores[behind.center_m] == pytest.approx(0.6)
    assert scores[other.center_m] > 0.8


@pytest.mark.parametrize("name", ["traffic light", "Fußgänger", "person"])
def test_camera_that_may_not_look_for_cars_doubts_none(name):
    """Its model may know no cars: nothing in this frame says that it does."""
    car, other = box(15.0, 2.0), box(20.0, -4.0)
    objects = _decide(lidar(car), camera(seen(other, name=name)))
    assert [item.score for item in objects if item.class_name == "car"] == [pytest.approx(0.6)]


def test_hidden_box_is_not_doubted():
    front, hidden = box(12.0, 0.0), box(20.0, 0.2)
    objects = _decide(lidar(front, hidden), camera(seen(front)))
    scores = {item.center_m: item.score for item in objects}
    assert scores[hidden.center_m] == pytest.approx(0.6)


def test_camera_that_detects_nothing_doubts_nothing():
    """Its network may not draw 2-D boxes at all."""
    (fused,) = _decide(lidar(box(15.0, 0.0)), camera())
    assert fused.score == pytest.approx(0.6)


def test_boxes_in_space_of_two_sensors_are_one_object():
    near, far = box(20.0, 2.0), box(30.0, 2.0)
    stereo = camera(objects=(box(20.8, 2.4, score=0.5), box(40.0, 2.0, score=0.5)))
    objects = _decide(stereo, lidar(near, far))
    both = next(item for item in objects if len(item.sources) == 2)
    assert both.center_m == near.center_m, "the LiDAR's geometry counts, whoever came first"
    assert both.score == pytest.approx(1 - 0.4 * 0.5)
    assert len(objects) == 3


def test_long_vehicles_match_by_footprint():
    bus = box(20.0, 3.0, name="bus")
    shifted = box(23.5, 3.2, name="bus", score=0.5)
    (fused,) = _decide(lidar(bus), camera(objects=(shifted,)))
    assert fused.sources == ("lidar", "camera")


def test_a_placed_car_that_shares_ground_with_a_known_one_is_no_second_car():
    known = box(20.0, -9.0)
    astray = box(22.2, -8.0)  # 2.4 m off, footprints overlap
    evidence = camera(seen(known), seen(astray, score=0.6))
    objects = _decide(lidar(known, points=surface(astray)), evidence)
    assert [item.center_m for item in objects] == [known.center_m]


def test_pedestrians_side_by_side_stay_two():
    pair = (box(15.0, 0.0, name="pedestrian"), box(15.0, 1.2, name="pedestrian"))
    objects = _decide(lidar(*pair), camera(*(seen(item, name="person") for item in pair)))
    assert [item.sources for item in objects] == [("lidar", "camera")] * 2
    pair = (box(15.0, 0.0, name="pedestrian"), box(15.0, 0.8, name="pedestrian"))
    alone = _decide(lidar(pair[0]), camera(*(seen(item, name="person") for item in pair)))
    assert len(alone) == 2


def test_two_cameras_seeing_one_car_make_one_object():
    car = box(20.0, 0.0)
    left, right = camera_geometry(0.1), camera_geometry(-0.1)
    objects = _decide(
        camera(seen(car, geometry=left), source="camera_left", geometry=left),
        camera(seen(car, geometry=right), source="camera_right", geometry=right),
    )
    assert [item.sources for item in objects] == [("camera_left", "camera_right")]


def test_camera_without_calibration_is_named():
    features = {"camera": camera(seen(box(15.0, 0.0)), geometry=Geometry())}
    decision = decide(features, CONFIG)
    assert decision.objects == ()
    assert decision.notes == ("camera: no calibration, its 2-D boxes are not placed",)


def test_weak_objects_are_left_out_and_the_number_is_bounded():
    cars = [box(5.0 * index, 0.0, score=0.1 + 0.01 * index) for index in range(50)]
    objects = _decide(lidar(*cars), config=DecisionConfig(min_score=0.2, max_objects=20))
    assert len(objects) == 20
    scores = [item.score for item in objects]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= 0.2


def test_unknown_classes_of_a_lidar_pass_through():
    cone = box(10.0, 1.0, name="car", size=(0.4, 0.4, 0.7))
    cone = dataclasses.replace(cone, class_name="traffic_cone", velocity_mps=(1.0, 0.0, 0.0))
    (fused,) = _decide(lidar(cone), camera(seen(box(30.0, -3.0))), config=CONFIG)[:1]
    assert fused.class_name == "traffic_cone"
    assert fused.velocity_mps == (1.0, 0.0, 0.0)


def test_seed_of_a_model_counts_once_and_names_all_its_sources():
    car = box(20.0, 2.0)
    (fused,) = _decide(seeds=[(car, ("camera", "lidar"))])
    assert fused.score == pytest.approx(0.6)
    assert fused.sources == ("camera", "lidar")
    (fused,) = _decide(lidar(box(20.5, 2.0, score=0.5)), seeds=[(car, ("camera",))])
    assert fused.score == pytest.approx(1 - 0.4 * 0.5)
    assert fused.sources == ("camera", "lidar")


def test_crowded_scene_keeps_pairs_apart():
    random = np.random.default_rng(3)
    cars = [box(8.0 + 6.0 * i, y) for i in range(5) for y in (-4.0, 0.0, 4.0)]
    noisy = [
        dataclasses.replace(
            car, center_m=tuple(c + random.normal(0, 0.2) for c in car.center_m), score=0.5
        )
        for car in cars
    ]
    objects = _decide(lidar(*cars), camera(objects=tuple(noisy)))
    assert len(objects) == 15
    assert all(item.sources == ("lidar", "camera") for item in objects)


def test_tiny_2d_box_does_not_break_placing():
    speck = ImageObject(class_name="car", score=0.9, x_min=5.0, y_min=5.0, x_max=5.0, y_max=5.0)
    flat = dataclasses.replace(speck, x_min=100.0, x_max=100.0, y_min=600.0, y_max=700.0)
    assert len(_decide(lidar(box(20.0, 0.0)), camera(speck, flat))) >= 1
