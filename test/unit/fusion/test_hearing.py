"""Which object a siren comes from."""

import math
from dataclasses import replace

import numpy as np

from edge_perception.core.types import DetectedObject, SoundEvent
from edge_perception.fusion.hearing import Hearing
from edge_perception.fusion.tracks import TrackPlace

NS = 1_000_000_000
START_NS = 1_000 * NS


def run(
    paths, source, *, steps=40, error=lambda k: 0.0, hidden=(), heard=lambda k: True,
    horn=None, horn_steps=99, untracked=lambda k: (), hidden_at=lambda k: (),
    told_apart=False,
):  # fmt: skip
    """Hear a siren from where `source` is; return the last objects and events, and all marks.

    horn: path of somebody who sounds a horn beside it, the louder one, for so many steps.
    told_apart: whether the microphones know which direction is whose.
    """
    hearing, marks, past = Hearing(), [], []
    for k in range(steps):
        stamp_ns = START_NS + k * NS // 10
        where = {name: path(k / 10) for name, path in paths.items()}
        past.append(source(k / 10))
        shown = [name for name in paths if name not in (*hidden, *untracked(k), *hidden_at(k))]
        places = [
            TrackPlace(
                track_id=name, group="vehicle", center_m=where[name], spread_m=0.2, speed_mps=0.0,
                index=shown.index(name) if name in shown else -1,
            )
            for name in paths if name not in untracked(k)
        ]  # fmt: skip
        objects = [
            DetectedObject(
                class_name="car", score=0.9, center_m=(*where[name], 0.8), size_m=(4, 2, 1.5),
                yaw_rad=0.0, track_id=name,
            )
            for name in shown
        ]  # fmt: skip
        x, y = past[max(k - 2, 0)]
        bearing = math.remainder(math.atan2(y, x) + error(k), math.tau)
        event = SoundEvent(
            class_name="siren", score=0.9, window_start_ns=stamp_ns - NS, window_end_ns=stamp_ns,
            source="audio", bearing_rad=bearing,
        )  # fmt: skip
        events = [event] if heard(k) else []
        if horn is not None and k < horn_steps:
            x, y = horn(k / 10)
            both = (math.atan2(y, x), bearing)[: 1 + (horn != source)]
            first, second = (bearing, both[0]) if told_apart else (math.nan, math.nan)
            event = replace(event, bearing_rad=first, other_bearings_rad=both)
            events = [event, replace(event, class_name="car_horn", bearing_rad=second)]
        objects, events = hearing.attach(objects, events, places, stamp_ns)
        marks.append([item.track_id for item in objects if item.emergency_evidence])
    return objects, events, marks


def moving(x, y, vx=0.0, vy=0.0):
    return lambda t: (x + vx * t, y + vy * t)


STREET = {
    1: moving(-30, 3, 8), 2: moving(-40, 3, 8), 3: moving(20, -4), 4: moving(35, 3, -9),
    5: moving(5, 12),
}  # fmt: skip


def test_the_car_that_the_siren_comes_from_is_an_emergency_vehicle():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, math.radians(1.5), 100)
    objects, events, marks = run(STREET, STREET[4], error=lambda k: noise[k])
    assert marks[-1] == [4]
    (found,) = [item for item in objects if item.track_id == 4]
    assert found.emergency > 0.8
    assert "siren heard by audio from" in found.emergency_evidence
    assert events[0].track_id == 4
    assert events[0].candidates[0][0] == 4
    assert events[0].bearing_std_rad < math.radians(10)


def test_an_echo_for_a_second_changes_nothing():
    marks = run(STREET, STREET[4], error=lambda k: 2.0 if 25 <= k < 33 else 0.0)[2]
    assert all(row == [4] for row in marks[15:])


def test_a_siren_that_pauses_is_not_forgotten_at_once_and_not_kept_for_ever():
    marks = run(STREET, STREET[4], steps=60, heard=lambda k: k < 20 or 30 <= k < 40)[2]
    assert all(row == [4] for row in marks[15:50])
    assert marks[-1] == []


