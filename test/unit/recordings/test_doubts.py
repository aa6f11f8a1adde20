"""Moments for people to label, and the budget that lets rare kinds win."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edge_perception.core.doubt import entropy_bits
from edge_perception.encoders import locates
from edge_perception.recordings.budget import Budget, BudgetOptions
from edge_perception.recordings.doubts import (
    Disagreements,
    DoubtLimits,
    Doubts,
)
from edge_perception.recordings.ring import EventRecorder, RingOptions, kind_of
from edge_perception.recordings.triggers import DOUBTS, TriggerOptions, Triggers
from edge_perception.recordings.writer import Topic

S = 10**9


def thing(score=0.9, x=10.0, y=0.0, name="car", sources=("lidar",)):
    return SimpleNamespace(
        class_name=name, score=score, center=SimpleNamespace(x=x, y=y),
        size=SimpleNamespace(x=4.0), sources=list(sources),
    )  # fmt: skip


def view(*things, at_s=0.0, conditions=()):
    stamp = SimpleNamespace(sec=int(at_s), nanosec=round(at_s % 1 * 1e9))
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp),
        objects=list(things),
        conditions=[SimpleNamespace(name=n, confidence=c) for n, c in conditions],
    )


def looks(doubts, views):
    return [found for item in views for found in doubts.look(item).values()]


def test_entropy_begins_once_and_needs_several_objects():
    assert entropy_bits(0.5) == pytest.approx(1.0)
    assert entropy_bits(1.0) == pytest.approx(0.0, abs=1e-6)
    unsure = view(*(thing(0.5, x=60.0),) * 3)
    sure = view(*(thing(0.95, x=60.0),) * 3)
    found = looks(Doubts(DoubtLimits()), [sure, unsure, unsure, sure, unsure])
    assert [text.split(":")[0] for text in found] == ["entropy", "entropy"]
    assert looks(Doubts(DoubtLimits()), [view(thing(0.5, x=60.0))] * 9) == []


def test_a_score_at_the_threshold_and_a_single_doubtful_object_must_last():
    at = view(thing(0.52, y=4.0), thing(0.9, y=9.0))
    assert looks(Doubts(DoubtLimits()), [at] * 4) == []
    (margin,) = looks(Doubts(DoubtLimits()), [at] * 20)
    assert margin == "margin: car at 11 m scores 0.52, 0.5 decides"
    single = view(thing(0.4, y=4.0))
    (doubt,) = looks(Doubts(DoubtLimits()), [single] * 20)
    assert doubt.startswith("doubt: car at 11 m alone, 0.40 < 0.6")


def drive(speed_mps, start_m=20.0, y=0.0):
    return [view(thing(x=start_m - speed_mps * n / 10, y=y), at_s=n / 10) for n in range(15)]


def test_a_near_miss_is_one_that_comes_fast_in_our_way():
    (near,) = looks(Doubts(DoubtLimits()), drive(10.0))
    assert near.startswith("nearmiss: ")
    assert "10.0 m/s nearer" in near
    assert looks(Doubts(DoubtLimits()), drive(2.0)) == [], "time enough"
    assert looks(Doubts(DoubtLimits()), drive(10.0, y=4.0)) == [], "beside us"
    jump = [view(thing(x=40.0), at_s=0.1 * n) for n in range(5)]
    jump += [view(thing(x=9.0), at_s=0.5 + 0.1 * n) for n in range(5)]
    assert looks(Doubts(DoubtLimits()), jump) == [], "another object, and it stands"


def test_conditions_that_come_and_go():
    day, fog = (("day", 0.9),), (("day", 0.9), ("fog", 0.8))
    views = [view(conditions=c) for c in (day, day, fog, fog, day)]
    assert looks(Doubts(DoubtLimits()), views) == ["condition: fog came", "condition: fog went"]


def test_old_and_new_model_that_see_otherwise():
    same = Disagreements()
    assert same.look("lidar", [thing(x=10.5)], view(thing(x=10.0))) == ""
    text = same.look("lidar", [thing(x=25.0)], view(thing(x=10.0)))
    assert text == "trial: lidar: only the new model: car at 25 m; only the old: car at 10 m"
    assert same.look("lidar", [thing(x=25.0)], view(thing(x=10.0))) == "", "told once"
    assert Disagreements().look("lidar", [thing(0.2, x=25.0)], view()) == "", "not sure of it"


def test_drift_is_told_by_quantity_and_what_is_not_known_is_none():
    triggers = Triggers(TriggerOptions(kinds=("drift",)), locates=locates)
    assert triggers.look_at_drift("camera", "not known: no reference") == {}
    assert triggers.look_at_drift("camera", "score") == {"drift": "drift: camera: score"}
    assert triggers.look_at_drift("camera", "score") == {}
    assert triggers.look_at_drift("camera", "score, objects") == {"drift": "drift: camera: objects"}
    assert triggers.look_at_drift("camera", "none") == {}
    assert Triggers(TriggerOptions(), locates=locates).look_at_drift("camera", "score") == {}


def test_rare_kinds_win_over_frequent_ones():
    budget = Budget(BudgetOptions(per_hour=10), DOUBTS)
    kept = [budget.admits("margin", n * S) for n in range(100)]
    assert sum(kept) == 10 - (len(DOUBTS) - 1), "a place stays for each of the others"
    assert all(budget.admits(kind, 200 * S) for kind in DOUBTS if kind != "margin")
    assert not budget.admits("drift", 201 * S), "the hour is full"
    assert budget.swallowed == {"margin": 96, "drift": 1}
    assert budget.admits("margin", 3700 * S), "an hour later"


def test_a_budget_of_one_kind_and_none_at_all():
    budget = Budget(BudgetOptions(per_kind=2), ("a", "b"))
    assert [budget.admits("a", n) for n in range(4)] == [True, True, False, False]
    assert budget.admits("b", 5)
    free = Budget(BudgetOptions(), ("a",))
    assert all(free.admits("a", n) for n in range(1000))
    few = Budget(BudgetOptions(per_hour=1), DOUBTS)
    assert [few.admits(kind, n) for n, kind in enumerate(DOUBTS)].count(True) == 1


def test_on_a_full_disk_the_frequent_kind_goes_first(tmp_path):
    topic = Topic(name="/x", type="std_msgs/msg/String")
    options = RingOptions(before_s=0.0, after_s=0.0, quota_mb=1.0)
    kept = EventRecorder(tmp_path, [topic], options)
    random = np.random.default_rng(1)
    noise = [random.bytes(300_000) for _ in range(6)]  # nothing to compress
    for n, reason in enumerate(("drift: rare", *("margin: often",) * 5)):
        kept.message("/x", noise[n], (2 * n + 1) * S)
        kept.event(reason, (2 * n + 1) * S)
        kept.tick((2 * n + 2) * S)
    kinds = [kind_of(file) for file in tmp_path.glob("event_*.mcap")]
    assert (kinds.count("drift"), kinds.count("margin")) == (1, 2)
