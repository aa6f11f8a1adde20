"""Processes that die at every step of a change, and managers that meet."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import node_process
import pytest
from failing_files import CountingFileSystem, LossyFileSystem
from fault_robot import FaultRobot
from harness import wait_until
from node_process import end
from releases import Maker

from edge_perception import msg, srv
from edge_perception.cli import _manager_watch
from edge_perception.cli.main import main
from edge_perception.models.loading import ModelOptions
from edge_perception.models.manifest import load_bundle
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.topics import qos
from edge_perception.releases.journal import Record
from edge_perception.releases.loading import load_model
from edge_perception.releases.starts import Starts
from edge_perception.releases.store import ReleaseStore

HERE = Path(__file__).resolve().parent
JOURNAL_STEPS = ("begin", "prepared", "commit", "done")
OLD, NEW = "1.0.0", "2.0.0"


@pytest.fixture
def maker(tmp_path):
    pytest.importorskip("onnx")
    maker = Maker(tmp_path)
    old = maker.install(name="old", version=OLD)
    maker.install(name="new", version=NEW, release=3)
    models = {"lidar": old.sha256}
    maker.store.slots.point(factory=models, current=models)
    return maker


def start(command, maker, domain, **parameters):
    parameters = {**maker.parameters, "commit_delay_s": 0.05, **parameters}
    return node_process.start(command, domain, parameters)


def wait_for_manager(harness):
    client = harness.driver.create_client(srv.SwapModel, "/model_manager/swap_model")
    wait_until(client.service_is_ready, "the manager")
    return client


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(step, marks=pytest.mark.matrix if step == "begin" else [])
        for step in JOURNAL_STEPS
    ],
)
def test_kill_of_the_manager_at_every_journal_step(harness, maker, ros_domain, step):
    robot = FaultRobot(harness, maker, manager=False)
    assert robot.version() == OLD
    command = [sys.executable, str(HERE / "killed_manager.py"), step]
    process = start(command, maker, ros_domain, admission_latency_factor=50.0)
    try:
        client = wait_for_manager(harness)
        request = srv.SwapModel.Request(role="lidar", name="new", skip_trial=True)
        client.call_async(request)
        process.wait(120)
        assert process.returncode == -signal.SIGKILL
    finally:
        end(process)
    assert robot.version() in (OLD, NEW)  # it serves without a manager
    robot.start_manager()
    store = ReleaseStore(maker.root)
    wait_until(lambda: store.journal.open_change() is None, "the change is finished or undone")
    expected = NEW if step in ("commit", "done") else OLD
    release = store.release(store.slots.get("current")["lidar"])
    assert release.manifest.version == expected
    load_bundle(release.bundle.path)
    robot.serves(expected)
    other = "old" if expected == NEW else "new"
    answer = robot.swap(other)  # what the dead manager had prepared is in nobody's way
    if other == "old":
        assert not answer.success or answer.current.version == OLD
    else:
        assert answer.success, answer.reason
        robot.serves(NEW)


@pytest.mark.parametrize(
    ("step", "arguments", "text"),
    [
        ("shadow", ["swap", "new"], "nothing was decided"),
        ("commit", ["swap", "new", "--skip-trial"], ""),
        ("commit", ["rollback"], "`models history` says"),
    ],
)
def test_who_asked_hears_that_the_manager_died(
    harness, maker, ros_domain, step, arguments, text, capsys, monkeypatch
):
    monkeypatch.setattr(_manager_watch, "_SILENT_S", 2.0)
    maker.store.slots.point(previous={"lidar": maker.store.find("new").sha256})
    robot = FaultRobot(harness, maker, manager=False)
    assert robot.version() == OLD
    command = [sys.executable, str(HERE / "killed_manager.py"), step]
    process = start(command, maker, ros_domain, admission_latency_factor=50.0)
    try:
        wait_for_manager(harness)
        assert main(["models", *arguments]) == 1
        assert process.wait(60) == -signal.SIGKILL
    finally:
        end(process)
    said = capsys.readouterr().out.splitlines()[-1]
    assert "refused: /model_manager" in said
    assert text in said


def test_who_asked_hears_that_the_manager_ended(harness, maker, ros_domain, capsys):
    robot = FaultRobot(harness, maker, manager=False)
    command = python("edge_perception.nodes.manager.node:main")
    process = start(command, maker, ros_domain, admission_latency_factor=50.0)

    stopped = []

    def stop(event):
        if event.event == "shadow 100%":
            stopped.append(event)
            process.terminate()

    harness.driver.create_subscription(msg.ModelEvent, "model_events", stop, qos.EVENTS)
    try:
        wait_for_manager(harness)
        assert main(["models", "swap", "new"]) == 1
        said = capsys.readouterr().out.splitlines()[-1]
        assert stopped, said
        assert process.wait(60) == 0
    finally:
        end(process)
    assert robot.version() == OLD
    if said == "refused: the manager ends":
        assert ReleaseStore(maker.root).journal.open_change() is None  # undone, not only left
    else:  # a busy machine: the manager's last second was too short for its answer
        assert "refused: /model_manager" in said
        assert "nothing was decided" in said


def test_a_swap_right_after_the_start_of_a_manager_waits_for_its_nodes(harness, maker):
    robot = FaultRobot(harness, maker, encoder=False)  # the manager is first
    answers = []
    thread = threading.Thread(target=lambda: answers.append(robot.swap("new")))
    thread.start()
    wait_until(lambda: robot.manager.coordinator.busy, "the request")
    robot.encoder = harness.add(EncoderNode, "lidar", parameters=maker.node_parameters)
    thread.join(120)
    assert answers[0].success, answers[0].reason
    robot.serves(NEW)


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(step, marks=[] if step == "commit" else pytest.mark.matrix)
        for step in JOURNAL_STEPS
    ],
)
def test_kill_of_an_encoder_at_every_journal_step(harness, maker, ros_domain, step):
    command = [sys.executable, "-c"]
    command.append("from edge_perception.nodes.encoder.node import lidar; lidar()")
    parameters = maker.node_parameters
    process = start_encoder(command, ros_domain, parameters)

    class Killing(CountingFileSystem):
        def after(self, name, *args):
            if name == "sync" and args[0].name == "journal.jsonl":
                last = args[0].read_bytes().splitlines()[-1]
                if b'"step": "' + step.encode() in last and process.poll() is None:
                    process.kill()
                    process.wait(60)

    again = None
    try:
        robot = FaultRobot(
            harness,
            maker,
            encoder=False,
            files=Killing(),
            answer_timeout_s=5.0,
            prepare_timeout_s=15.0,
        )
        robot.wait_connected()
        wait_until(lambda: robot.manager.parts.client.nodes() == ["/lidar_encoder"], "the encoder")
        assert robot.version() == OLD
        answer = robot.swap("new")
        assert process.poll() is not None
        if step in ("begin", "prepared"):
            assert answer.success == (step == "prepared"), answer.reason
        again = start_encoder(command, ros_domain, parameters)
        returned = robot.version()
        store = ReleaseStore(maker.root)
        current = store.release(store.slots.get("current")["lidar"]).manifest.version
        assert current == (OLD if step == "begin" else NEW)
        assert returned == current  # it comes back with what the store has, and no other
        assert store.journal.open_change() is None
    finally:
        end(process)
        if again is not None:
            end(again)


def start_encoder(command, domain, parameters):
    arguments = [part for k, v in parameters.items() for part in ("-p", f"{k}:={v}")]
    return subprocess.Popen(
        [*command, "--ros-args", *arguments],
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def python(entry):
    """Return the command of a node's process: `module:function`."""
    module, function = entry.split(":")
    return [
        sys.executable,
        "-c",
        f"import sys; from {module} import {function}; {function}()",
    ]


