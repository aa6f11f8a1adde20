"""When a manager that was asked for a change is given up; its node and the clock are made up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edge_perception.cli import _manager_watch
from edge_perception.cli._manager_watch import ManagerWatch


class Clock:
    def __init__(self, monkeypatch):
        self.now_s = 100.0
        clock = SimpleNamespace(monotonic=lambda: self.now_s)
        monkeypatch.setattr(_manager_watch, "time", clock)


class Asked:
    """A node whose manager is in the graph, and answers or not."""

    def __init__(self):
        self.answers = False
        self.requests = 0

    def create_client(self, _type, _name):
        return SimpleNamespace(call_async=self._ask)

    def _ask(self, _request):
        self.requests += 1
        return SimpleNamespace(done=lambda: self.answers)

    def get_publishers_info_by_topic(self, _topic):
        return [SimpleNamespace(endpoint_gid=[1, 2])]


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def problems(watch, clock, seconds):
    """Look ten times a second, as who waits for an answer does."""
    said = []
    for _ in range(round(seconds * 10)):
        clock.now_s += 0.1
        said.append(watch.problem())
    return said


def test_a_silent_manager_is_given_up_after_8_s(clock):
    watch = ManagerWatch(Asked(), "/model_manager")
    assert problems(watch, clock, 7.9) == [""] * 79
    (*_, last) = problems(watch, clock, 0.3)
    assert last == "/model_manager does not answer any more, for 8 s"


def test_one_that_answers_is_not(clock):
    asked = Asked()
    asked.answers = True
    watch = ManagerWatch(asked, "/model_manager")
    assert set(problems(watch, clock, 60.0)) == {""}
    assert asked.requests > 30


def test_who_was_stopped_meanwhile_blames_nobody(clock):
    """Ctrl-Z and `fg`: no answer could be taken for a minute."""
    asked = Asked()
    watch = ManagerWatch(asked, "/model_manager")
    assert set(problems(watch, clock, 3.0)) == {""}
    clock.now_s += 60.0
    assert watch.problem() == ""
    asked.answers = True
    assert set(problems(watch, clock, 20.0)) == {""}
