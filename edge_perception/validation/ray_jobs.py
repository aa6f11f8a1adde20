"""The same tasks on a Ray cluster: Ray schedules, retries and keeps a dead worker from the rest.

The folders of the tasks must be on storage that all machines of the cluster see.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.extras import extra
from edge_perception.validation.tasks import ATTEMPTS, Task, TaskResult, work

LOCAL = "local"


def run_on_ray(
    tasks: Sequence[Task], *, address: str, jobs: int, say: Callable[[str], None]
) -> list[TaskResult]:
    """Run tasks on a cluster and return their results in the order of the tasks.

    Args:
        tasks: what to do.
        address: of the cluster; `local`: start Ray on this machine with `jobs` processors and
            end it again.
        jobs: processors of a local instance.
        say: takes progress lines.

    Raises:
        ConfigurationError: Ray is not installed, or the cluster cannot be reached.
    """
    with extra("ray"):
        import ray
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address, jobs)
    try:
        return _run(ray, tasks, say)
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, address: str, jobs: int) -> None:
    try:
        if address == LOCAL:
            ray.init(num_cpus=jobs, include_dashboard=False, log_to_driver=False)
        else:
            ray.init(address=address, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigurationError(f"ray: no cluster at '{address}': {error}") from error


def _run(ray: Any, tasks: Sequence[Task], say: Callable[[str], None]) -> list[TaskResult]:
    remote = ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1)(work)
    started = time.monotonic()
    pending = {remote.remote(task): task for task in tasks}
    done: dict[str, TaskResult] = {}
    while pending:
        ready, _ = ray.wait(list(pending), num_returns=1)
        for reference in ready:
            task = pending.pop(reference)
            try:
                result = ray.get(reference)
            except ray.exceptions.RayError as error:  # the worker died in every attempt
                text = f"its worker died {ATTEMPTS} times: {str(error).splitlines()[0]}"
                result = TaskResult(task=task, account=None, failure=text, attempts=ATTEMPTS)
            done[task.name] = result
            state = f"failed: {result.failure.splitlines()[0]}" if result.failure else "done"
            elapsed_s = time.monotonic() - started
            say(f"{task.name}: {state} on Ray ({len(done)} of {len(tasks)}, {elapsed_s:.0f} s)")
    return [done[task.name] for task in tasks]
