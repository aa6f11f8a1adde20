"""How long nodes take for an answer, as the manager measures it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")

from edge_perception.core.errors import SwapError
from edge_perception.nodes.changes.model_client import ModelClient


class Answer:
    """A future that is done when so much time has passed."""

    def __init__(self, rig, seconds):
        self._rig, self._at_ns = rig, rig.now_ns + round(seconds * 1e9)

    def __await__(self):
        self._rig.now_ns = min(max(self._rig.now_ns, self._at_ns), self._rig.give_up_ns)
        return iter(())

    def done(self):
        return self._rig.now_ns >= self._at_ns

    def result(self):
        return "answer"


class Rig:
    """A client on a clock of its own."""

    def __init__(self):
        self.now_ns = self.give_up_ns = 0
        timer = SimpleNamespace(
            cancel=lambda: None, reset=lambda: None, is_canceled=lambda: True, timer_period_ns=0
        )
        node = SimpleNamespace(
            clock=SimpleNamespace(now=lambda: SimpleNamespace(steady_ns=self.now_ns)),
            create_timer=lambda *_, **__: timer,
            create_client=lambda *_, **__: SimpleNamespace(
                service_is_ready=lambda: True,
                call_async=lambda seconds: Answer(self, seconds),
                remove_pending_request=lambda _: None,
            ),
        )
        self.client = ModelClient(node, None)

    def ask(self, name, takes_s, timeout_s=5.0):
        self.give_up_ns = self.now_ns + round(timeout_s * 1e9)
        return asyncio.run(self.client.call(None, name, takes_s, timeout_s))


def test_the_slowest_answer_of_the_last_time_counts_and_loading_does_not():
    rig = Rig()
    assert rig.client.slowest_answer_s() == 0.0
    for takes_s in (0.01, 0.3, 0.02):
        assert rig.ask("/camera_encoder/get_versions", takes_s) == "answer"
    rig.ask("/camera_encoder/prepare_model", 2.0)
    assert rig.client.slowest_answer_s() == 0.3
    rig.now_ns += 9_000_000_000
    rig.ask("/camera_encoder/get_versions", 0.05)
    assert rig.client.slowest_answer_s() == 0.05


def test_a_node_that_does_not_answer_counts_with_the_time_that_was_waited():
    rig = Rig()
    with pytest.raises(SwapError, match="no answer within 1 s"):
        rig.ask("/camera_encoder/get_versions", 3.0, timeout_s=1.0)
    assert rig.client.slowest_answer_s() == 1.0
