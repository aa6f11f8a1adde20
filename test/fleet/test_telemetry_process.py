"""Readings go to a process of its own: nothing is lost or doubled, whichever of the two ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.fleet import telemetry
from edge_perception.fleet.mqtt import BrokerOptions
from edge_perception.fleet.readings import Reading, encode_reading
from edge_perception.fleet.spool import Spool
from edge_perception.fleet.telemetry import Telemetry
from edge_perception.fleet.telemetry_process import TelemetryWork

NOBODY = BrokerOptions(url="mqtt://127.0.0.1:9")


def event(number):
    return Reading(kind="event", stamp_ns=number, data={"n": number})


def wait_until(condition, what):
    end_s = time.monotonic() + 60.0
    while not condition():
        if time.monotonic() > end_s:
            pytest.fail(f"not within 60 s: {what}")
        time.sleep(0.005)


def in_spool(path):
    """Numbers of the readings that are on the disk, in the order of the spool."""
    spool = Spool(path, 10**8)
    try:
        return [json.loads(body)["data"]["n"] for _, body in spool.waiting(10**8, most=10**6)]
    finally:
        spool.close()


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts tellers, and leaves no process behind."""
    monkeypatch.setattr(telemetry, "_AGAIN_S", (0.01, 0.05))
    started = []

    def make(path=tmp_path / "spool.db", broker=NOBODY):
        started.append(Telemetry("r1", path, broker, quota_bytes=10**8))
        return started[-1]

    yield make
    for each in started:
        each.close()
        assert not each._thread.is_alive()
        assert each._process.returncode is not None


def test_what_is_told_is_kept_in_order_and_said(start, tmp_path):
    robot, kept = start(), []
    for number in range(700):  # before it listens, and after
        robot.tell(event(number), lambda number=number: kept.append(number))
    wait_until(lambda: len(kept) == 700, "all kept")
    assert kept == list(range(700))
    wait_until(lambda: "refused" in robot.values()["broker"], "why there is no broker")
    assert robot.values() == {
        "broker": "[Errno 111] Connection refused",
        "telemetry_waiting": 700,
        "telemetry_dropped": 0,
        "telemetry_thinned": 0,
        "telemetry_level": "all",
    }
    robot.tell(event(700))
    robot.close()
    assert in_spool(tmp_path / "spool.db") == list(range(701))


def test_kill_9_of_the_process_loses_and_doubles_nothing(start, tmp_path):
    robot, kept = start(), []
    for first in range(0, 900, 150):
        for number in range(first, first + 150):
            robot.tell(event(number), lambda number=number: kept.append(number))
        # Once it has those before: at whatever step it is with these.
        wait_until(lambda n=first: robot._process and len(kept) >= n, "those before")
        ended = robot._process.pid
        os.kill(ended, signal.SIGKILL)
        wait_until(lambda pid=ended: robot._process.pid != pid, "its successor")
    wait_until(lambda: len(kept) == 900, "all kept")
    assert kept == list(range(900))
    assert in_spool(tmp_path / "spool.db") == list(range(900))


def test_a_successor_says_what_is_on_the_disk_of_whom(tmp_path):
    setup = {
        "device": "r1",
        "path": str(tmp_path / "spool.db"),
        "broker": vars(NOBODY),
        "quota_bytes": 10**6,
        "teller": "first",
    }

    def successor(teller):
        ours, theirs = socket.socketpair()
        work = TelemetryWork(theirs, setup | {"teller": teller}, b"")
        work._say("")
        return ours, work, json.loads(ours.recv(65536))["kept"]

    ours, work, kept = successor("first")
    assert kept == 0
    ours.sendall(b"".join(encode_reading(event(n)) + b"\n" for n in range(5)))
    work._read()
    work._keep()  # and here it ends, before it says so
    assert successor("first")[2] == 5
    assert successor("another")[2] == 0


TELLER = """
import os, signal, sys, time
from pathlib import Path
from edge_perception.fleet.mqtt import BrokerOptions
from edge_perception.fleet.readings import Reading
from edge_perception.fleet.telemetry import Telemetry
robot = Telemetry(
    "r1", Path(sys.argv[1]), BrokerOptions(url="mqtt://127.0.0.1:9"), quota_bytes=10**7
)
told = []
robot.tell(Reading(kind="event", stamp_ns=0, data={"n": 0}), lambda: told.append(0))
while not told:
    time.sleep(0.005)
for n in range(1, 100):
    robot.tell(Reading(kind="event", stamp_ns=n, data={"n": n}))
os.killpg(0, signal.SIGKILL)
"""


def test_what_was_told_outlives_kill_9_of_who_told_it(tmp_path):
    path = tmp_path / "spool.db"
    ended = subprocess.run([sys.executable, "-c", TELLER, str(path)], start_new_session=True)
    assert ended.returncode == -signal.SIGKILL
    wait_until(lambda: in_spool(path) == list(range(100)), "all 100 on the disk")


def test_telling_never_waits_for_a_process_that_hangs(start, tmp_path):
    robot, kept = start(), []
    robot.tell(event(0), lambda: kept.append(0))
    wait_until(lambda: kept, "it is there")
    os.kill(robot._process.pid, signal.SIGSTOP)
    for number in range(1, 12_001):
        robot.tell(event(number))
    assert robot.lost == 2000
    assert robot.values()["telemetry_dropped"] == 2000
    os.kill(robot._process.pid, signal.SIGCONT)
    wait_until(lambda: not robot._aside, "what was aside")
    assert in_spool(tmp_path / "spool.db") == list(range(10_001))


def test_a_spool_that_cannot_be_written_is_said_and_tried_again(start, tmp_path):
    place = tmp_path / "no_folder"
    place.write_text("")
    robot = start(place / "spool.db")
    robot.tell(event(1))
    wait_until(lambda: "no_folder" in robot.problem, "the problem")
    place.unlink()
    wait_until(lambda: not robot._aside, "the disk")
    assert robot.problem == ""
    assert in_spool(place / "spool.db") == [1]


def test_certificates_that_are_none_are_said(start):
    robot = start(broker=BrokerOptions(url="mqtts://127.0.0.1:9", ca_file="/none"))
    wait_until(lambda: "certificates" in robot.problem, "the problem")


def test_an_address_that_is_no_broker_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"expected mqtt://HOST:PORT .* got 'http://a'"):
        Telemetry("r1", tmp_path / "s.db", BrokerOptions(url="http://a"), quota_bytes=1)
