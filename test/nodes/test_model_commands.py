"""`edge-perception models swap | rollback | history | events` and the action, with real nodes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import pytest
from action_msgs.msg import GoalStatus
from fault_robot import FaultRobot
from harness import wait_until
from rclpy.action import ActionClient
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from releases import Maker

from edge_perception import action, srv
from edge_perception.cli import _model_change
from edge_perception.cli.main import main
from edge_perception.nodes.changes import coordinator as swap_coordinator

OLD, NEW = "1.0.0", "2.0.0"
STEPS = ["begin", "admitted", "prepared", "commit", "committed", "done"]


@pytest.fixture(scope="module")
def robot(shared_harness, tmp_path_factory):
    """An encoder and a manager whose factory model has the next release beside it."""
    pytest.importorskip("onnx")
    maker = Maker(tmp_path_factory.mktemp("commands"))
    old = maker.install(name="old", version=OLD)
    maker.install(name="new", version=NEW, release=3)
    models = {"lidar": old.sha256}
    maker.store.slots.point(factory=models, current=models)
    robot = FaultRobot(shared_harness, maker)
    assert robot.version() == OLD
    return robot


@pytest.fixture(autouse=True)
def old_model_serves(robot):
    """Every test finds the old model, and none leaves another to the next."""
    yield
    request = srv.RollbackModel.Request(slot="factory")
    answer = robot.harness.call(srv.RollbackModel, "/model_manager/rollback_model", request)
    assert answer.success or "serve already" in answer.reason, answer.reason
    robot.serves(OLD)


def models(*arguments):
    return main(["models", *arguments])


def rows(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_swap_shows_every_step_and_rollback_goes_back(robot, capsys):
    assert models("swap", "new", "--skip-trial") == 0
    text = capsys.readouterr().out
    assert [word for word in text.split() if word in STEPS] == STEPS
    assert f"new {NEW}" in text.splitlines()[-1]
    robot.serves(NEW)
    assert models("rollback", "--json") == 0
    (answer,) = rows(capsys)
    assert answer["success"]
    assert [(m["role"], m["version"]) for m in answer["models"]] == [("lidar", OLD)]
    robot.serves(OLD)


def test_swap_as_json_is_one_object_a_line(robot, capsys):
    assert models("swap", "new", "--skip-trial", "--json") == 0
    *events, answer = rows(capsys)
    assert [event["event"] for event in events] == STEPS
    assert all(not event["error"] for event in events)
    assert answer["success"]
    assert answer["models"][0]["version"] == NEW


@pytest.mark.parametrize("lost", [{"done"}, {"begin"}, {"committed", "done"}, set(STEPS)])
def test_steps_that_the_feedback_lost_are_shown(robot, lost, capsys, monkeypatch):
    """As rclpy's client does with what comes after the result or before the readers are matched."""
    send = ActionClient.send_goal_async

    def losing(self, goal, feedback_callback=None, goal_uuid=None):
        def on_feedback(update):
            if update.feedback.event.event not in lost:
                feedback_callback(update)

        return send(self, goal, on_feedback, goal_uuid)

    monkeypatch.setattr(ActionClient, "send_goal_async", losing)
    assert models("swap", "new", "--skip-trial", "--json") == 0
    *events, answer = rows(capsys)
    assert [event["event"] for event in events] == STEPS
    assert answer["success"]


def test_a_refusal_is_1_and_says_why(robot, capsys):
    assert models("swap", "stranger") == 1
    assert "refused: unknown model 'stranger'" in capsys.readouterr().out
    assert models("swap", "new", "--version", "7.0.0", "--json") == 1
    (answer,) = rows(capsys)
    assert not answer["success"]
    assert "expected version 7.0.0, got 2.0.0" in answer["reason"]
    assert models("swap", "new", "--role", "camera") == 1
    assert "no node serves role 'camera'" in capsys.readouterr().out
    assert models("rollback", "--slot", "factory") == 1
    assert "serve already" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["swap"], ["rollback", "--slot", "nowhere"], ["history", "--limit", "many"]]
)
def test_wrong_usage_is_2(robot, arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        models(*arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["swap", "new"], ["rollback"]])
def test_no_manager_is_said(robot, command, capsys, monkeypatch):
    monkeypatch.setattr(_model_change, "_ANSWER_S", 0.3)
    assert models(*command, "--manager", "/nobody") == 1
    assert "/nobody: no model manager within 0.3 s" in capsys.readouterr().err


