"""Tracks: ids, velocities over ground, covariances, occlusions, lost sensors, jumps."""

import math
from dataclasses import replace

import numpy as np
import pytest

from edge_perception.core.types import DetectedObject
from edge_perception.fusion.track_rows import MOST_TRACKS
from edge_perception.fusion.tracks import EgoPose, Tracker

NS = 1_000_000_000
START_NS = 1_000 * NS


def box(x, y, class_name="car", velocity=None, sources=("lidar",)):
    known = {} if velocity is None else {"velocity_mps": velocity}
    return DetectedObject(
        class_name=class_name, score=0.9, center_m=(x, y, 0.8), size_m=(4.4, 1.8, 1.6),
        yaw_rad=0.0, sources=sources, **known,
    )  # fmt: skip


def pose_of(x=0.0, y=0.0, yaw=0.0, epoch=0):
    c, s = math.cos(yaw), math.sin(yaw)
    T = np.eye(4)
    T[:2, :2], T[:2, 3] = [[c, -s], [s, c]], (x, y)
    return EgoPose(epoch=epoch, T=T)


class Drive:
    """Views of one period along a path."""

    def __init__(self, period_s=0.1, pose=lambda _: pose_of()):
        self.tracker = Tracker()
        self.stamp_ns = START_NS
        self._period_ns = round(period_s * NS)
        self._pose = pose

    def see(self, objects, *, pose=None, wait_s=0.0, **options):
        self.stamp_ns += self._period_ns + round(wait_s * NS)
        t_s = (self.stamp_ns - START_NS) / NS
        given = {"stamp_ns": self.stamp_ns, "measured_ns": self.stamp_ns, **options}
        return self.tracker.track(
            objects, pose=self._pose(t_s) if pose is None else pose or None,
            cameras={"camera"}, **given,
        )  # fmt: skip

    def all(self, views):
        for objects in views:
            found = self.see(objects)
        return found


def drive(views, pose=lambda _: pose_of()):
    return Drive(pose=pose).all(views)


def velocities(found):
    return [item.velocity_mps for item in found]


@pytest.mark.parametrize("velocity", [(0.0, 0.0), (12.0, 0.0), (-20.0, 3.0), (0.0, 1.5)])
def test_an_object_that_moves_on_a_line_gets_its_velocity(velocity):
    views = [[box(10 + velocity[0] * 0.1 * k, 5 + velocity[1] * 0.1 * k)] for k in range(10)]
    found = drive(views)[0].velocity_mps
    assert found == pytest.approx((*velocity, 0.0), abs=0.05), "the prior pulls by centimetres"


@pytest.mark.parametrize(
    ("yaw", "speed_mps", "told"),
    [
        (0.0, 8.0, 0.0),
        (0.0, -8.0, -math.pi),  # it came tail first
        (math.pi, 8.0, 0.0),
        (-3.0, 8.0, math.pi - 3.0),
        (0.0, -1.2, 0.0),  # it may be reversing
        (math.pi, 0.0, math.pi),  # it stands: nobody knows
    ],
)
def test_what_moves_looks_where_it_goes(yaw, speed_mps, told):
    views = [[replace(box(10 + speed_mps * 0.1 * k, 5), yaw_rad=yaw)] for k in range(10)]
    assert drive(views[:2])[0].yaw_rad == yaw, "nothing is known of it yet"
    assert drive(views)[0].yaw_rad == pytest.approx(told)


def facing(yaws, speeds_mps=(), **options):
    """Return the headings that are told of a car, seen with these."""
    made, x, told = Drive(**options), 10.0, []
    for k, yaw in enumerate(yaws):
        x += 0.1 * speeds_mps[k] if k < len(speeds_mps) else 0.0
        told.append(made.see([replace(box(x, 5), yaw_rad=yaw)])[0].yaw_rad)
    return told


