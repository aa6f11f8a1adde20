"""Respawn with delay and limit, and an end in time; real processes, a clock that is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from edge_perception.core.clock import FakeClock
from edge_perception.running.supervision import ProcessSpec, RespawnLimits, Supervisor

SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('ready', flush=True)\nwhile True: time.sleep(60)",
)


@pytest.fixture
def make(tmp_path):
    made = []

    def make(command, **limits):
        said = []
        clock = FakeClock()
        supervisor = Supervisor(
            [ProcessSpec(name="node", command=tuple(command), log=tmp_path / "node.log")],
            environment=os.environ,
            limits=RespawnLimits(**limits),
            say=said.append,
            clock=clock,
        )
        made.append(supervisor)
        return supervisor, clock, said

    yield make
    for supervisor in made:
        supervisor.stop(0.1)


def until(condition, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


def killed_and_noticed(supervisor, said):
    count = len(said)
    os.kill(supervisor.pids["node"], signal.SIGKILL)
    until(lambda: supervisor.poll() or len(said) > count)


def test_a_killed_process_comes_back_after_its_delay(make):
    supervisor, clock, said = make(SLEEPER, delay_s=2.0)
    supervisor.start()
    first = supervisor.pids["node"]
    killed_and_noticed(supervisor, said)
    assert "SIGKILL" in said[0]
    assert not supervisor.pids
    clock.advance(1.9)
    supervisor.poll()
    assert not supervisor.pids
    clock.advance(0.2)
    supervisor.poll()
    assert supervisor.pids["node"] != first


def test_a_step_of_the_wall_clock_changes_nothing(make):
    supervisor, clock, said = make(SLEEPER, delay_s=2.0)
    supervisor.start()
    killed_and_noticed(supervisor, said)
    clock.jump_node_clock(3600.0)
    supervisor.poll()
    assert not supervisor.pids


def test_a_crash_loop_is_given_up_and_named(make):
    supervisor, clock, said = make(
        (sys.executable, "-c", "raise SystemExit(3)"), delay_s=0.1, most=2
    )
    supervisor.start()

    def step():
        clock.advance(0.2)
        supervisor.poll()
        return supervisor.given_up == ["node"]

    until(step)
    assert "exit code 3" in said[-1]
    assert "given up after 2 restarts" in said[-1]
    assert supervisor.run() == 1


def test_restarts_of_long_ago_do_not_count(make):
    supervisor, clock, said = make(SLEEPER, delay_s=0.0, most=1, window_s=10.0)
    supervisor.start()
    for _ in range(3):
        killed_and_noticed(supervisor, said)
        supervisor.poll()
        assert not supervisor.given_up
        clock.advance(11.0)
        supervisor.poll()


def test_what_ignores_sigterm_is_waited_for_as_long_as_said_and_then_killed(
    make, tmp_path, monkeypatch
):
    supervisor, _, _ = make(STUBBORN)
    supervisor.start()
    pid = supervisor.pids["node"]
    until(lambda: "ready" in (tmp_path / "node.log").read_text())
    waits, wait = [], subprocess.Popen.wait

    def noted(process, timeout=None):
        waits.append(timeout)
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", noted)
    supervisor.stop(0.3)
    politely, killed = waits
    assert politely <= 0.3
    assert killed is None  # for SIGKILL, which nothing ignores
    assert not supervisor.pids
    assert not psutil.pid_exists(pid)


PARENT = """
import os, pathlib, sys, time
from edge_perception.running.supervision import ProcessSpec, Supervisor
child = (
    "from edge_perception.running.ending import watch_signals; import time; "
    "watch_signals(); print('ready', flush=True); time.sleep(60)"
)
log = pathlib.Path(sys.argv[1])
node = ProcessSpec(name="node", command=(sys.executable, "-c", child), log=log)
supervisor = Supervisor([node], environment=os.environ)
supervisor.start()
print(supervisor.pids["node"], flush=True)
time.sleep(60)
"""


def test_what_a_killed_process_has_started_ends_too(tmp_path):
    log = tmp_path / "node.log"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(log)], stdout=subprocess.PIPE, text=True
    )
    child = int(parent.stdout.readline())
    until(lambda: log.exists() and "ready" in log.read_text())
    parent.kill()
    parent.communicate()
    until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie")
    assert "the process that started this one is gone" in log.read_text()