def test_who_is_not_seen_is_said_to_be_heard():
    objects, events, marks = run(STREET, moving(-20, -30, 0, 5))
    assert not any(marks[10:])
    assert events[0].track_id == 0
    assert events[0].origin.startswith("heard, not seen: bearing -")
    assert max(item.emergency for item in objects) < 0.5


def test_who_is_hidden_at_present_is_no_object_of_the_view():
    _, events, marks = run(STREET, STREET[4], hidden=(4,))
    assert not any(marks)
    assert events[0].track_id == 0
    assert events[0].origin.startswith("heard, hidden at present: track 4")


def test_two_in_one_direction_share_the_probability():
    row = {**STREET, 6: moving(44, 3.8, -9)}
    objects, events, _ = run(row, STREET[4], steps=10)
    shares = dict(events[0].candidates)
    assert shares[4] > 0.2 < shares[6]
    assert sum(shares.values()) <= 1.0001
    assert [item.emergency for item in objects if item.track_id == 6] == [shares[6]]


def test_a_siren_told_from_a_horn_by_its_pitch_keeps_its_bearing_however_long_the_horn_lasts():
    objects, _, marks = run(STREET, STREET[4], horn=STREET[5], told_apart=True)
    assert all(row == [4] for row in marks[15:])
    assert max(objects, key=lambda item: item.emergency).track_id == 4


def test_two_directions_beside_a_horn_are_both_kept_until_it_is_over():
    marks = run(STREET, STREET[4], horn=STREET[5], horn_steps=15)[2]
    assert 5 not in {name for row in marks for name in row}, "who sounds the horn is accused"
    assert all(row == [4] for row in marks[20:])


def test_one_direction_of_two_sounds_accuses_nobody():
    objects, _, _ = run({1: STREET[1], 5: STREET[5], 3: STREET[3]}, STREET[5], horn=STREET[5])
    assert max(item.emergency for item in objects) < 0.75
    alone = run({1: STREET[1], 5: STREET[5], 3: STREET[3]}, STREET[5])[0]
    assert max(item.emergency for item in alone) > 0.9


def test_who_left_the_tracks_is_not_replaced_by_the_next_in_that_direction():
    def gone(k):
        return (4,) if k >= 30 else ()

    _, events, marks = run({**STREET, 6: moving(60, 9)}, STREET[4], untracked=gone, steps=42)
    assert marks[28] == [4]
    assert not any(marks[31:]), "another one is taken for it"
    assert events[0].origin.startswith("heard, not seen")


def test_two_boxes_of_one_vehicle_are_one_candidate():
    boxes = {**STREET, 6: moving(36.5, 3, -9)}  # of the same truck as 4
    _, events, marks = run(boxes, STREET[4], steps=25)
    assert all(row in ([4], [6]) for row in marks[8:]), "they share what was heard"
    assert events[0].candidates[0][1] > 0.9
    flickering = run(boxes, STREET[4], steps=25, hidden_at=lambda k: (6,) if k % 3 else (4,))[2]
    assert all(row in ([4], [6]) for row in flickering[8:])


def test_a_track_that_goes_on_with_the_vehicle_is_accused_in_its_place():
    def other(t):  # a car crosses, and from 2.5 s on its track has the box of the truck
        return STREET[4](t) if t >= 2.5 else (35 - 9 * t + 1.0, -9 + 4.8 * t)

    paths = {**STREET, 6: other}
    lost = dict.fromkeys(range(25, 40), (4,))
    gone = dict.fromkeys(range(36, 99), (4,))
    marks = run(
        paths, STREET[4], steps=36,
        hidden_at=lambda k: lost.get(k, ()), untracked=lambda k: gone.get(k, ()),
    )[2]  # fmt: skip
    assert marks[22] == [4]
    assert all(row == [6] for row in marks[26:])


def test_without_a_direction_nobody_is_accused():
    objects, events, marks = run(STREET, STREET[4], error=lambda k: math.nan)
    assert events[0].origin == "heard, not seen: direction not known"
    assert not any(marks)
    assert all(math.isnan(item.emergency) for item in objects)
