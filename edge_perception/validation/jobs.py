"""Runs the tasks of a validation: in this process, in processes of their own, or on Ray."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from typing import Any

from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.replay.virtual import NS
from edge_perception.validation.one_core import keep_memory, use_one_core
from edge_perception.validation.replaying import replay_segment
from edge_perception.validation.tasks import ATTEMPTS, Task, TaskResult, clear, outcome, work

Say = Callable[[str], None]


def run_tasks(tasks: Sequence[Task], *, jobs: int, say: Say, ray: str = "") -> list[TaskResult]:
    """Run tasks and return their results in the order of the tasks.

    Args:
        tasks: what to do.
        jobs: processes at a time, one core each; a single task runs in this process.
        say: takes progress lines.
        ray: address of a Ray cluster, `local` for one on this machine; empty: no Ray.
    """
    if ray:
        from edge_perception.validation.ray_jobs import run_on_ray

        return run_on_ray(tasks, address=ray, jobs=jobs, say=say)
    if len(tasks) == 1:
        return [_here(tasks[0], say)]
    return _in_processes(tasks, jobs, say)


def usable_cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _here(task: Task, say: Say) -> TaskResult:
    use_one_core()
    keep_memory()
    started = time.monotonic()
    start_ns = task.segment.start_ns
    last = [started]

    def progress(messages: int, node_ns: int) -> None:
        if time.monotonic() - last[0] < 2.0:
            return
        last[0] = time.monotonic()
        elapsed_s, done_s = last[0] - started, (node_ns - start_ns) / NS
        left = _left(task, node_ns, elapsed_s)
        say(
            f"{task.name}: {done_s:.0f} s of the recording, {messages / elapsed_s:.0f} messages/s, "
            f"{done_s / elapsed_s:.1f} x real time{left}"
        )

    try:
        account = replay_segment(task.settings, task.segment, task.folder, progress=progress)
    except EdgePerceptionError as error:
        return TaskResult(
            task=task,
            account=None,
            failure=str(error),
            usage=isinstance(error, ConfigurationError),
        )
    return TaskResult(task=task, account=account)


def _left(task: Task, node_ns: int, elapsed_s: float) -> str:
    end_ns = task.segment.end_ns
    done_ns = node_ns - task.segment.start_ns
    if end_ns is None or done_ns <= 0:
        return ""
    return f", {elapsed_s * (end_ns - node_ns) / done_ns:.0f} s left"


def _in_processes(tasks: Sequence[Task], jobs: int, say: Say) -> list[TaskResult]:
    use_one_core()
    context = multiprocessing.get_context("spawn")
    waiting = [(task, 1) for task in tasks]
    running: dict[Any, tuple[Any, Task, int]] = {}
    done: dict[str, TaskResult] = {}
    started = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task, attempt = waiting.pop(0)
                clear(task)
                process = context.Process(target=work, args=(task,), name=task.name)
                process.start()
                running[process.sentinel] = (process, task, attempt)
            for sentinel in wait(list(running)):
                process, task, attempt = running.pop(sentinel)
                process.join()
                result = outcome(task, process.exitcode, attempt)
                if result.failure and result.attempts < ATTEMPTS:
                    say(f"{task.name}: {result.failure.splitlines()[0]}; tried again")
                    waiting.append((task, attempt + 1))
                    continue
                done[task.name] = result
                _tell(result, len(done), len(tasks), time.monotonic() - started, say)
    finally:
        for process, _, _ in running.values():
            process.kill()
            process.join()
    return [done[task.name] for task in tasks]


def _tell(result: TaskResult, done: int, count: int, elapsed_s: float, say: Say) -> None:
    state = f"failed: {result.failure.splitlines()[0]}" if result.failure else "done"
    left_s = elapsed_s / done * (count - done)
    say(f"{result.task.name}: {state} ({done} of {count}, {left_s:.0f} s left)")
