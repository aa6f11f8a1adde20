"""Runs the tasks of a validation: in this process, in processes of their own, or on Ray."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from edge_perception.replay.virtual import NS
from edge_perception.validation.one_core import use_one_core
from edge_perception.validation.tasks import ATTEMPTS, Task, TaskResult, died, work

Say = Callable[[str], None]
Work = Callable[[Task], TaskResult]


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
    return _Pool(tasks, min(jobs, len(tasks)), say).run()


def usable_cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _here(task: Task, say: Say) -> TaskResult:
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

    return work(task, progress)


def _left(task: Task, node_ns: int, elapsed_s: float) -> str:
    end_ns = task.segment.end_ns
    done_ns = node_ns - task.segment.start_ns
    if end_ns is None or done_ns <= 0:
        return ""
    return f", {elapsed_s * (end_ns - node_ns) / done_ns:.0f} s left"


@dataclass(kw_only=True)
class _Worker:
    process: Any
    pipe: Connection
    task: Task | None = None
    attempt: int = 1


class _Pool:
    """Processes that take one task after the other; one that dies costs its present task."""

    def __init__(self, tasks: Sequence[Task], jobs: int, say: Say) -> None:
        self._tasks, self._jobs, self._say = tasks, jobs, say
        self._waiting = deque((task, 1) for task in tasks)
        self._workers: list[_Worker] = []
        self._done: dict[str, TaskResult] = {}
        self._started = time.monotonic()

    def run(self) -> list[TaskResult]:
        use_one_core()
        try:
            while len(self._done) < len(self._tasks):
                self._give()
                busy = {worker.pipe: worker for worker in self._workers if worker.task is not None}
                for pipe in wait(list(busy)):
                    self._take(busy[pipe])  # type: ignore[index]
        finally:
            for worker in self._workers:
                worker.pipe.close()  # an idle worker ends by it
                if worker.task is not None:
                    worker.process.kill()
                worker.process.join()
        return [self._done[task.name] for task in self._tasks]

    def _give(self) -> None:
        """Hand the waiting tasks to idle workers; make workers while there are too few."""
        while self._waiting:
            worker = next((w for w in self._workers if w.task is None), None)
            if worker is None:
                if len(self._workers) >= self._jobs:
                    return
                worker = _started_worker(work)
                self._workers.append(worker)
            worker.task, worker.attempt = self._waiting.popleft()
            try:
                worker.pipe.send(worker.task)
            except (BrokenPipeError, ConnectionResetError):
                self._gone(worker)

    def _take(self, worker: _Worker) -> None:
        try:
            result = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._gone(worker)
            return
        task, worker.task = worker.task, None
        assert task is not None
        self._note(replace(result, task=task, attempts=worker.attempt))

    def _gone(self, worker: _Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        assert worker.task is not None
        self._note(died(worker.task, worker.process.exitcode, worker.attempt))

    def _note(self, result: TaskResult) -> None:
        task = result.task
        if result.failure and not result.final and result.attempts < ATTEMPTS:
            self._say(f"{task.name}: {result.failure.splitlines()[0]}; tried again")
            self._waiting.append((task, result.attempts + 1))
            return
        self._done[task.name] = result
        state = f"failed: {result.failure.splitlines()[0]}" if result.failure else "done"
        done, count = len(self._done), len(self._tasks)
        left_s = (time.monotonic() - self._started) / done * (count - done)
        self._say(f"{task.name}: {state} ({done} of {count}, {left_s:.0f} s left)")


def _started_worker(does: Work) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_serve, args=(its, does), name="validate", daemon=True)
    process.start()
    its.close()  # else its end would not be seen here
    return _Worker(process=process, pipe=ours)


def _serve(pipe: Connection, does: Work) -> None:
    """Take tasks until the other end closes."""
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(does(task))
