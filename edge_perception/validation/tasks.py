"""Replays as tasks, and what became of them.

A task is a segment of a recording. Its result is a folder, so that a worker that dies takes
nothing else with it. Which segments there are does not depend on how many jobs run them.
"""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.core.plugins import add_plugin_folders, plugin_folders
from edge_perception.validation.one_core import keep_memory, use_one_core
from edge_perception.validation.replaying import ACCOUNT, Segment, replay_segment
from edge_perception.validation.settings import ReplaySettings

ATTEMPTS = 2
_FAILURE = "failure.json"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One segment to replay, and where its result goes."""

    name: str
    settings: ReplaySettings
    segment: Segment
    folder: Path
    # Of plug-ins, as this process has them: a worker begins with none.
    plugin_folders: tuple[Path, ...] = field(default_factory=plugin_folders)


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What became of a task."""

    task: Task
    account: dict[str, Any] | None
    failure: str = ""
    usage: bool = False  # the failure is one of the input
    attempts: int = 1


def work(task: Task) -> None:
    """Run a task in a process of its own; a failure is written down."""
    use_one_core()
    keep_memory()
    task.folder.mkdir(parents=True, exist_ok=True)
    try:
        add_plugin_folders(task.plugin_folders)
        replay_segment(task.settings, task.segment, task.folder)
    except Exception as error:
        known = isinstance(error, EdgePerceptionError)
        document = {
            "text": str(error) if known else f"{error!r}\n{traceback.format_exc()}",
            "final": known,  # it would fail again
            "usage": isinstance(error, ConfigurationError),
        }
        (task.folder / _FAILURE).write_text(json.dumps(document), encoding="utf-8")


def outcome(task: Task, exit_code: int | None, attempts: int) -> TaskResult:
    """Read what a worker left in its folder."""
    failure, account = task.folder / _FAILURE, task.folder / ACCOUNT
    if failure.is_file():
        told = json.loads(failure.read_text(encoding="utf-8"))
        return TaskResult(
            task=task,
            account=None,
            failure=told["text"],
            usage=told["usage"],
            attempts=ATTEMPTS if told["final"] else attempts,
        )
    if account.is_file():
        found = json.loads(account.read_text(encoding="utf-8"))
        return TaskResult(task=task, account=found, attempts=attempts)
    return TaskResult(
        task=task,
        account=None,
        failure=f"its process ended with exit code {exit_code} and no result",
        attempts=attempts,
    )


def clear(task: Task) -> None:
    """Remove what an earlier attempt left."""
    for name in (_FAILURE, ACCOUNT):
        (task.folder / name).unlink(missing_ok=True)