def test_history_and_events_tell_what_happened(robot, capsys):
    assert models("swap", "new", "--skip-trial", "--json") == 0
    told = [event["event"] for event in rows(capsys)[:-1]]
    assert models("history", "--store", str(robot.maker.root), "--limit", "6", "--json") == 0
    logged = rows(capsys)
    assert [event["event"] for event in logged] == told
    assert logged[0]["models"][0]["name"] == "new"
    assert models("events", "--json") == 0
    assert [event["event"] for event in rows(capsys)][-6:] == told
    assert models("list", "--store", str(robot.maker.root), "--json") == 0
    slots = {row["version"]: row["slots"] for row in json.loads(capsys.readouterr().out)}
    assert slots == {OLD: ["previous", "factory"], NEW: ["current"]}


def test_events_follow_until_interrupted(robot):
    command = [sys.executable, "-m", "edge_perception.cli.main", "models", "events"]
    process = subprocess.Popen(
        [*command, "--follow", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    seen = []

    def read():
        seen.extend(json.loads(line) for line in process.stdout)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        driver = robot.harness.driver
        wait_until(
            lambda: any(
                info.node_name == "edge_perception_models"
                for info in driver.get_subscriptions_info_by_topic("/model_events")
            ),
            "the follower",
        )
        before = len(seen)
        assert robot.swap("new").success
        wait_until(
            lambda: [event["event"] for event in seen[before:]][-6:] == STEPS, "all steps followed"
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130)
    finally:
        process.kill()
        process.wait(60)
        reader.join(60)
    assert "Traceback" not in process.stderr.read()


def test_an_interrupted_swap_is_cancelled(robot):
    command = [sys.executable, "-m", "edge_perception.cli.main", "models", "swap", "new"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        said = []
        for line in process.stdout:  # a trial, for which no frames come
            if " waiting " in line and not any(" waiting " in before for before in said):
                process.send_signal(signal.SIGINT)
            said.append(line)
        assert process.wait(60) == 1
        assert "Traceback" not in process.stderr.read()
    assert said[-1] == "refused: cancelled by the caller\n", said
    assert robot.version() == OLD
    assert not robot.manager.coordinator.busy


def test_an_interrupt_within_the_executor_leaves_it_listening(robot, capsys, monkeypatch):
    """SIGINT comes between any two lines: here, before a callback group is given back."""
    give_back = MutuallyExclusiveCallbackGroup.ending_execution
    waits = threading.Event()

    def told(*arguments, **more):
        waits.set()
        return hint(*arguments, **more)

    def interrupted(self, entity):
        if waits.is_set() and threading.current_thread() is threading.main_thread():
            waits.clear()
            signal.raise_signal(signal.SIGINT)
        return give_back(self, entity)

    hint = robot.manager.parts.events.hint
    monkeypatch.setattr(robot.manager.parts.events, "hint", told)
    monkeypatch.setattr(MutuallyExclusiveCallbackGroup, "ending_execution", interrupted)
    assert models("swap", "new") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "refused: cancelled by the caller"
    assert not robot.manager.coordinator.busy


def test_an_interrupt_before_the_consent_cancels_too(robot, capsys, monkeypatch):
    send = ActionClient.send_goal_async

    def interrupted(self, *arguments, **more):
        sent = send(self, *arguments, **more)
        signal.raise_signal(signal.SIGINT)
        return sent

    monkeypatch.setattr(ActionClient, "send_goal_async", interrupted)
    assert models("swap", "new") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "refused: cancelled by the caller"


def test_a_second_goal_that_is_refused_does_not_end_the_wait_for_the_first(robot):
    """Where the manager ends, who waits for the first hears of it."""
    client = ActionClient(robot.harness.driver, action.SwapModel, "/model_manager/swap")
    assert client.wait_for_server(60.0)
    handles = []
    goal = action.SwapModel.Goal(name="new")  # a trial, for which no frames come
    client.send_goal_async(goal).add_done_callback(lambda sent: handles.append(sent.result()))
    wait_until(lambda: handles and robot.manager.coordinator.busy, "the first is under way")
    assert models("swap", "new") == 1
    assert robot.manager._action.busy
    results = []
    handles[0].get_result_async().add_done_callback(lambda done: results.append(done.result()))
    handles[0].cancel_goal_async()
    wait_until(lambda: results, "the result of the first")
    assert results[0].result.reason == "cancelled by the caller"
    wait_until(lambda: not robot.manager._action.busy, "nobody waits")
    client.destroy()


# -- a rollback to what is still loaded --


def swapped_and_known(robot):
    """Swap, and wait until the manager knows that the node keeps the model before."""
    old = robot.maker.store.find("old").sha256
    assert robot.swap("new").success
    robot.serves(NEW)

    def known():
        serving = robot.manager.coordinator.serving.latest
        return serving is not None and serving.kept.get("lidar") == old

    wait_until(known, "the kept model is known")
    return len(robot.events.messages)


def test_a_rollback_is_one_message_to_each_node(robot):
    since = swapped_and_known(robot)
    assert robot.roll_back().success
    robot.serves(OLD)
    robot.events.wait(lambda event: event.event == "done", since=since)
    assert [event.event for event in robot.events.messages[since:]] == ["committed", "done"]


def test_a_node_that_lost_the_model_loads_it(robot):
    since = swapped_and_known(robot)
    robot.encoder._models._kept.drop()
    assert robot.roll_back().success
    robot.serves(OLD)
    late = robot.events.wait(lambda event: event.event == "late", since=since)
    assert "is not loaded any more" in late.reason


def test_a_swap_to_what_serves_changes_nothing(robot, capsys):
    assert models("swap", "new", "--skip-trial") == 0
    robot.serves(NEW)
    capsys.readouterr()
    slots = robot.maker.store.slots
    before = [dict(slots.get(slot)) for slot in ("current", "previous")]
    assert before[0] != before[1]
    for arguments in (["new"], ["new", "--skip-trial"], ["new", "--role", "lidar"]):
        assert models("swap", *arguments) == 1
        assert f"refused: new {NEW} serves already as lidar" in capsys.readouterr().out
    assert [dict(slots.get(slot)) for slot in ("current", "previous")] == before
    assert models("rollback") == 0  # there is still something to go back to
    robot.serves(OLD)


def test_an_error_that_nobody_thought_of_is_the_answer_and_not_the_end(robot, capsys, monkeypatch):
    def broken(**_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(swap_coordinator, "plan_change", broken)
    assert models("swap", "new", "--skip-trial") == 1
    assert "refused: RuntimeError: a bug" in capsys.readouterr().out
    monkeypatch.undo()
    assert models("swap", "new", "--skip-trial") == 0


def test_a_node_that_is_not_here_keeps_its_place_in_the_set(robot):
    slots = robot.maker.store.slots
    old = slots.get("current")["lidar"]
    away = {"camera_rear": "c" * 64}
    slots.point(current={"lidar": old, **away})
    assert robot.swap("new").success
    robot.serves(NEW)
    new = robot.maker.store.find("new").sha256
    assert slots.get("current") == {"lidar": new, **away}
    assert slots.get("previous") == {"lidar": old, **away}
    slots.point(previous={"lidar": old, "camera_rear": "d" * 64})
    assert robot.roll_back().success
    robot.serves(OLD)
    assert slots.get("current") == {"lidar": old, "camera_rear": "d" * 64}  # its part of that set
    slots.point(current={"lidar": old}, previous={"lidar": new})


# -- the action --


class Caller:
    def __init__(self, robot):
        self.client = ActionClient(robot.harness.driver, action.SwapModel, "/model_manager/swap")
        assert self.client.wait_for_server(60)
        self.steps = []
        self.stepped = threading.Condition()

    def send(self, **goal):
        def on_feedback(update):
            with self.stepped:
                self.steps.append(update.feedback.event)
                self.stepped.notify_all()

        sent = self.client.send_goal_async(
            action.SwapModel.Goal(**goal), feedback_callback=on_feedback
        )
        return done(sent)

    def wait_for(self, step):
        with self.stepped:
            assert self.stepped.wait_for(lambda: any(e.event == step for e in self.steps), 120)


def done(future):
    event = threading.Event()
    future.add_done_callback(lambda _: event.set())
    assert event.wait(120)
    return future.result()


@pytest.fixture
def caller(robot):
    caller = Caller(robot)
    yield caller
    caller.client.destroy()


def test_the_action_feeds_back_every_step(robot, caller):
    handle = caller.send(name="new", skip_trial=True)
    assert handle.accepted
    caller.wait_for("done")  # first: feedback that comes after the result is dropped by the client
    answer = done(handle.get_result_async())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert answer.result.success
    assert answer.result.models[0].version == NEW
    assert [event.event for event in caller.steps] == STEPS
    assert len({event.transaction_id for event in caller.steps}) == 1
    robot.serves(NEW)


def test_a_goal_is_cancelled_before_its_commit_and_another_refused_meanwhile(robot, caller):
    handle = caller.send(name="new")  # with a trial, for which no frames come
    caller.wait_for("shadow 100%")
    caller.wait_for("waiting")
    text = next(event.reason for event in caller.steps if event.event == "waiting")
    assert text.startswith("shadow 100%: lidar: 0 of 30 frames, latency undecided")
    assert "no frame for" in text
    second = done(caller.send(name="new").get_result_async())
    assert second.status == GoalStatus.STATUS_ABORTED
    assert "a change is under way" in second.result.reason
    assert done(handle.cancel_goal_async()).goals_canceling
    caller.wait_for("aborted")
    answer = done(handle.get_result_async())
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert "cancelled by the caller" in answer.result.reason
    assert robot.version() == OLD


def test_a_refused_goal_is_aborted_with_the_reason(robot, caller):
    answer = done(caller.send(name="stranger").get_result_async())
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert "unknown model 'stranger'" in answer.result.reason
