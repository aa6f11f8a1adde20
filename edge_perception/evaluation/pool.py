"""Tasks in several processes, each with a worker of its own that is made once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, TypeVar

from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.plugins import add_plugin_folders, plugin_folders

T = TypeVar("T")
_make: Callable[[], Callable[..., Any]] | None = None  # of this process, as is the worker
_worker: Callable[..., Any] | None = None


def _begin(make: Callable[[Any], Callable[..., Any]], plan: Any, plugins: Sequence[Any]) -> None:
    global _make
    add_plugin_folders(plugins)
    _make = partial(make, plan)


def _one(task: tuple[Any, ...]) -> Any:
    global _worker
    if _worker is None:  # with the first task, whose error arrives
        assert _make is not None
        _worker = _make()
    return _worker(*task)


def run_all(
    make: Callable[[Any], Callable[..., T]],
    plan: Any,
    tasks: Sequence[tuple[Any, ...]],
    *,
    processes: int,
    progress: Callable[[int], None],
    chunk: int = 1,
) -> list[T]:
    """Return the results of all tasks, in their order.

    Args:
        make: makes a worker of the plan, in the process that it works in.
        plan: can be sent to another process.
        tasks: arguments of the worker's calls.
        processes: how many at once; 1 stays in this process.
        progress: is told how many are done.
        chunk: tasks that a process takes at a time.

    Raises:
        EdgePerceptionError: a process ended before its task, killed for want of memory maybe.
        Exception: whatever a task raised.
    """
    results: list[T] = []
    if processes == 1:
        work = make(plan)
        for count, task in enumerate(tasks, 1):
            results.append(work(*task))
            progress(count)
        return results
    # Spawned: threads of the inference runtime do not survive a fork.
    context = multiprocessing.get_context("spawn")
    begun = (make, plan, plugin_folders())
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=begun) as pool:
        try:
            for count, result in enumerate(pool.map(_one, tasks, chunksize=chunk), 1):
                results.append(result)
                progress(count)
        except BrokenProcessPool as error:
            done = f"{len(results)} of {len(tasks)} tasks were done"
            raise EdgePerceptionError(f"a process of ours ended, {done}: {error}") from error
    return results
