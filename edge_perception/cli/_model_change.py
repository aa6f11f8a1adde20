"""`edge-perception models` against a running manager: swap, rollback, history, events."""

from __future__ import annotations

import argparse
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edge_perception.cli._manager_watch import ManagerWatch
from edge_perception.cli._model_release import add_store
from edge_perception.cli._numbers import whole
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.ros_names import namespace_prefix
from edge_perception.releases.journal import FINAL_STEPS

_ANSWER_S = 10.0
_WAITING = "waiting"
_DECIDED = ("commit", "committed", "done")
_LATE = "late"
_QUIET_S = 1.0  # no event for so long: there is none on its way


class NoManagerError(EdgePerceptionError):
    """No model manager answers."""


def add_change_actions(actions: Any) -> None:
    """Declare the actions."""
    swap = actions.add_parser("swap", help="change to a release of the store")
    swap.add_argument("name", help="of a release; the models that belong to it change with it")
    swap.add_argument("--version", default="", help="default: the newest")
    swap.add_argument("--role", default="", help="source or fusion; default: as the release says")
    swap.add_argument("--skip-trial", action="store_true", help="no shadow and no canary")
    rollback = actions.add_parser("rollback", help="go back to models that served before")
    rollback.add_argument("--slot", choices=("previous", "factory"), default="previous")
    rollback.add_argument("--reason", default="", help="given: what is left is quarantined with it")
    reset = actions.add_parser("reset-breaker", help="let models change again after rollbacks")
    reset.add_argument("--reason", required=True, help="who says so, and what was found")
    history = actions.add_parser("history", help="what happened to the models of a store")
    history.add_argument(
        "--limit", type=whole(1, 1_000_000), default=50, help="newest events (%(default)s)"
    )
    add_store(history)
    events = actions.add_parser("events", help="steps of changes as the manager tells them")
    events.add_argument("--follow", action="store_true", help="until interrupted")
    for action in (swap, rollback, reset, events):
        action.add_argument("--manager", default="/model_manager", help="its node (%(default)s)")
    for action in (swap, rollback, reset, history, events):
        action.add_argument("--json", action="store_true", help="print JSON, one object a line")


def swap(args: argparse.Namespace) -> int:
    """Run a change as an action and show its steps; SIGINT cancels it until it is decided."""
    from rclpy.action import ActionClient

    from edge_perception import action, msg
    from edge_perception.nodes.topics import qos

    with _Caller(args.manager) as caller:
        client = ActionClient(caller.node, action.SwapModel, f"{args.manager}/swap")
        if not client.wait_for_server(timeout_sec=_ANSWER_S):
            raise NoManagerError(f"{args.manager}: no model manager within {_ANSWER_S:g} s")
        alive = ManagerWatch(caller.node, args.manager)
        steps = _Steps(args.json)
        topic = _events_topic(args.manager)
        caller.node.create_subscription(msg.ModelEvent, topic, steps.on_event, qos.EVENTS)
        goal = action.SwapModel.Goal(
            name=args.name, version=args.version, role=args.role, skip_trial=args.skip_trial
        )
        with _interrupt_noted() as interrupted:
            sent = client.send_goal_async(goal, feedback_callback=steps.on_feedback)
            handle = caller.wait(sent, "the manager's consent")
            future = handle.get_result_async()
            problem = caller.wait_while(future, alive, unless=interrupted)
            if interrupted() and not problem:
                handle.cancel_goal_async()
                problem = caller.wait_while(future, alive)
        if problem:
            reason = steps.aborted or _ended(problem, steps.names)
            return _answer(action.SwapModel.Result(reason=reason), args.json)
        result = future.result().result
        steps.follow(result.transaction_id)
        end_s = time.monotonic() + _ANSWER_S
        while steps.more_to_come and time.monotonic() < end_s:
            caller.spin_once()
    return _answer(result, args.json)


@contextmanager
def _interrupt_noted() -> Iterator[Callable[[], bool]]:
    """Note the first SIGINT; a second one ends the command at once.

    A KeyboardInterrupt comes out of whatever line is running. Out of one of rclpy's executor it
    leaves a callback group taken, and the node hears nothing any more, not the result either.
    """
    noted: list[int] = []

    def note(number: int, _frame: Any) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    before = signal.getsignal(signal.SIGINT)
    # Ignored, as of what a shell script starts in the background, it stays so.
    ours = before is signal.default_int_handler
    ours = ours and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(noted)
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


