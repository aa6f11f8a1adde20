"""Which tracks are of one thing."""

from edge_perception.core.types import DetectedObject
from edge_perception.fusion.shared_ground import SharedGround
from edge_perception.fusion.tracks import TrackPlace

NS = 1_000_000_000


def box(name, x, y, length=4.5, width=1.9, class_name="car", yaw=0.0):
    return DetectedObject(
        class_name=class_name, score=0.9, center_m=(x, y, 0.8), size_m=(length, width, 1.5),
        yaw_rad=yaw, track_id=name,
    )  # fmt: skip


def look(ground, objects, coasting=(), at_s=0.0, kept_s=4.0):
    """Show a view; `coasting`: id, x, y."""
    places = [
        TrackPlace(
            track_id=item.track_id, group="vehicle", index=index, center_m=item.center_m[:2],
            spread_m=0.2, speed_mps=0.0,
        )
        for index, item in enumerate(objects)
    ] + [
        TrackPlace(
            track_id=name, group="vehicle", index=-1, center_m=(x, y), spread_m=0.5, speed_mps=0.0
        )
        for name, x, y in coasting
    ]  # fmt: skip
    stamp_ns = round((100.0 + at_s) * NS)
    ground.note(objects, places, stamp_ns, stamp_ns - round(kept_s * NS))


def test_a_car_in_the_front_of_a_truck_is_the_truck_until_it_is_seen_apart():
    ground = SharedGround()
    truck, front = box(1, 20, 3, length=8, width=2.5, class_name="truck"), box(2, 16.5, 3)
    look(ground, [truck, front, box(3, 30, -3)])
    assert ground.together([1, 2, 3]) == [(1, 2), (3,)]
    look(ground, [truck, front], at_s=0.1)
    look(ground, [truck], coasting=[(2, 16.5, 3)], at_s=0.2)
    assert ground.together([1, 2]) == [(1, 2)], "what is not seen is not seen apart"
    look(ground, [truck, box(2, 11, 3)], at_s=0.3)
    assert ground.together([1, 2]) == [(1,), (2,)]


def test_neighbours_are_not_one_thing():
    ground = SharedGround()
    look(ground, [box(1, 10, 0), box(2, 10, 1.85), box(3, 14.2, 0.0), box(4, 18.5, 0.3, yaw=0.1)])
    assert ground.together([1, 2, 3, 4]) == [(1,), (2,), (3,), (4,)]


def test_a_person_beside_a_car_is_not_the_car():
    ground = SharedGround()
    look(ground, [box(1, 10, 0), box(2, 10, 0.5, 0.6, 0.6, class_name="pedestrian")])
    assert ground.together([1, 2]) == [(1,), (2,)]


def test_a_track_that_takes_over_the_box_of_another_one_goes_on_with_it():
    ground = SharedGround()
    look(ground, [box(1, 20, 3), box(2, 22, -3)])
    look(ground, [box(2, 19.5, 2.5)], coasting=[(1, 19.7, 3)], at_s=0.1)
    assert ground.together([1, 2]) == [(1, 2)]
    look(ground, [box(2, 19, 3)], at_s=1.5)
    assert ground.together([1, 2]) == [(1, 2)], "also when the other one is gone"
    look(ground, [box(2, 18, 3)], at_s=5.0)
    assert ground.together([1, 2]) == [(1,), (2,)], "not for ever"


def test_a_new_track_where_another_one_should_be_goes_on_with_it():
    ground = SharedGround()
    look(ground, [box(1, 20, 3)])
    look(ground, [], coasting=[(1, 19.5, 3)], at_s=0.5)
    look(ground, [box(7, 19.2, 3.2)], coasting=[(1, 19.1, 3)], at_s=0.9)
    assert ground.together([1, 7]) == [(1, 7)]


def test_who_drives_through_the_place_of_one_that_is_hidden_is_not_that_one():
    ground = SharedGround()
    look(ground, [box(1, 20, 3), box(2, 10, 3)])
    for k in range(1, 10):
        look(ground, [box(2, 10 + 1.2 * k, 3)], coasting=[(1, 20, 3)], at_s=0.1 * k)
    assert ground.together([1, 2]) == [(1,), (2,)]


def test_three_boxes_of_one_thing_are_one_thing():
    ground = SharedGround()
    look(ground, [box(5, 10, 0), box(3, 12, 0), box(4, 14, 0)])
    assert ground.together([3, 4, 5]) == [(3, 4, 5)]
    assert ground.together([3, 5]) == [(3, 5)], "5 and 3 overlap as well"
    ground.forget()
    assert ground.together([3, 4, 5]) == [(3,), (4,), (5,)]
