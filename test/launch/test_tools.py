"""The nodes in the hands of the real `ros2` tools: one launch, asked by all of them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ament_index_python.packages import get_packages_with_prefixes

NODES = ("camera_encoder", "lidar_encoder", "audio_encoder", "fusion", "model_manager")
PACKAGES = ("ros2launch", "ros2lifecycle", "ros2param", "ros2service", "ros2topic")
START_S, ASK_S, END_S = 60.0, 20.0, 8.0
ACTIVATE = "{transition: {id: 3}}"


def require() -> None:
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (not among the ROS wheels)")


def ros2(*words: str) -> str:
    """Return what a tool prints.

    Most wait for an answer without end, and an answer gets lost where the node knows of the tool's
    end of the service too late: then what is printed does not hold what a test looks for.
    """
    try:
        done = subprocess.run(["ros2", *words], capture_output=True, text=True, timeout=ASK_S)
    except subprocess.TimeoutExpired:
        return f"ros2 {' '.join(words)}: no answer within {ASK_S} s"
    return done.stdout + done.stderr


def wait_for(text: str, *words: str) -> None:
    """Ask until a tool prints this."""
    deadline = time.monotonic() + START_S
    while text not in (said := ros2(*words)):
        assert time.monotonic() < deadline, said


class Launched:
    """A launch in a process group of its own."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self._log = log
        command = ["ros2", "launch", "edge_perception", "perception.launch.py", *arguments]
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.killpg(self._process.pid, number)

    def pids(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"process started with pid \[(\d+)\]", self.log)]

    def end(self, *, times: int = 1) -> float:
        """Press Ctrl-C: every process of the group gets the signal, as from a terminal."""
        began = time.monotonic()
        for _ in range(times):
            self._signal(signal.SIGINT)
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        return time.monotonic() - began


@pytest.fixture(scope="module", params=["composed", "separate"])
def launched(request, shared_domain, tmp_path_factory) -> Iterator[Launched]:
    require()
    composed = "true" if request.param == "composed" else "false"
    log = tmp_path_factory.mktemp(request.param) / "launch.log"
    launched = Launched(log, f"composed:={composed}", "topics:=camera:=/front/", "log_level:=warn")
    try:
        for node in NODES:
            wait_for("active [3]", "lifecycle", "get", f"/{node}")
        yield launched
    finally:
        launched.end()
        subprocess.run(["ros2", "daemon", "stop"], capture_output=True, timeout=ASK_S)


def change_state(node: str, request: str) -> str:
    return ros2(
        "service", "call", f"/{node}/change_state", "lifecycle_msgs/srv/ChangeState", request
    )


@pytest.mark.parametrize("node", NODES)
def test_an_impossible_transition_is_refused_and_ends_nothing(launched, node):
    assert "success=False" in change_state(node, ACTIVATE)
    assert "success=False" in change_state(node, "{transition: {label: nonsense}}")
    assert "active [3]" in ros2("lifecycle", "get", f"/{node}")
    assert "process has died" not in launched.log
    assert f"[{node}]: change_state: 3 is not possible while active" in launched.log


@pytest.mark.parametrize("node", NODES)
def test_a_dump_has_all_parameters(launched, node):
    dumped = yaml.safe_load(ros2("param", "dump", f"/{node}"))[f"/{node}"]["ros__parameters"]
    listed = [line.strip() for line in ros2("param", "list", f"/{node}").splitlines()]
    assert len(listed) > 10
    assert set(flat(dumped)) == set(listed)
    assert dumped["plugin_folders"] == []