class _Steps:
    """The steps of one change, each shown once: from the action's feedback and `model_events`.

    Feedback alone may miss some: rclpy's client drops what it takes after the result, and the
    manager sends none to a reader that it has not found yet. Only feedback has the hints.
    """

    def __init__(self, as_json: bool) -> None:
        self.names: list[str] = []
        self.aborted = ""  # why, as the manager said
        self._as_json = as_json
        self._transaction_id = ""  # empty: nothing has told of it yet
        self._told: list[Any] = []  # of any change, not shown yet
        self._shown: list[Any] = []

    def on_feedback(self, update: Any) -> None:
        """Take feedback of the action."""
        self._told.append(update.feedback.event)
        self.follow(update.feedback.event.transaction_id)

    def on_event(self, event: Any) -> None:
        """Take a message of `model_events`."""
        self._told.append(event)
        self.follow(self._transaction_id)

    def follow(self, transaction_id: str) -> None:
        """Show what is known of the change; an empty name says nothing new."""
        self._transaction_id = transaction_id or self._transaction_id
        if not self._transaction_id:
            return
        for event in self._told:
            if event.transaction_id == self._transaction_id and event not in self._shown:
                self._show(event)
        self._told.clear()

    @property
    def more_to_come(self) -> bool:
        """Whether the change has begun and its last step is not here."""
        ended = self.names and self.names[-1] in (*FINAL_STEPS, _LATE)
        return bool(self._transaction_id) and not ended

    def _show(self, event: Any) -> None:
        self._shown.append(event)
        self.names.append(event.event)
        if event.event == "aborted":
            self.aborted = event.reason
        _print_event(event, self._as_json)


def _ended(problem: str, steps: list[str]) -> str:
    """Return the reason that a manager can give no more."""
    last = next((step for step in reversed(steps) if step != _WAITING), "none")
    decided = any(step in _DECIDED for step in steps)
    what = (
        "the change is decided: what it did not reach follows when a manager starts"
        if decided
        else "nothing was decided: what served serves on, and the next manager notes the end"
    )
    return f"{problem}; last step: {last}; {what}"


def rollback(args: argparse.Namespace) -> int:
    """Ask for a rollback."""
    from edge_perception import srv

    with _Caller(args.manager) as caller:
        client = caller.node.create_client(srv.RollbackModel, f"{args.manager}/rollback_model")
        if not client.wait_for_service(timeout_sec=_ANSWER_S):
            raise NoManagerError(f"{args.manager}: no model manager within {_ANSWER_S:g} s")
        alive = ManagerWatch(caller.node, args.manager)
        request = srv.RollbackModel.Request(slot=args.slot, reason=args.reason)
        future = client.call_async(request)
        if problem := caller.wait_while(future, alive):
            reason = f"{problem}; `models history` says whether it was decided"
            return _answer(srv.RollbackModel.Response(reason=reason), args.json)
        result = future.result()
    return _answer(result, args.json)


def reset_breaker(args: argparse.Namespace) -> int:
    """Close the breaker that repeated rollbacks opened."""
    from edge_perception import srv

    with _Caller(args.manager) as caller:
        name = f"{args.manager}/reset_breaker"
        client = caller.node.create_client(srv.ResetBreaker, name)
        if not client.wait_for_service(timeout_sec=_ANSWER_S):
            raise NoManagerError(f"{args.manager}: no model manager within {_ANSWER_S:g} s")
        future = client.call_async(srv.ResetBreaker.Request(reason=args.reason))
        answer = caller.wait(future, name)
    if args.json:
        print(json.dumps({"success": answer.success, "reason": answer.reason}))
    elif answer.success:
        print(f"closed; it was open: {answer.reason}" if answer.reason else "it was closed")
    else:
        print(f"refused: {answer.reason}")
    return 0 if answer.success else 1


