"""Loading beside a model that serves: low priority, off its cores, and nothing stays low."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest
import quiet_session

from edge_perception.models import quiet
from edge_perception.models.quiet import (
    await_gap,
    frame_in_work,
    give_back,
    keep_off,
    quietly,
    under_way,
)


def priority():
    return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_it_is_known_while_and_shortly_after_something_is_loaded(monkeypatch):
    monkeypatch.setattr(quiet, "_ended_s", -1.0)
    assert not under_way()
    assert quietly(under_way)
    assert under_way()
    monkeypatch.setattr(quiet, "_MOMENT_S", 0.0)
    assert not under_way()


def test_work_runs_where_it_takes_only_what_others_leave():
    before = priority()
    assert quietly(priority) == (os.SCHED_BATCH, 10)
    assert priority() == before
    with pytest.raises(ZeroDivisionError):
        quietly(lambda: 1 / 0)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core: there is no other one")
def test_work_keeps_off_the_cores_that_inference_is_bound_to():
    mine, *others = sorted(os.sched_getaffinity(0))
    keep_off({mine})
    assert quietly(lambda: os.sched_getaffinity(0)) == set(others)
    keep_off(others)  # none is left: anywhere is better than nowhere
    assert quietly(lambda: os.sched_getaffinity(0)) == {mine, *others}
    give_back(others)
    assert quietly(lambda: os.sched_getaffinity(0)) == set(others)
    give_back({mine})
    assert quietly(lambda: os.sched_getaffinity(0)) == {mine, *others}


@pytest.mark.parametrize("rights", [True, False])
def test_threads_of_a_session_that_will_serve_do_not_stay_low(rights):
    if rights and not quiet.may_return():
        pytest.skip("without CAP_SYS_NICE a thread stays low: nothing to try")
    # In a process of its own: others of this one may make threads that are low meanwhile.
    command = [sys.executable, quiet_session.__file__, str(rights)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["made"] >= 2
    assert told["low"] == []


def test_rights_are_asked_of_the_kernel(monkeypatch):
    monkeypatch.setattr(quiet.resource, "getrlimit", lambda _: (0, 0))
    monkeypatch.setattr(
        quiet.Path, "read_text", lambda *_, **__: "Name:\tx\nCapEff:\t0000000000000000\n"
    )
    assert not quiet.may_return()
    monkeypatch.setattr(quiet.Path, "read_text", lambda *_, **__: "CapEff:\t0000000000800000\n")
    assert quiet.may_return()
    monkeypatch.setattr(quiet.resource, "getrlimit", lambda _: (40, 40))
    monkeypatch.setattr(quiet.Path, "read_text", lambda *_, **__: "CapEff:\t0000000000000000\n")
    assert quiet.may_return()


def test_quiet_work_begins_between_frames(monkeypatch):
    monkeypatch.setattr(quiet, "_LONGEST_GAP_WAIT_S", 1000.0)
    monkeypatch.setattr(quiet, "_MOMENT_S", 0.0)
    begun, release, order = threading.Event(), threading.Event(), []

    def serve():
        with frame_in_work():
            begun.set()
            release.wait(60)
            order.append("frame")

    serving = threading.Thread(target=serve)
    serving.start()
    assert begun.wait(60)
    loading = threading.Thread(target=lambda: quietly(lambda: order.append("load")))
    loading.start()
    while not quiet.under_way():  # it has its turn, and waits for the gap
        assert loading.is_alive()
    release.set()
    serving.join(60)
    loading.join(60)
    assert order == ["frame", "load"]


def test_a_frame_that_follows_at_once_is_waited_for_too(monkeypatch):
    waited = []
    monkeypatch.setattr(quiet, "_in_work", 0)

    class Frames:
        """A condition that a second frame comes to while it is waited whether one does."""

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def wait_for(self, condition, _timeout):
            waited.append("gap")
            if not condition():
                quiet._in_work = 0
            return True

        def wait(self, _timeout):
            waited.append("settled")
            quiet._in_work = int(waited.count("settled") == 1)

    monkeypatch.setattr(quiet, "_frames", Frames())
    await_gap()
    assert waited == ["gap", "settled", "gap", "settled"]


def test_a_process_that_is_never_idle_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(quiet, "_LONGEST_GAP_WAIT_S", 0.001)
    with frame_in_work():
        await_gap()
        assert quietly(lambda: "loaded") == "loaded"


def test_a_frame_whose_work_fails_is_no_frame_in_work_any_more():
    with pytest.raises(ZeroDivisionError), frame_in_work():
        raise ZeroDivisionError
    assert quiet._in_work == 0
