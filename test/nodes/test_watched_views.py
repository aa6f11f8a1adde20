"""What the views say of a change, from samples before it to the end of its watch."""

import pytest
from rclpy.serialization import serialize_message

from edge_perception import msg
from edge_perception.nodes.conversion import time_msg
from edge_perception.nodes.manager.watched_views import WatchedViews
from edge_perception.releases.breaker import Watched
from edge_perception.releases.slo import Slo
from edge_perception.releases.watch import SILENT_S

FROM_NS = 1000


def view(stamp_ns=FROM_NS, *, end_to_end_s=0.08):
    message = msg.FusedPerception(valid=True, end_to_end_s=end_to_end_s)
    message.header.stamp = time_msg(stamp_ns)
    return serialize_message(message)


def change(views, name):
    return Watched(transaction_id=name, before={}, after={}, past=views.past(100.0))


@pytest.fixture
def views():
    """Give the views of 20 s before a change, and the change, which is watched from 20 s on."""
    views = WatchedViews(Slo)
    for index in range(80):
        assert not views.add(view(), 0.25 * (index + 1))
    views.begin(change(views, "first"), FROM_NS, 20.0)
    return views


def test_a_change_is_held_against_the_time_before_and_one_beside_it_against_the_same(views):
    first = views.watched
    assert (first.past.views, first.past.memory_mb) == (80, 100.0)
    views.add(view(end_to_end_s=0.9), 20.1)
    assert views.past(300.0) is first.past


def test_once_a_watch_ends_the_time_before_the_next_change_begins_anew(views):
    assert views.end().transaction_id == "first"
    assert views.past(0.0).views == 0
    views.add(view(), 21.0)
    assert views.past(0.0).views == 1
    assert views.end() is None


def test_views_of_frames_before_the_change_are_not_judged(views):
    for index in range(100):
        assert not views.add(view(FROM_NS - 1, end_to_end_s=0.9), 20.0 + 0.04 * index)
    assert views.take(24.0).burn is None


def test_an_objective_that_burns_is_to_roll_back_and_ends_the_judging(views):
    told = [views.add(view(end_to_end_s=0.9), 20.0 + 0.04 * index) for index in range(100)]
    assert told[-1] is False  # what is to be done is known
    first = told.index(True)
    assert not any(told[first + 1 :])
    found = views.take(24.0)
    assert found.burn.objective.name == "end_to_end_p99"
    assert (found.watched, found.warnings) == (views.watched, ())


def test_what_burned_before_is_told_once():
    views = WatchedViews(Slo)
    for index in range(80):
        views.add(view(end_to_end_s=0.9), 0.25 * (index + 1))
    views.begin(change(views, "late already"), FROM_NS, 20.0)
    for index in range(100):
        views.add(view(end_to_end_s=0.9), 20.0 + 0.04 * index)
    found = views.take(24.0)
    assert found.burn is None
    (warning,) = found.warnings
    assert warning.endswith("(and did before the change)")
    views.add(view(end_to_end_s=0.9), 24.1)
    assert views.take(24.2).warnings == ()


def test_memory_is_asked_for_now_and_then(views):
    assert not views.take(22.0).memory_due
    assert views.add(view(), 25.1)
    assert views.take(25.1).memory_due
    assert not views.take(25.2).memory_due
    views.learn_memory(200.0)
    views.add(view(), 25.3)
    assert views.take(25.3).burn.objective.name == "memory"


def silent(views, from_s):
    """Return what a silence breaks that is looked at once a second."""
    found = [views.silence(from_s + index) for index in range(int(SILENT_S) + 2)]
    return found[-1]


def test_a_silence_that_nobody_asked_for_rolls_back(views):
    burn = silent(views, 20.0)
    assert burn.objective.name == "availability"
    views.note_silence(burn, views.watched)
    assert views.take(27.0).burn is burn
    assert views.silence(28.0) is None  # what is to be done is known


def test_a_silence_that_was_asked_for_begins_anew(views):
    assert silent(views, 20.0) is not None
    views.excuse_silence(27.0)
    assert views.silence(28.0) is None
    assert views.take(28.0).burn is None


def test_a_silence_of_another_change_is_not_taken(views):
    burn, before = silent(views, 20.0), views.watched
    views.end()
    views.begin(change(views, "second"), FROM_NS, 27.0)
    views.note_silence(burn, before)
    assert views.take(28.0).burn is None