def history(args: argparse.Namespace) -> int:
    """Print the durable log of a store."""
    from dataclasses import asdict

    from edge_perception.releases.event_log import EventLog
    from edge_perception.releases.filesystem import FileSystem

    log = EventLog(args.store.expanduser() / "events.jsonl", FileSystem())
    for event in log.history(limit=args.limit):
        if args.json:
            print(json.dumps(asdict(event)))
        else:
            _print_line(event.stamp_ns, event.event, event.error, event.reason, event.models)
    return 0


def events(args: argparse.Namespace) -> int:
    """Print the latched events, and with --follow those that come."""
    from edge_perception import msg
    from edge_perception.nodes.topics import qos

    with _Caller(args.manager) as caller:
        topic = _events_topic(args.manager)
        last_s = [0.0]

        def on_event(event: Any) -> None:
            last_s[0] = time.monotonic()
            _print_event(event, args.json)

        caller.node.create_subscription(msg.ModelEvent, topic, on_event, qos.EVENTS)
        began_s = time.monotonic()
        while args.follow or not _told(caller.node, topic, began_s, last_s[0]):
            caller.spin_once()
    return 0


def _events_topic(manager: str) -> str:
    return manager.rsplit("/", 1)[0] + "/model_events"


def _told(node: Any, topic: str, began_s: float, last_s: float) -> bool:
    """Whether the latched events have come: none for a second, or none at all.

    Raises:
        NoManagerError: nobody publishes them.
    """
    now_s = time.monotonic()
    if last_s:
        return now_s > last_s + _QUIET_S
    if now_s < began_s + _ANSWER_S:
        return False
    if not node.count_publishers(topic):
        raise NoManagerError(f"{topic}: no model manager within {_ANSWER_S:g} s")
    return True  # it has done nothing yet


class _Caller:
    """A ROS node for one command; a context manager."""

    def __init__(self, manager: str) -> None:
        namespace_prefix(manager, "--manager")  # a node's full name is made as a namespace is
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("edge_perception_models", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def spin_once(self) -> None:
        """Run what is ready, for a tenth of a second at most."""
        self._executor.spin_once(timeout_sec=0.1)

    def wait(self, future: Any, what: str, timeout_s: float = _ANSWER_S) -> Any:
        """Return the result of a future."""
        end_s = time.monotonic() + timeout_s
        while not future.done():
            if time.monotonic() > end_s:
                raise NoManagerError(f"expected {what} within {timeout_s:g} s")
            self.spin_once()
        return future.result()

    def wait_while(
        self, future: Any, manager: ManagerWatch, *, unless: Callable[[], bool] = lambda: False
    ) -> str:
        """Wait for the manager's answer; return why none can come any more, else nothing."""
        while not future.done() and not unless():
            self.spin_once()
            if problem := manager.problem():
                return problem
        return ""

    def __enter__(self) -> _Caller:
        return self

    def __exit__(self, *_: object) -> None:
        import rclpy

        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)


def _answer(result: Any, as_json: bool) -> int:
    models = [_plain(model) for model in result.models]
    if as_json:
        print(json.dumps({"success": result.success, "reason": result.reason, "models": models}))
    elif result.success:
        for model in models:
            print(f"{model['role']:12} {model['name']} {model['version']} {model['sha256'][:12]}")
    else:
        print(f"refused: {result.reason}")
    return 0 if result.success else 1


def _print_event(event: Any, as_json: bool) -> None:
    from edge_perception.nodes.conversion import stamp_ns

    models = [_plain(model) for model in event.models]
    if as_json:
        text = {"event": event.event, "error": event.error, "reason": event.reason}
        print(json.dumps({"stamp_ns": stamp_ns(event.stamp), **text, "models": models}), flush=True)
    else:
        _print_line(stamp_ns(event.stamp), event.event, event.error, event.reason, models)


def _print_line(stamp: int, name: str, error: bool, reason: str, models: Any) -> None:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stamp / 1e9))
    changed = " ".join(f"{m['role']}={m['name']}:{m['version']}" for m in models)
    print(f"{moment} {'!' if error else ' '} {name:14} {changed} {reason}".rstrip(), flush=True)


def _plain(model: Any) -> dict[str, str]:
    return {name: getattr(model, name) for name in type(model).get_fields_and_field_types()}
