"""At its start the manager waits for nodes that are there and do not answer yet."""

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