def test_most_views_say_which_end_is_the_front():
    seen = [0.1, 0.1, 0.1 - math.pi, 0.1, 0.1 - math.pi, 0.1, 0.1]
    assert facing(seen) == pytest.approx([0.1] * 7)
    late = facing([0.1, *[0.1 - math.pi] * 6])
    assert late == pytest.approx([0.1, *[0.1 - math.pi] * 6]), "of two views the newest counts"


def test_a_car_that_has_stopped_keeps_the_front_it_drove_by():
    told = facing([math.pi] * 60, speeds_mps=[8.0] * 20)
    assert told[19:40] == pytest.approx([0.0] * 21)
    assert told[-1] == math.pi, "not for ever: a replay may begin anywhere"


def test_the_front_is_kept_while_it_turns_and_while_the_vehicle_does():
    turning = [0.1 * k for k in range(70)]
    seen = [yaw + math.pi * (k % 4 == 2) for k, yaw in enumerate(turning)]
    told = facing(seen)
    assert np.cos(np.subtract(told, turning)) == pytest.approx(np.ones(70))
    standing = [-0.1 * (k + 1) for k in range(70)]  # as the turning vehicle sees it
    seen = [yaw + math.pi * (k % 4 == 2) for k, yaw in enumerate(standing)]
    made = Drive(pose=lambda t: pose_of(yaw=t))
    for yaw, wanted in zip(seen, standing, strict=True):
        x, y = 10 * math.cos(wanted), 10 * math.sin(wanted)
        told = made.see([replace(box(x, y), yaw_rad=yaw)])[0]
        assert math.cos(told.yaw_rad - wanted) == pytest.approx(1.0)
        assert told.track_id == 1


def test_the_front_outlives_an_odometry_that_begins_anew():
    made = Drive()
    for _ in range(5):
        made.see([box(10, 5)])
    seen = [replace(box(10, 5), yaw_rad=math.pi)]
    assert made.see(seen, pose=pose_of(x=50.0, yaw=2.0, epoch=1))[0].yaw_rad == pytest.approx(0.0)


def test_the_velocity_is_over_ground_in_the_axes_of_the_base():
    # A parked car beside a vehicle of 10 m/s: in the base frame it goes back.
    parked = [[box(30 - 1.0 * k, 3)] for k in range(10)]
    found = drive(parked, lambda t: pose_of(x=10 * t))
    assert found[0].velocity_mps == pytest.approx((0.0, 0.0, 0.0), abs=1e-6)
    ahead = [[box(20, 0)] for _ in range(10)]  # as fast as the vehicle, which drives to the left
    found = drive(ahead, lambda t: pose_of(y=10 * t, yaw=math.pi / 2))
    assert found[0].velocity_mps == pytest.approx((10.0, 0.0, 0.0), abs=0.05)


def test_a_vehicle_that_turns_sees_what_stands_still_stand_still():
    turn = 0.05
    views = [[box(20 * math.cos(-turn * k), 20 * math.sin(-turn * k))] for k in range(10)]
    found = drive(views, lambda t: pose_of(yaw=turn * (10 * t - 1)))
    assert found[0].velocity_mps == pytest.approx((0.0, 0.0, 0.0), abs=1e-6)


def test_nothing_is_said_before_the_places_tell_it():
    for count in (1, 2, 3):
        (found,) = drive([[box(10 + k, 0)] for k in range(count)])
        assert all(map(math.isnan, found.velocity_mps))
        assert found.track_id == 1
        assert found.age_s == pytest.approx(0.1 * (count - 1))
        assert not math.isnan(found.covariance[0])
        assert math.isnan(found.covariance[-1])


def test_places_that_scatter_give_no_velocity():
    rng = np.random.default_rng(0)
    views = [[box(*rng.normal((20, 0), 0.9))] for _ in range(10)]
    (found,) = drive(views)
    assert math.isnan(found.velocity_mps[0])
    assert found.covariance[0] > 0.1, "and the place is told to be worse than assumed"


def test_a_camera_alone_keeps_the_id_and_tells_its_range_badly():
    rng = np.random.default_rng(3)
    views = [[box(30 + rng.normal(0, 1.5), rng.normal(0, 0.2), sources=("camera",))]
             for _ in range(20)]  # fmt: skip
    (found,) = drive(views)
    assert found.track_id == 1
    assert math.isnan(found.velocity_mps[0])
    assert found.covariance[0] > 3.0 > 0.5 > found.covariance[4]


