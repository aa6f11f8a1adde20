"""Replays as tasks, and what became of them.

A task is a segment of a recording. A worker takes one after the other and keeps the models it has
loaded; what it gives back is plain data, its outputs lie in a folder. Which segments there are does
not depend on how many jobs run them.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.core.plugins import add_plugin_folders, plugin_folders
from edge_perception.replay.vehicle import SharedModels
from edge_perception.validation.one_core import keep_memory, use_one_core
from edge_perception.validation.replaying import Progress, replay_segment
from edge_perception.validation.segments import Segment
from edge_perception.validation.settings import ReplaySettings

ATTEMPTS = 2


@dataclass(frozen=True, kw_only=True)
class Task:
    """One segment to replay, and where its outputs go."""

    name: str
    settings: ReplaySettings
    segment: Segment
    folder: Path
    scratch: Path | None = None  # for what must be unpacked, shared by all tasks
    # Of plug-ins, as this process has them: a worker begins with none.
    plugin_folders: tuple[Path, ...] = field(default_factory=plugin_folders)


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What became of a task."""

    task: Task
    account: dict[str, Any] | None
    failure: str = ""
    usage: bool = False  # the failure is one of the input
    final: bool = True  # it would fail again
    attempts: int = 1


def work(task: Task, progress: Progress | None = None) -> TaskResult:
    """Run a task in this process; a failure is a result too."""
    use_one_core()
    keep_memory()
    try:
        add_plugin_folders(task.plugin_folders)
        _models().make_room()
        account = replay_segment(
            task.settings,
            task.segment,
            task.folder,
            models=_models(),
            scratch=task.scratch,
            progress=progress,
        )
    except EdgePerceptionError as error:
        usage = isinstance(error, ConfigurationError)
        return TaskResult(task=task, account=None, failure=str(error), usage=usage)
    except OSError as error:  # of the folder: full, read-only, gone
        failure = f"cannot be read or written: {error}"
        return TaskResult(task=task, account=None, failure=failure, usage=True)
    except Exception as error:
        return TaskResult(task=task, account=None, failure=_defect(error), final=False)
    return TaskResult(task=task, account=account)


@cache
def _models() -> SharedModels:
    """Return the models of this process: recordings after the first find them loaded."""
    return SharedModels()


def _defect(error: Exception) -> str:
    """Say in one line where an error of ours comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"
    return f"a defect at {where}: {' '.join(repr(error).split())}"


def died(task: Task, exit_code: int | None, attempts: int) -> TaskResult:
    """Return what became of a task whose worker ended."""
    failure = f"its process ended with exit code {exit_code} and no result"
    return TaskResult(task=task, account=None, failure=failure, final=False, attempts=attempts)