@pytest.fixture
def network(monkeypatch):
    """Between machines there is no shared memory: everything goes through UDP."""
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_swap_and_rollback_of_a_node_on_another_machine(
    network, harness, maker, ros_domain, tmp_path
):
    other = tmp_path / "other_machine"  # each has a store, with the same releases
    shutil.copytree(maker.root, other)
    robot = FaultRobot(harness, maker, encoder=False, manager=False)
    processes = [
        start(command, maker, ros_domain, **parameters)
        for command, parameters in (
            # The key of the manager has to be brought to the other machine.
            (
                python("edge_perception.nodes.encoder.node:lidar"),
                {"model_store": str(other), "manager_key": str(maker.root / "manager.pub")},
            ),
            (
                python("edge_perception.nodes.manager.node:main"),
                {"admission_latency_factor": 50.0},
            ),
        )
    ]
    try:
        robot.wait_connected()
        assert robot.version() == OLD
        for process in processes:
            environment = Path(f"/proc/{process.pid}/environ").read_text().split("\0")
            assert "FASTDDS_BUILTIN_TRANSPORTS=UDPv4" in environment
            assert not [line for line in environment if "_PROFILES_FILE=" in line]
        answer = robot.swap("new")
        assert answer.success, answer.reason
        robot.serves(NEW)
        answer = robot.roll_back()
        assert answer.success, answer.reason
        robot.serves(OLD)
    finally:
        for process in processes:
            end(process)


def test_two_managers(harness, maker):
    robot = FaultRobot(harness, maker)
    second = robot.start_manager()
    assert "is the manager of" in second.parts.managed.off
    assert f"process {os.getpid()}" in second.parts.managed.off


def test_swap_requested_during_a_swap(harness, maker):
    robot = FaultRobot(harness, maker)
    robot.feature()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(robot.swap("new")))
    thread.start()
    robot.events.wait(lambda event: event.event == "begin")
    second = robot.swap("new")
    thread.join(120)
    assert not second.success
    assert "a change is under way" in second.reason
    assert answers[0].success, answers[0].reason
    robot.serves(NEW)


