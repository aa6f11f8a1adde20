"""Whole sets through real nodes: a good one passes, a blind one is stopped, a burn goes back."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest
from harness import wait_until
from node_process import end, start
from releases import Maker, installed
from set_robot import SetRobot

from edge_perception import msg, srv
from edge_perception.bench._bad_models import bad_bundle
from edge_perception.nodes.topics import qos
from edge_perception.releases.store import ReleaseStore

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.timeout(300)  # a whole change, on a busy machine

MATRIX = pytest.mark.matrix  # these cells run in `make matrix`
ROLES = ("camera", "lidar", "audio", "fusion")
NEW = "90.0.0"
# Few samples, so that a trial takes seconds; frames may come late on a busy machine.
QUICK = {
    "error_rate": 0.05,
    "error_rate_bad": 0.6,
    "min_samples": 4,
    "max_samples": 2000,
    "latency_increase": 20.0,
    "stage_timeout_s": 60.0,
    "behaviour": {"min_frames": 20, "max_frames": 40, "min_objects": 20, "min_paired": 0.1},
}
EVENTS = {"window_s": 5.0, "min_events": 15}


def before():
    """Return the versions that are installed, by role: each bundle has its own."""
    return {role: installed(role).manifest.version for role in ROLES}


def newer():
    """Return a release after those that are installed, and so served before."""
    return max(installed(role).manifest.release for role in ROLES) + 1


@pytest.fixture
def maker(tmp_path):
    pytest.importorskip("onnx")
    maker = Maker(tmp_path)
    maker.asks(
        trial=QUICK,
        watch={"soak_s": 5.0},
        objectives=[{"name": "drift", "indicator": "drift", "at_most": 0.5, **EVENTS}],
    )
    return maker


def install_bad(maker, kind, version, release):
    """Install a set of a space of its own, all of whose heads are wrong in one way."""
    for role in ROLES:
        source = installed(role)
        space = f"bev_lite-{version}"
        changes = {"version": version, "release": release, "gates": {}}
        if role == "fusion":
            changes["compatible_with"] = [space]
        else:
            changes["feature_space"] = space
        bundle = bad_bundle(source, maker.folder / f"{kind}-{role}", kind, changes=changes)
        maker.store.install(maker.signed(bundle), maker.trust, now_ns=time.time_ns())


@pytest.mark.parametrize(
    "composed",
    [pytest.param(False, id="separate"), pytest.param(True, id="composed", marks=MATRIX)],
)
def test_a_whole_set_passes_every_stage_is_watched_and_rolls_back(harness, maker, composed):
    maker.install_set(NEW, newer())
    with SetRobot(harness, maker, composed=composed) as robot:
        answer = robot.swap()
        assert answer.success, answer.reason
        assert {model.role for model in answer.models} == set(ROLES)
        robot.serves(dict.fromkeys(ROLES, NEW))
        id_ = answer.transaction_id
        robot.events.wait(lambda e: e.event == "watched" and e.transaction_id == id_, timeout_s=60)
        assert robot.roll_back().success
        robot.serves(before())
    assert robot.steps(id_) == [
        "begin", "admitted", "prepared", "shadow 100%", "canary 10%", "canary 25%", "canary 100%",
        "commit", "committed", "done", "watched",
    ]  # fmt: skip
    assert robot.mixed() == []
    sequences = [view.sequence for view in robot.views.messages]
    assert sequences == sorted(set(sequences))


def test_a_blind_set_and_a_mirrored_one_are_stopped_in_the_shadow(harness, maker):
    install_bad(maker, "blind", "91.0.0", newer())
    install_bad(maker, "mirrored", "92.0.0", newer())
    with SetRobot(harness, maker) as robot:
        for version, text in (("91.0.0", "empty 1.00"), ("92.0.0", "")):
            answer = robot.swap(version=version)
            assert not answer.success
            assert "rolled back in shadow" in answer.reason
            assert "decides otherwise than what serves" in answer.reason
            assert text in answer.reason
            robot.serves(before())
    served = {model.version for view in robot.views.messages for model in view.models}
    assert served == set(before().values())


def test_a_watch_goes_back_by_itself_and_the_breaker_opens(harness, maker):
    install_bad(maker, "blind", "91.0.0", newer())
    install_bad(maker, "everywhere", "92.0.0", newer())
    maker.install_set(NEW, newer())
    maker.asks(
        trial=QUICK,
        watch={"soak_s": 60.0},
        objectives=[{"name": "drift", "indicator": "drift", "at_most": 0.5, **EVENTS}],
    )
    with SetRobot(harness, maker) as robot:
        for version in ("91.0.0", "92.0.0"):
            first = robot.views.messages[-1].sequence
            robot.views.wait(lambda view, first=first: view.sequence > first + 25, timeout_s=30)
            answer = robot.swap(version=version, skip_trial=True)
            assert answer.success, answer.reason
            id_ = answer.transaction_id
            back = robot.events.wait(
                lambda e, id_=id_: e.event == "rolled back" and e.transaction_id == id_,
                timeout_s=60,
            )
            assert back.error
            assert "drift: " in back.reason
            robot.serves(before())
            lidar = next(m for m in answer.models if m.role == "lidar")
            assert "drift" in maker.store.notes.quarantined(lidar.sha256)
        robot.events.wait(lambda e: e.event == "breaker open")
        refused = robot.swap(version=NEW, skip_trial=True)
        assert not refused.success
        assert "the breaker is open: 2 rollbacks within" in refused.reason
        name = "/model_manager/reset_breaker"
        nobody = harness.call(srv.ResetBreaker, name, srv.ResetBreaker.Request())
        assert not nobody.success
        somebody = srv.ResetBreaker.Request(reason="test: looked at both")
        assert harness.call(srv.ResetBreaker, name, somebody).success
        answer = robot.swap(version=NEW, skip_trial=True)
        assert answer.success, answer.reason
        robot.serves(dict.fromkeys(ROLES, NEW))


@MATRIX
def test_a_set_that_silences_fusion_is_rolled_back(harness, maker, ros_domain):
    maker.install_set(NEW, newer())
    maker.asks(
        trial=QUICK,
        objectives=[{"name": "valid", "indicator": "valid", "target": 0.9, "min_events": 10}],
    )
    module, function = NODES["fusion"].split(":")
    command = [sys.executable, "-c", f"from {module} import {function}; {function}()"]
    robot = SetRobot(harness, maker, outside="fusion", answer_timeout_s=5.0)
    processes = [start(command, ros_domain, robot.outside)]
    try:
        with robot:
            first = robot.views.wait(lambda view: view.mode == 3, timeout_s=60).sequence
            robot.views.wait(lambda view: view.sequence > first + 25, timeout_s=30)
            answer = robot.swap(skip_trial=True)
            assert answer.success, answer.reason
            processes[0].kill()  # as a model would that ends its process
            robot.events.wait(lambda e: e.event == "not rolled back", timeout_s=60)
            processes.append(start(command, ros_domain, robot.outside))
            back = robot.events.wait(lambda e: e.event == "rolled back", timeout_s=60)
            assert "valid: no view for " in back.reason
            assert one_set_serves(robot, maker) != NEW
    finally:
        for process in processes:
            end(process)


def one_set_serves(robot, maker):
    """All nodes serve what the store says, a whole set, and no view ever joined two."""
    store = ReleaseStore(maker.root)
    wait_until(lambda: store.journal.open_change() is None, "the change is over", 60.0)
    current = store.slots.get("current")
    found = {name: store.release(sha).manifest.version for name, sha in current.items()}
    new = NEW in found.values()  # empty: nothing was decided yet
    expected = dict.fromkeys(ROLES, NEW) if new else before()
    assert sorted(found.values()) in ([], sorted(expected.values()))
    robot.serves(expected, timeout_s=60.0)
    assert robot.mixed() == []
    return NEW if new else ""


@pytest.mark.parametrize(
    "step",
    [pytest.param("prepared", marks=MATRIX), pytest.param("shadow", marks=MATRIX), "commit"],
)
def test_kill_of_the_manager_while_a_set_changes(harness, maker, ros_domain, step):
    maker.install_set(NEW, newer())
    with SetRobot(harness, maker, manager=False) as robot:
        command = [sys.executable, str(HERE / "killed_manager.py"), step]
        process = start(command, ros_domain, robot.parameters)
        try:
            client = harness.driver.create_client(srv.SwapModel, "/model_manager/swap_model")
            wait_until(client.service_is_ready, "the manager", 60.0)
            client.call_async(srv.SwapModel.Request(name="bev_lite_lidar"))
            process.wait(300)
        finally:
            end(process)
        robot.start_manager()
        expected = one_set_serves(robot, maker)
    assert (expected == NEW) == (step == "commit")


NODES = {
    "fusion": "edge_perception.nodes.fusion.node:main",
    "lidar": "edge_perception.nodes.encoder.node:lidar",
}


@pytest.mark.parametrize(
    ("step", "victim"),
    [
        pytest.param("shadow 100%", "fusion", marks=MATRIX),
        pytest.param("shadow 100%", "lidar", marks=MATRIX),
        pytest.param("commit", "fusion", marks=MATRIX),
        pytest.param("commit", "lidar", marks=MATRIX),
    ],
)
def test_kill_of_a_node_while_a_set_changes(harness, maker, ros_domain, victim, step):
    maker.install_set(NEW, newer())
    module, function = NODES[victim].split(":")
    command = [sys.executable, "-c", f"from {module} import {function}; {function}()"]
    robot = SetRobot(harness, maker, outside=victim, answer_timeout_s=5.0, prepare_timeout_s=20.0)
    process = start(command, ros_domain, robot.outside)

    def kill(event):
        if event.event == step and process.poll() is None:
            process.kill()

    harness.driver.create_subscription(msg.ModelEvent, "model_events", kill, qos.EVENTS)
    again = None
    try:
        with robot:
            wait_until(lambda: len(robot.manager.parts.client.nodes()) == len(ROLES), "nodes", 30.0)
            answers = []
            thread = threading.Thread(target=lambda: answers.append(robot.swap()))
            thread.start()
            wait_until(lambda: process.poll() is not None, "the end of the node", 90.0)
            again = start(command, ros_domain, robot.outside)
            thread.join(120)
            expected = one_set_serves(robot, maker)
        assert (expected == NEW) == (step == "commit"), answers
    finally:
        end(process)
        if again is not None:
            end(again)
