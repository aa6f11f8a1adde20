"""A part of the fault matrix through real processes over Fast DDS, under supervision."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from edge_perception.faults.matrix import rows
from edge_perception.faults.nodes import LIVE_ROWS, run_process_row, run_row
from edge_perception.faults.session import session

STREAMS = (
    "dead lidar",
    "covered LiDAR, all within 0.2 m",
    "dead audio",
    "frozen image",
    "zero stamps, camera",
    "LiDAR sector lost",
)
PROCESSES = (
    "camera encoder killed (SIGKILL)",
    "model manager killed",
    "impossible transitions in traffic",
    "LiDAR encoder deactivated",
    "features of the LiDAR on features/camera",
)
ROWS = {row.name: row for row in rows() if row.real}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    # The test suite runs on busy machines; `make faults` has the strict bounds.
    with session(tmp_path_factory.mktemp("faults"), latency_s=0.4) as running:
        yield running


@pytest.mark.parametrize("name", STREAMS)
def test_a_fault_of_a_stream(running, name):
    _held(lambda: run_row(running, ROWS[name]))


@pytest.mark.parametrize("name", PROCESSES)
def test_a_fault_of_a_process(running, name):
    _held(lambda: run_process_row(running, name))


def _held(row):
    """A burst of other work on the cores shows as silence; a fault shows again."""
    result = row()
    if not result.passed:
        print(f"once more: {result.seen}: {result.problems}")
        result = row()
    assert result.passed, f"{result.seen}: {result.problems}"


def test_every_process_row_has_a_name_of_its_own():
    assert set(PROCESSES) <= set(LIVE_ROWS)
    assert len(ROWS) >= len(rows()) // 5  # with the processes about a third of the matrix


def test_run_supervise_brings_a_node_back_and_leaves_none_behind(tmp_path, ros_domain):
    import psutil

    command = [sys.executable, "-m", "edge_perception.cli.main", "run", "--supervise"]
    command += ["--sources", "lidar", "--log-folder", str(tmp_path), "--respawn-delay", "0.1"]
    with (tmp_path / "supervisor.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        supervisor = psutil.Process(process.pid)

        def child(text):
            return next((c for c in supervisor.children() if text in " ".join(_cmdline(c))), None)

        _until(lambda: child("lidar_encoder"))
        first = child("lidar_encoder")
        # Killed once it is up: the log says that the model is loaded.
        _until(lambda: "bev_lite" in (tmp_path / "lidar_encoder.log").read_text())
        os.kill(first.pid, signal.SIGKILL)
        _until(lambda: child("lidar_encoder") not in (None, first))
        assert (
            "lidar_encoder ended with signal SIGKILL" in (tmp_path / "supervisor.log").read_text()
        )
        children = supervisor.children()
        process.terminate()
        assert process.wait(60.0) == 0
        assert not any(item.is_running() for item in children)
    finally:
        process.kill()
        process.wait()


def _cmdline(process):
    import psutil

    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _until(condition, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)