def test_the_covariance_is_what_the_errors_are():
    rng = np.random.default_rng(1)
    truth = [[(10 + 0.8 * k, 10.0 * n) for n in range(100)] for k in range(11)]
    found = drive([[box(*rng.normal(place, 0.15)) for place in row] for row in truth])
    errors = [[item.center_m[0] - 18.0, item.velocity_mps[0] - 8.0] for item in found]
    told = [[item.covariance[0], item.covariance[7]] for item in found]
    share = np.nanmean(np.square(errors), axis=0) / np.nanmean(told, axis=0)
    assert 0.5 < share[0] < 1.5
    assert 0.1 < share[1] < 1.2, "of a velocity there is room for an acceleration"
    assert np.nanmedian(np.abs(np.array(errors)[:, 1])) < 0.5


def test_objects_are_told_apart_in_any_order():
    views = []
    for k in range(10):
        row = [box(10 + 1.0 * k, 0), box(40 - 1.0 * k, 4), box(25, 8), box(20, -6, "pedestrian")]
        views.append(row if k % 2 else row[::-1])
    last = drive(views)
    assert [round(item.velocity_mps[0]) for item in last] == [10, -10, 0, 0]
    assert [item.track_id for item in last] == [4, 3, 2, 1]


def test_a_pedestrian_beside_a_car_is_not_taken_for_it():
    views = [[box(10, 0), box(10.0 + 0.1 * k, 1.0, "pedestrian")] for k in range(10)]
    car, person = drive(views)
    assert car.velocity_mps == pytest.approx((0, 0, 0), abs=1e-9)
    assert person.velocity_mps == pytest.approx((1, 0, 0), abs=0.05)


def test_a_car_called_truck_now_and_then_is_the_same():
    views = [[box(10 + k, 0, "truck" if k % 3 else "car")] for k in range(10)]
    assert drive(views)[0].velocity_mps == pytest.approx((10.0, 0.0, 0.0), abs=0.05)


@pytest.mark.parametrize(("hidden_s", "same"), [(0.5, True), (1.0, True), (2.0, False)])
def test_an_occlusion_of_a_second_keeps_id_and_velocity(hidden_s, same):
    run = Drive(pose=lambda t: pose_of(x=5 * t))
    for k in range(10):
        run.see([box(20 + 0.5 * k, 3)])  # 10 m/s over ground
    for _ in range(round(hidden_s * 10)):
        assert run.see([]) == (), "a track that coasts is no object"
    (found,) = run.see([box(20 + 0.5 * (10 + 10 * hidden_s), 3)])
    assert (found.track_id == 1) is same
    if same:
        assert found.velocity_mps[0] == pytest.approx(10.0, abs=0.3)
        assert found.age_s == pytest.approx(1.0 + hidden_s)


def test_a_lost_modality_keeps_the_id():
    rng = np.random.default_rng(4)
    run = Drive()
    for k in range(40):
        error = (0.05, 0.05) if k % 20 < 10 else (0.06 * 25, 0.2)  # the camera guesses the range
        seen_by = ("camera", "lidar") if k % 20 < 10 else ("camera",)
        views = [box(25 + rng.normal(0, error[0]), y + rng.normal(0, error[1]), sources=seen_by)
                 for y in (-4.0, 0.0, 4.0)]  # fmt: skip
        found = run.see(views)
        assert [item.track_id for item in found] == [1, 2, 3]


def test_something_seen_once_is_soon_forgotten():
    run = Drive()
    run.see([box(10, 0)])
    (found,) = run.see([box(10, 0)], wait_s=0.6)
    assert found.track_id == 2


