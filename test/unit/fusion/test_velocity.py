import math

import numpy as np
import pytest

from edge_perception.core.types import DetectedObject
from edge_perception.fusion.velocity import EgoStep, VelocityTracker

NS = 1_000_000_000
START_NS = 1_000 * NS


def box(x, y, class_name="car", velocity=None):
    known = {} if velocity is None else {"velocity_mps": velocity}
    return DetectedObject(
        class_name=class_name, score=0.9, center_m=(x, y, 0.8), size_m=(4.4, 1.8, 1.6),
        yaw_rad=0.0, **known,
    )  # fmt: skip


def step_of(since_ns, *, ahead_m=0.0, turn_rad=0.0):
    """Return the step of a base that went ahead, then turned left."""
    c, s = math.cos(turn_rad), math.sin(turn_rad)
    T = np.eye(4)
    T[:2, :2] = [[c, s], [-s, c]]
    T[:2, 3] = T[:2, :2] @ [-ahead_m, 0.0]
    return EgoStep(since_ns=since_ns, T=T)


def drive(views, *, tracker=None, period_s=0.1, speed_mps=0.0, turn_rad=0.0):
    """Track views of one period; return the velocities of the last one."""
    tracker = tracker or VelocityTracker()
    period_ns = round(period_s * NS)
    for index, objects in enumerate(views):
        stamp_ns = START_NS + index * period_ns
        step = step_of(stamp_ns - period_ns, ahead_m=speed_mps * period_s, turn_rad=turn_rad)
        found = tracker.track(objects, stamp_ns, step)
    return [item.velocity_mps for item in found]


@pytest.mark.parametrize("velocity", [(0.0, 0.0), (12.0, 0.0), (-20.0, 3.0), (0.0, 1.5)])
def test_an_object_that_moves_on_a_line_gets_its_velocity(velocity):
    views = [[box(10 + velocity[0] * 0.1 * k, 5 + velocity[1] * 0.1 * k)] for k in range(10)]
    assert drive(views)[0] == pytest.approx((*velocity, 0.0), abs=1e-6)


def test_the_velocity_is_over_ground_in_the_axes_of_the_base():
    # A parked car beside a vehicle of 10 m/s: in the base frame it goes back.
    parked = [[box(30 - 1.0 * k, 3)] for k in range(10)]
    assert drive(parked, speed_mps=10.0)[0] == pytest.approx((0.0, 0.0, 0.0), abs=1e-6)
    ahead = [[box(20, 0)] for _ in range(10)]  # as fast as the vehicle
    assert drive(ahead, speed_mps=10.0)[0] == pytest.approx((10.0, 0.0, 0.0), abs=1e-6)


def test_a_vehicle_that_turns_sees_what_stands_still_stand_still():
    turn = 0.05
    views = [[box(20 * math.cos(-turn * k), 20 * math.sin(-turn * k))] for k in range(10)]
    assert drive(views, turn_rad=turn)[0] == pytest.approx((0.0, 0.0, 0.0), abs=1e-6)


def test_nothing_is_said_before_the_places_tell_it():
    for count in (1, 2, 3):
        (velocity,) = drive([[box(10 + k, 0)] for k in range(count)])
        assert all(map(math.isnan, velocity))


def test_places_that_scatter_give_no_velocity():
    rng = np.random.default_rng(0)
    views = [[box(*rng.normal((20, 0), 1.5))] for _ in range(10)]
    assert math.isnan(drive(views)[0][0]), "as with a camera alone"


def test_noise_of_a_detector_is_averaged():
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(50):
        views = [[box(*rng.normal((10 + 0.8 * k, 0), 0.2))] for k in range(11)]
        vx, vy, _ = drive(views)[0]
        errors.append(math.hypot(vx - 8.0, vy))
    assert np.nanmedian(errors) < 0.5
    assert np.isnan(errors).mean() < 0.1


def test_objects_are_told_apart_in_any_order():
    views = []
    for k in range(10):
        row = [box(10 + 1.0 * k, 0), box(40 - 1.0 * k, 4), box(25, 8), box(20, -6, "pedestrian")]
        views.append(row if k % 2 else row[::-1])
    last = drive(views)
    assert [round(v[0], 6) + 0.0 for v in last] == [10.0, -10.0, 0.0, 0.0]


def test_a_pedestrian_beside_a_car_is_not_taken_for_it():
    views = [[box(10, 0), box(10.0 + 0.1 * k, 1.0, "pedestrian")] for k in range(10)]
    car, person = drive(views)
    assert car == pytest.approx((0, 0, 0), abs=1e-9)
    assert person == pytest.approx((1, 0, 0), abs=1e-6)


def test_a_car_called_truck_now_and_then_is_the_same():
    views = [[box(10 + k, 0, "truck" if k % 3 else "car")] for k in range(10)]
    assert drive(views)[0] == pytest.approx((10.0, 0.0, 0.0), abs=1e-6)


def test_an_object_that_is_missed_is_found_again_for_a_while():
    seen = [[box(10 + k, 0)] if k not in (6, 7, 8) else [] for k in range(10)]
    assert drive(seen)[0] == pytest.approx((10.0, 0.0, 0.0), abs=1e-6)
    gone = [[box(10 + k, 0)] if k < 5 else [] for k in range(10)] + [[box(20, 0)]]
    assert math.isnan(drive(gone)[0][0])


def test_a_model_that_knows_velocities_is_believed():
    views = [[box(10 + k, 0, velocity=(3.0, 4.0, 0.0))] for k in range(10)]
    assert drive(views)[0] == (3.0, 4.0, 0.0)


def test_a_gap_in_the_chain_begins_anew():
    tracker = VelocityTracker()
    drive([[box(10 + k, 0)] for k in range(10)], tracker=tracker)
    later = tracker.track([box(20, 0)], START_NS + 5 * NS, step_of(START_NS + 4 * NS))
    assert math.isnan(later[0].velocity_mps[0])


def test_after_a_second_nothing_of_the_past_is_left():
    """A replay that starts later gives the same bits."""
    rng = np.random.default_rng(2)
    views = [
        [box(*rng.normal((5 * n + 0.3 * k, 4 * n - 8), 0.2))
         for n in range(6) if rng.random() < 0.8]
        for k in range(60)
    ]  # fmt: skip
    period_ns = NS // 10

    def run(first):
        tracker = VelocityTracker()
        for index in range(first, len(views)):
            stamp_ns = START_NS + index * period_ns
            step = step_of(stamp_ns - period_ns, ahead_m=0.7, turn_rad=0.01)
            found = tracker.track(views[index], stamp_ns, step)
        return [item.velocity_mps for item in found]

    assert repr(run(0)) == repr(run(25))


def test_an_empty_view_is_no_problem():
    assert drive([[], [], [box(1, 2)], []]) == []