def test_a_failing_disk_refuses_the_change_and_says_so(harness, maker):
    class Failing(CountingFileSystem):
        code = 0

        def before(self, name):
            if self.code and name in ("write", "append"):
                raise OSError(self.code, os.strerror(self.code))

    files = Failing()
    robot = FaultRobot(harness, maker, files=files)
    for code, text in (
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EIO, "the disk reports an I/O error"),
    ):
        files.code = code
        robot.refuses("new", text)
    files.code = 0
    answer = robot.swap("new")
    assert answer.success, answer.reason
    robot.serves(NEW)
    files.code = errno.EIO
    before = robot.version()
    answer = robot.roll_back()
    assert not answer.success
    assert "I/O error" in answer.reason
    assert robot.version() == before
    files.code = 0
    answer = robot.roll_back()
    assert answer.success, answer.reason
    robot.serves(OLD)


def test_a_corrupt_journal_is_set_aside_and_the_current_set_serves(harness, maker):
    journal = maker.root / "journal.jsonl"
    record = Record(
        transaction_id="lost",
        step="begin",
        before={"lidar": "0" * 64},
        after={"lidar": "1" * 64},
        reason="lost",
    )
    maker.store.note(record)
    maker.store.note(record.next("commit"))
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0][:30] + b"X" + lines[0][31:] + b"".join(lines[1:]))
    robot = FaultRobot(harness, maker)
    event = robot.events.wait(lambda event: event.event == "recovered")
    assert "line 1 is damaged" in event.reason
    assert "the set of `current` stands" in event.reason
    assert robot.version() == OLD
    answer = robot.swap("new")
    assert answer.success, answer.reason
    robot.serves(NEW)
    assert journal.with_suffix(".damaged").is_file()


def test_power_loss_at_every_sync_of_a_swap_and_a_rollback(harness, maker, tmp_path):
    """What the disk holds after each step that makes something durable: a start finds one set."""
    disks = []

    class Losing(LossyFileSystem):
        lock = threading.Lock()  # events are written by a thread of their own

        def after(self, name, *args):
            with self.lock:
                super().after(name, *args)
                if name in ("sync", "sync_folder"):
                    disks.append(tmp_path / f"disk_{len(disks)}")
                    self.lose_power(disks[-1])

    robot = FaultRobot(harness, maker, files=Losing(maker.root))
    assert robot.version() == OLD
    answer = robot.swap("new")
    assert answer.success, answer.reason
    robot.serves(NEW)
    swapped = len(disks)
    answer = robot.roll_back()
    assert answer.success, answer.reason
    robot.serves(OLD)
    served = [started_from(disk) for disk in disks]
    assert len(disks) > 25
    assert set(served) == {OLD, NEW}
    for part, order in ((served[:swapped], [OLD, NEW]), (served[swapped:], [NEW, OLD])):
        assert part == sorted(part, key=order.index)  # once the decision is on disk it stays


def started_from(root):
    """Recover a store as a starting manager does, and load as a starting encoder does."""
    store = ReleaseStore(root)
    store.recover()
    assert store.journal.open_change() is None
    options = ModelOptions(model="bev_lite/lidar", model_store=str(root))
    loaded = load_model(options, role="lidar")
    loaded.backend.close()
    return loaded.bundle.manifest.version


def test_a_manager_makes_room_and_leaves_what_serves_and_served(harness, maker):
    spare = maker.install(name="new", version="1.5.0", release=3)
    new = maker.store.find("new", NEW)
    os.utime(new.bundle.path)  # installed last
    robot = FaultRobot(harness, maker, keep_releases=1)
    event = robot.events.wait(lambda event: event.event == "removed")
    assert event.reason == "new 1.5.0 (old)"
    assert not maker.store.shelf.has(spare.sha256)
    later = maker.install(name="later", version="3.0.0", release=3)
    os.utime(maker.install(name="later", version="3.1.0", release=3).bundle.path)
    since = len(robot.events.messages)
    assert robot.swap("new").success
    robot.serves(NEW)
    event = robot.events.wait(lambda event: event.event == "removed", since=since)
    assert event.reason == "later 3.0.0 (old)"
    assert not maker.store.shelf.has(later.sha256)
    assert robot.roll_back().success
    robot.serves(OLD)


def test_two_failed_starts_quarantine_a_version(maker):
    store = maker.store
    old, new = store.find("old").sha256, store.find("new").sha256
    store.slots.point(previous={"lidar": old}, current={"lidar": new})
    for _ in range(2):
        Starts(store).starting("lidar")  # and then the process was gone
    options = ModelOptions(model="bev_lite/lidar", model_store=str(maker.root))
    loaded = load_model(options, role="lidar")
    assert loaded.bundle.sha256 == old
    assert "2 failed starts" in store.notes.quarantined(new)
    assert dict(store.slots.get("current")) == {"lidar": old}
    for _ in range(3):  # a good start leaves no count behind
        assert load_model(options, role="lidar").bundle.sha256 == old