def test_a_model_that_knows_velocities_is_believed():
    views = [[box(10 + k, 0, velocity=(10.0, 0.5, 0.0))] for k in range(10)]
    (found,) = drive(views)
    assert found.velocity_mps == (10.0, 0.5, 0.0)
    assert math.isnan(found.covariance[-1]), "and vouches for it itself"
    fast = [[box(10 + 4 * k, 0, velocity=(40.0, 0.0, 0.0))] for k in range(4)]
    assert drive(fast)[0].track_id == 1, "its velocity tells where to look from the second view on"


def test_without_odometry_there_are_ids_and_no_velocities():
    run = Drive()
    for k in range(10):
        (found,) = run.see([box(10 + 0.5 * k, 0)], pose=False)
    assert found.track_id == 1
    assert math.isnan(found.velocity_mps[0])
    for k in range(10):
        (found,) = run.see([box(15 + 0.5 * k, 0)])
    assert found.track_id == 1, "odometry that comes and goes makes nothing new"
    assert found.velocity_mps[0] == pytest.approx(5.0, abs=0.1)
    far = pose_of(x=1e6, yaw=2.0, epoch=1)  # as of an odometry that was started anew
    (found,) = run.see([box(20, 0)], pose=far)
    assert found.track_id == 1
    assert math.isnan(found.velocity_mps[0])


def test_a_jump_of_the_clock_begins_anew_and_never_uses_an_id_again():
    run = Drive()
    run.all([[box(10 + k, 0)] for k in range(10)])
    for jump_s in (-300.0, 500.0):
        run.stamp_ns += round(jump_s * NS)
        (found,) = run.see([box(20, 0)])
        assert found.age_s == 0.0
    assert found.track_id == 3


def test_old_evidence_gets_what_is_known_and_teaches_nothing():
    run = Drive()
    views = [[box(10 + k, 0)] for k in range(10)]
    (before,) = run.all(views)
    stamp_ns = run.stamp_ns
    # Load control repeats the frame; the view is newer, what was seen is not.
    for _ in range(3):
        found = run.see([box(19, 0), box(60, 5)], measured_ns=stamp_ns)
        assert found[0].velocity_mps == pytest.approx(before.velocity_mps, abs=1e-9)
        assert [item.track_id for item in found] == [1, 2]
    late = run.see([box(18, 0)], measured_ns=stamp_ns - NS // 10)
    assert late[0].track_id == 1


def test_tracks_that_coast_are_known_where_they_should_be():
    run = Drive(pose=lambda t: pose_of(x=5 * t))
    for k in range(10):
        run.see([box(20 + 0.5 * k, 3), box(40 - 0.5 * k, -3)])
    run.see([box(35, -3)])
    hidden, seen = run.tracker.places(run.stamp_ns)
    assert (hidden.index, seen.index) == (-1, 0)
    assert hidden.center_m == pytest.approx((25.0, 3.0), abs=0.1)
    assert hidden.speed_mps == pytest.approx(10.0, abs=0.1)
    assert hidden.spread_m > seen.spread_m


def test_after_a_second_nothing_of_the_past_is_left():
    """A replay that starts later gives the same bits, but for ids and ages."""
    rng = np.random.default_rng(2)
    views = [
        [box(*rng.normal((5 * n + 0.3 * k, 4 * n - 8), 0.1))
         for n in range(6) if n % 2 or k % 5 != n]
        for k in range(60)
    ]  # fmt: skip

    def run(first):
        made = Drive(pose=lambda t: pose_of(x=7 * t, yaw=0.1 * t))
        made.stamp_ns += first * NS // 10
        found = made.all(views[first:])
        return [(item.velocity_mps, item.covariance) for item in found]

    assert repr(run(0)) == repr(run(40))


def test_an_empty_view_is_no_problem():
    assert drive([[], [], [box(1, 2)], []]) == ()
    assert list(Tracker().places(START_NS)) == []


def test_crowds_and_nonsense_stay_bounded():
    rng = np.random.default_rng(5)
    run = Drive()
    for _ in range(6):
        run.see([box(*rng.uniform(-200, 200, 2), f"kind {n}") for n in range(400)])
    assert len(run.tracker.places(run.stamp_ns)) <= MOST_TRACKS + 400
