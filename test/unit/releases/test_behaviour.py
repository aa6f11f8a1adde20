"""Decisions of two models on the same frames: good ones pass, each kind of bad one is stopped."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edge_perception.bench._bad_decisions import kinds, retrained
from edge_perception.bench._decision_trials import decide
from edge_perception.core.types import DetectedObject, ImageObject, SoundEvent
from edge_perception.releases.behaviour import BehaviourComparison, Decisions, match
from edge_perception.releases.slo import Slo
from edge_perception.releases.verdicts import BehaviourGate, Verdict, judge_behaviour

SLO = Slo()
GATE = SLO.trial.behaviour
FRAMES = 300
KINDS = kinds()


def street(rng, frames=FRAMES):
    """Return a drive: road users that come towards us, cross and are passed."""
    users = []
    for _ in range(14):
        name = rng.choice(["car", "car", "car", "pedestrian", "cyclist", "truck"])
        x, y = rng.uniform(-20, 50), rng.uniform(-20, 20)
        users.append([name, x, y, rng.uniform(-4, 4), rng.uniform(-0.5, 0.5), rng.uniform(0.4, 1)])
    stream = []
    for _ in range(frames):
        objects = []
        for user in users:
            name, _, _, vx, vy, score = user
            user[1] += 0.1 * vx
            user[2] += 0.1 * vy
            if abs(user[1]) > 50 or abs(user[2]) > 25:
                user[1], user[2] = rng.uniform(-20, 50), rng.uniform(-20, 20)
            objects.append(box(name, user[1], user[2], score))
        stream.append(objects)
    return stream


def box(name, x, y, score=0.8):
    return DetectedObject(
        class_name=name, score=score, center_m=(x, y, 0.8), size_m=(4, 2, 1.5), yaw_rad=0.0
    )


def changed(seed, make):
    rng = np.random.default_rng(seed)
    current = street(rng)
    change = make(rng, current)
    again = retrained(rng)  # a bad set has been trained anew too
    return decide((change(again(objects)) for objects in current), current, slo=SLO)


# `bench gates` does a hundred of each, on the decisions of real models.
def test_good_sets_pass():
    results = [changed(seed, lambda _rng, _stream: list) for seed in range(20)]
    assert sum(result.passed for result in results) >= 19
    assert max(result.frames for result in results) <= FRAMES


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_bad_sets_are_stopped(kind):
    results = [changed(seed, KINDS[kind]) for seed in range(15)]
    assert not any(result.passed for result in results)
    assert max(result.frames for result in results) <= FRAMES
    assert all(result.reason for result in results if not result.passed)


def judged(pairs, bar=GATE.whole, **more):
    comparison = BehaviourComparison()
    for candidate, current in pairs:
        comparison.add(candidate, current)
    return judge_behaviour(
        GATE, bar, comparison.estimates(), comparison.frames, needs_objects=False, **more
    )


def test_an_empty_road_tells_nothing_of_a_new_feature_space():
    comparison = BehaviourComparison()
    for _ in range(1000):
        comparison.add(Decisions(), Decisions())
    found = judge_behaviour(
        GATE, GATE.whole, comparison.estimates(), comparison.frames, needs_objects=True
    )
    assert found.verdict is Verdict.OPEN
    assert found.reason == "0 of 50 objects compared"


def test_one_object_that_the_candidate_does_not_see_is_not_yet_a_blind_band():
    near = [box("car", 5.0 + i, 2.0 * i) for i in range(4)]
    far = box("car", 45.0, 0.0)
    found = judged((Decisions(objects=near), Decisions(objects=[*near, far])) for _ in range(40))
    assert found.verdict is Verdict.OPEN


def test_what_was_there_too_seldom_is_named():
    often, once = [box("car", 10.0, 0.0), box("car", 20.0, 5.0)], box("bus", 12.0, 8.0)
    frames = [Decisions(objects=[*often, once] if i == 5 else often) for i in range(400)]
    found = judged(zip(frames, frames, strict=True))
    assert found.verdict is Verdict.GOOD
    assert "found bus" in found.unseen


def test_a_class_that_is_called_otherwise_is_lost():
    both = [box("car", 10.0 + 3 * i, 0.0) for i in range(6)] + [box("pedestrian", 8.0, 4.0)]
    other = [replace(o, class_name="car") for o in both]
    found = judged((Decisions(objects=other), Decisions(objects=both)) for _ in range(300))
    assert found.verdict is Verdict.BAD
    assert "class pedestrian 0.00 < 0.2" in found.reason


def sound(name, bearing=0.0):
    return SoundEvent(
        class_name=name, score=0.9, window_start_ns=0, window_end_ns=1, bearing_rad=bearing
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "check"),
    [
        ([], [sound("siren")], "heard"),
        ([sound("siren")], [], "silence"),
        ([sound("horn")], [sound("siren")], "heard"),
        ([sound("siren", math.pi - 0.1)], [sound("siren", -0.5)], "bearing"),
        ([sound("siren", math.pi - 0.1)], [sound("siren", 0.1 - math.pi)], ""),
        ([sound("siren")], [sound("siren", math.nan)], ""),
    ],
)
def test_sounds_are_compared_window_by_window(ours, theirs, check):
    pair = tuple(Decisions(sound_events=events, hears=True) for events in (ours, theirs))
    found = judged((pair for _ in range(200)), bar=GATE.source)
    assert found.verdict is (Verdict.BAD if check else Verdict.GOOD)
    assert check in found.reason


def test_boxes_in_the_image_are_compared_where_there_are_no_others():
    flat = [
        ImageObject(class_name="car", score=0.8, x_min=x, y_min=10, x_max=x + 60, y_max=60)
        for x in (0, 100, 200)
    ]
    one, none = Decisions(image_objects=flat), Decisions()
    assert judged(((one, one) for _ in range(120)), bar=GATE.source).verdict is Verdict.GOOD
    blind = judged(((none, one) for _ in range(120)), bar=GATE.source)
    assert blind.verdict is Verdict.BAD
    assert "image empty" in blind.reason


def test_objects_meet_one_partner_each_the_nearest_of_their_class_first():
    ours = [box("car", 0.0, 0.0), box("pedestrian", 0.3, 0.0)]
    theirs = [box("pedestrian", 0.0, 0.0), box("car", 0.6, 0.0), box("car", 50.0, 0.0)]
    assert sorted(match(ours, theirs)) == [(0, 1), (1, 0)]
    assert match([], theirs) == []
    nowhere = box("car", math.nan, 0.0)
    assert match([nowhere], theirs) == []
    found = judged((Decisions(objects=[nowhere]), Decisions(objects=theirs)) for _ in range(100))
    assert found.verdict is Verdict.BAD


def test_evidence_is_asked_for_before_anything_passes():
    gate = BehaviourGate(min_frames=10, max_frames=20, min_objects=5)
    objects = Decisions(objects=[box("car", 10.0, 0.0)])
    comparison = BehaviourComparison()
    verdicts = []
    for frame in range(1, 60):
        comparison.add(objects, objects)
        found = judge_behaviour(gate, gate.whole, comparison.estimates(), frame, needs_objects=True)
        verdicts.append(found.verdict)
    assert verdicts[8] is Verdict.OPEN
    assert verdicts[-1] is Verdict.GOOD