def flat(values: dict, prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_configuration_is_set_after_cleanup(launched):
    node = "/lidar_encoder"
    assert "Read only: true" in ros2("param", "describe", node, "source")
    assert "after cleanup" in ros2("param", "set", node, "threads", "2")
    for transition in ("deactivate", "cleanup"):
        assert "successful" in ros2("lifecycle", "set", node, transition)
    assert "successful" in ros2("param", "set", node, "threads", "2")
    assert "successful" in ros2("param", "set", node, "model_folders", "[]")
    for transition in ("configure", "activate"):
        assert "successful" in ros2("lifecycle", "set", node, transition)
    assert "2" in ros2("param", "get", node, "threads")
    assert "active [3]" in ros2("lifecycle", "get", node)


def test_one_namespace_moves_a_cameras_topics(launched):
    topics = ros2("topic", "list", "--no-daemon", "--spin-time", "3").split()
    assert {"/front/image_raw", "/front/image_raw/compressed", "/front/camera_info"} <= set(topics)
    assert not [topic for topic in topics if topic.startswith("/camera/")]


@pytest.mark.parametrize("composed", ["true", "false"])
@pytest.mark.parametrize(("after_s", "times"), [(0.0, 1), (0.5, 2), (3.0, 2)])
def test_ctrl_c_ends_a_launch_at_any_moment(ros_domain, tmp_path, composed, after_s, times):
    require()
    launched = Launched(tmp_path / "launch.log", f"composed:={composed}", "log_level:=warn")
    count = 1 if composed == "true" else len(NODES)
    deadline = time.monotonic() + START_S
    while launched.log.count("process started with pid") < count:
        assert time.monotonic() < deadline, launched.log
        time.sleep(0.02)
    time.sleep(after_s)  # a moment, not an event: it may be any
    took_s = launched.end(times=times)
    assert took_s < END_S, launched.log
    assert "process has died" not in launched.log, launched.log
    assert "KeyboardInterrupt" not in launched.log, launched.log
    assert "escalating" not in launched.log, launched.log


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("topics:=camera=/front/", "topics: expected source:=topic"),
        ("respawn_delay:=soon", "respawn_delay: expected a number, got 'soon'"),
        ("diagnostic_aggregator:=perhaps", "['true', 'false']"),
    ],
)
def test_a_wrong_argument_is_one_line(ros_domain, argument, said):
    require()
    shown = ros2("launch", "edge_perception", "perception.launch.py", argument)
    assert said in shown
    assert "Traceback" not in shown


def test_a_killed_process_is_started_as_often_as_was_asked_for(ros_domain, tmp_path):
    require()
    respawn = ("respawn_delay:=0.1", "respawn_limit:=1")
    launched = Launched(tmp_path / "launch.log", "composed:=true", "log_level:=warn", *respawn)
    killed = []
    deadline = time.monotonic() + START_S
    try:
        while not launched.ended:  # with its only process
            assert time.monotonic() < deadline, launched.log
            new = [pid for pid in launched.pids() if pid not in killed]
            for pid in new:
                os.kill(pid, signal.SIGKILL)
            killed += new
            time.sleep(0.02)
    finally:
        launched.end()
    assert len(killed) == 2, launched.log


AGGREGATOR = """#!/usr/bin/env python3
import sys
print("aggregator", *sys.argv, flush=True)
"""


def test_the_aggregator_is_started_with_its_configuration(ros_domain, tmp_path, monkeypatch):
    """Another program of that name: the real one is C++ and not among the wheels."""
    require()
    argument = "diagnostic_aggregator:=true"
    if "diagnostic_aggregator" not in get_packages_with_prefixes():
        shown = ros2("launch", "edge_perception", "perception.launch.py", argument)
        assert "diagnostic_aggregator: not installed" in shown
        assert "process started" not in shown
    program = tmp_path / "lib" / "diagnostic_aggregator" / "aggregator_node"
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    for folder in (program.parent, index):
        folder.mkdir(parents=True)
    (index / "diagnostic_aggregator").touch()
    program.write_text(AGGREGATOR)
    program.chmod(0o755)
    prefixes = os.pathsep.join([str(tmp_path), os.environ["AMENT_PREFIX_PATH"]])
    monkeypatch.setenv("AMENT_PREFIX_PATH", prefixes)
    launched = Launched(tmp_path / "launch.log", argument, "composed:=true", "namespace:=car")
    deadline = time.monotonic() + START_S
    try:
        while "aggregator " not in launched.log:
            assert time.monotonic() < deadline, launched.log
            time.sleep(0.02)
    finally:
        launched.end()
    said = next(line for line in launched.log.splitlines() if "aggregator " in line)
    assert "diagnostic_aggregator.yaml" in said
    assert "__ns:=/car" in said


def test_a_parameter_file_without_its_key_is_one_line(ros_domain, tmp_path):
    require()
    file = tmp_path / "bad.yaml"
    file.write_text("fusion:\n  rate_hz: 1.0\n")
    shown = ros2("launch", "edge_perception", "perception.launch.py", f"params_file:={file}")
    assert "ros__parameters" in shown
    assert str(file) in shown
    assert "Traceback" not in shown
