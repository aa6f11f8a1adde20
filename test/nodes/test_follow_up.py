"""What the manager asks of its own: who serves at its start, what is kept after a change."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")

from edge_perception.core.errors import SwapError
from edge_perception.nodes.manager.follow_up import FollowUp

SECOND_NS = 1_000_000_000


class Timer:
    def __init__(self, period_s, callback):
        self.timer_period_ns, self.callback = round(period_s * 1e9), callback
        self.running = False

    def reset(self):
        self.running = True

    def cancel(self):
        self.running = False


class Rig:
    """A follow-up on a clock of its own, with nodes that answer from a time on."""

    def __init__(self, answers_at_s):
        self.now_ns, self.told, self.looks = 0, [], 0
        self._answers_ns = answers_at_s * SECOND_NS
        serving = SimpleNamespace(found=self._found, watch=lambda: False, latest=None)
        coordinator = SimpleNamespace(busy="", serving=serving, steps=SimpleNamespace())
        store = SimpleNamespace(slots=SimpleNamespace(get=lambda _: {"audio": "a"}))
        parts = SimpleNamespace(
            node=SimpleNamespace(create_timer=lambda s, call, **_: Timer(s, call)),
            managed=SimpleNamespace(readable=store, off=""),
            client=SimpleNamespace(nodes=lambda: ["audio_encoder"]),
            events=SimpleNamespace(tell=lambda name, **more: self.told.append((name, more))),
            steady_ns=lambda: self.now_ns,
        )
        self.follow_up = FollowUp(parts, coordinator, None)
        self.follow_up.start()

    async def _found(self, _wanted):
        self.looks += 1
        if self.now_ns < self._answers_ns:
            raise SwapError("nodes that do not answer: audio_encoder")
        return SimpleNamespace(differing=lambda _: {})

    def run(self, seconds):
        timer = self.follow_up._reconciler
        end_ns = self.now_ns + round(seconds * SECOND_NS)
        while timer.running and self.now_ns + timer.timer_period_ns <= end_ns:
            self.now_ns += timer.timer_period_ns
            asyncio.run(timer.callback())
        self.now_ns = end_ns
        return timer.running


def test_a_node_that_loads_its_model_is_no_error():
    rig = Rig(answers_at_s=20)
    assert rig.run(10.0)
    assert not rig.run(60.0)
    assert rig.told == []
    assert rig.looks < 8


def test_a_node_that_stays_silent_is_told_once_and_that_it_answered_too():
    rig = Rig(answers_at_s=3600)
    assert rig.run(1800.0)
    ((name, more),) = rig.told
    assert (name, more["error"]) == ("not reconciled", True)
    assert "nodes that do not answer: audio_encoder" in more["reason"]
    assert not rig.run(3600.0)
    assert [name for name, _ in rig.told] == ["not reconciled", "reconciled"]
    assert rig.looks < 200


class Change:
    """A follow-up of one change, with views that come when a test says so."""

    def __init__(self):
        self.now_ns, self.looks, self.kept_from, self.newest = 0, 0, 1, "old"
        self.views = []
        serving = SimpleNamespace(look=self._look, latest=None)
        coordinator = SimpleNamespace(busy="", serving=serving, steps=SimpleNamespace())
        clock = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self.now_ns))
        parts = SimpleNamespace(
            node=SimpleNamespace(
                create_timer=lambda s, call, **_: Timer(s, call), get_clock=lambda: clock
            ),
            managed=SimpleNamespace(readable=object(), off=""),
            client=SimpleNamespace(at_most=self._at_most),
            groups=SimpleNamespace(
                rests_on=lambda models: self.newest in models, next_view=lambda: "a view"
            ),
            steady_ns=lambda: self.now_ns,
        )
        self.follow_up = FollowUp(parts, coordinator, None)
        self.timer = self.follow_up._looker

    async def _at_most(self, _view, seconds):
        """Let a view come, 100 ms after the one before, or the time pass."""
        self.now_ns += SECOND_NS // 10 if self.views else round(seconds * SECOND_NS)
        self.newest = self.views.pop(0) if self.views else self.newest

    async def _look(self):
        self.looks += 1
        kept = {"lidar": "old"} if self.looks >= self.kept_from else {}
        return SimpleNamespace(kept=kept)

    def commit(self, stamp_ns):
        self.follow_up._on_committed(stamp_ns, {"lidar": "old"})

    def fire(self):
        assert self.timer.running
        self.now_ns += self.timer.timer_period_ns
        asyncio.run(self.timer.callback())


def test_nodes_are_asked_what_they_keep_right_after_the_first_view_of_the_new_set():
    change = Change()
    change.views = ["old", "new", "new"]
    change.commit(SECOND_NS // 4)
    change.fire()
    assert change.now_ns == pytest.approx(SECOND_NS * 0.45, abs=10)
    assert change.looks == 1
    assert change.views == ["new"]
    assert not change.timer.running


def test_nodes_that_do_not_keep_them_yet_are_asked_again_less_and_less_often():
    change = Change()
    change.kept_from, change.newest = 4, "new"
    change.commit(0)
    waits = []
    while change.timer.running:
        before_ns = change.now_ns
        change.fire()
        waits.append((change.now_ns - before_ns) // 1_000_000)
    assert waits == [0, 20, 40, 80]
    change.kept_from = 1000
    change.commit(change.now_ns)
    while change.timer.running:
        change.fire()
    assert change.looks == 4 + 11


def test_a_view_that_stays_of_the_old_set_is_not_waited_for_long():
    change = Change()
    change.commit(0)
    change.fire()
    assert change.looks == 1
    assert change.now_ns <= SECOND_NS + 10


def test_a_change_after_it_is_followed_up_instead():
    change = Change()
    change.views = ["old"]
    change.commit(0)
    next_view = change.follow_up._parts.groups.next_view

    def then_changed():
        change.commit(change.now_ns + SECOND_NS)
        return next_view()

    change.follow_up._parts.groups.next_view = then_changed
    change.fire()
    assert change.looks == 0
    assert change.timer.running
    assert change.timer.timer_period_ns == pytest.approx(SECOND_NS, abs=SECOND_NS // 5)
