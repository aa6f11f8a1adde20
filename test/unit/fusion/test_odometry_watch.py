"""Odometry that jumps, and odometry whose twist and pose tell another way."""

import math

import numpy as np
import pytest

from edge_perception.core.health import Health, Level
from edge_perception.fusion.motion import EgoMotion
from edge_perception.fusion.odometry_watch import Pose
from edge_perception.nodes.fusion.findings import with_odometry

MS = 1_000_000
NAN = math.nan


def at(ms, x_m, *, twist_mps=NAN, yaw=0.0):
    return Pose(
        stamp_ns=round(ms * MS),
        position_m=(x_m, 0.0, 0.0),
        orientation=(0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)),
        speed_mps=twist_mps,
    )


def driven(*, moves_mps=10.0, twist_mps=NAN, from_ms=1000, until_ms=3000, every_ms=20, motion=None):
    motion = motion or EgoMotion()
    for ms in range(from_ms, until_ms + 1, every_ms):
        motion.add(at(ms, moves_mps * ms / 1e3, twist_mps=twist_mps))
    return motion


def said(motion, age_s=0.1):
    return with_odometry(Health(level=Level.OK, message="FULL"), "odom", age_s, motion.state)


@pytest.mark.parametrize(
    ("twist_mps", "jump_m"),
    [(NAN, 1.5), (0.0, 1.5), (10.0, 1.5)],
    ids=["no twist", "empty twist", "twist"],
)
def test_a_pose_that_was_localised_anew_begins_anew_and_says_so(twist_mps, jump_m):
    motion = driven(twist_mps=twist_mps)
    epoch = motion.pose_at(3000 * MS).epoch
    motion.add(at(3020, 30.0 + jump_m, twist_mps=twist_mps))
    motion.add(at(3040, 30.2 + jump_m, twist_mps=twist_mps))
    assert motion.between(2900 * MS, 3030 * MS) is None, "the poses of before do not compare"
    np.testing.assert_allclose(motion.between(2900 * MS, 3000 * MS)[:3, 3], (-1.0, 0.0, 0.0))
    assert motion.pose_at(3030 * MS).epoch != epoch
    health = said(motion)
    assert health.level is Level.WARN
    assert health.message == (
        f"odom: the position jumped by {jump_m:.2f} m within 0.02 s: its tracks begin anew (jump 1)"
    )
    for ms in range(3060, 9000, 20):
        motion.add(at(ms, 30.2 + jump_m + 10.0 * (ms - 3040) / 1e3, twist_mps=twist_mps))
    assert said(motion).level is Level.OK, "told for a while"
    assert said(motion).values["odometry_jumps"] == "1"


def test_a_heading_that_jumps_is_told():
    motion = driven()
    motion.add(at(3020, 30.2, yaw=0.6))
    assert motion.state.jump.startswith("the heading jumped by 34 degrees within 0.02 s")


@pytest.mark.parametrize(
    "drive",
    [
        {"moves_mps": 60.0},
        {"moves_mps": 0.0, "twist_mps": 0.0},
        {"every_ms": 1000, "until_ms": 9000},
        {"moves_mps": 10.0, "twist_mps": 9.0},
        {"moves_mps": 0.4, "twist_mps": 1.0},  # a wheel that slips on a slow robot
        {"moves_mps": 10.0, "twist_mps": 0.0},  # a driver that leaves it empty
    ],
)
def test_what_drives_neither_jumps_nor_contradicts_itself(drive):
    motion = driven(**drive)
    assert (motion.state.jumps, motion.state.fault) == (0, "")
    assert said(motion).level is Level.OK


def test_a_pose_that_is_repeated_until_there_is_another_one_does_not_jump():
    for twist_mps in (0.0, 8.0):
        motion = EgoMotion()
        for number in range(100):
            held = number // 4 * 0.1
            motion.add(at(1000 + 25 * number, 8.0 * held, twist_mps=twist_mps))
        assert (motion.state.jumps, motion.state.fault) == (0, "")


def test_who_goes_to_and_fro_does_not_jump():
    motion = EgoMotion()
    for number in range(200):
        motion.add(at(1000 + 50 * number, 0.8 * abs(number // 2 % 6 - 3)))  # 8 m/s
    assert motion.state.jumps == 0


@pytest.mark.parametrize("twist_mps", [NAN, 0.0, 30.0])
def test_stamps_of_arrival_that_come_in_bursts_are_no_jumps(twist_mps):
    motion = EgoMotion()
    for number in range(400):
        burst, place = divmod(number, 5)  # five poses of 50 Hz, stamped within 2 ms
        stamp_ms = 1000 + 100 * burst + 0.5 * place
        motion.add(at(stamp_ms, 30.0 * 0.02 * number, twist_mps=twist_mps))
    assert motion.state.jumps == 0


@pytest.mark.parametrize("told", [False, True], ids=["no twist", "twist"])
def test_hard_braking_and_starting_are_no_jumps(told):
    motion, x_m, speed = EgoMotion(), 0.0, 0.0
    for number in range(300):
        speed = max(0.0, speed + (9.0 if number % 100 < 50 else -9.0) * 0.1)
        x_m += speed * 0.1
        motion.add(at(1000 + 100 * number, x_m, twist_mps=speed if told else NAN))
    assert (motion.state.jumps, motion.state.fault) == (0, "")


@pytest.mark.parametrize(
    ("moves_mps", "twist_mps", "text"),
    [
        (0.0, 8.0, "its pose moves 0.0 m/s, its twist says 8.0 m/s"),
        (8.0, 28.8, "its pose moves 8.0 m/s, its twist says 28.8 m/s"),  # in km/h
    ],
)
def test_a_pose_that_its_twist_contradicts_moves_nothing_and_is_told(moves_mps, twist_mps, text):
    motion = driven(moves_mps=moves_mps, twist_mps=twist_mps)
    assert motion.state.fault == text
    assert motion.pose_at(2900 * MS) is None
    assert motion.between(2900 * MS, 3000 * MS) is None
    health = said(motion)
    assert health.level is Level.WARN
    assert health.message == f"features are not moved: odom contradicts itself: {text}"


def test_a_pose_that_moves_while_a_twist_that_counts_says_standing_is_told_until_it_is_over():
    motion = driven(moves_mps=10.0, twist_mps=10.0)
    driven(from_ms=3020, until_ms=5000, moves_mps=10.0, twist_mps=0.0, motion=motion)
    assert motion.state.fault == "its pose moves 10.0 m/s, its twist says 0.0 m/s"
    driven(from_ms=5020, until_ms=7000, moves_mps=10.0, twist_mps=10.0, motion=motion)
    assert motion.state.fault == ""
    assert motion.pose_at(6900 * MS) is not None
