"""The first run of a graph that nobody has seen: it ends, and leaves memory to the machine."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import psutil
from numpy.typing import NDArray

from edge_perception.backends import DEFAULT_BACKEND, Backend
from edge_perception.core.process_memory import MAPPED, memory_bytes

LONGEST_S = 300.0  # of one picture or sound; a vehicle has less than a tenth of a second
_STOPPING_S = 10.0
_SHARE = 0.75  # of the memory that is free now

Outputs = dict[str, NDArray]


def run_limited(
    session: Backend, feed: Mapping[str, NDArray], *, longest_s: float | None = None
) -> Outputs:
    """Run a graph, which may hold a loop without an end.

    The caller waits in the interpreter, so that an interrupt ends the run too.

    Args:
        session: the graph; it is of no more use after a run that was ended.
        feed: its inputs.
        longest_s: how long it may take; None: `LONGEST_S`.

    Raises:
        BackendError: the run failed.
        TimeoutError: it took too long.
    """
    limit_s = LONGEST_S if longest_s is None else longest_s
    results: list[Outputs] = []
    errors: list[Exception] = []
    # Not Thread.join: interrupted, it takes a thread that goes on for one that has ended (3.11).
    ended = threading.Event()

    def run() -> None:
        try:
            results.append(session.infer(feed))
        except Exception as error:  # told by the caller's thread
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=run, name="first_run", daemon=True)
    late = True
    try:
        thread.start()  # an interrupt may come in here already
        late = not ended.wait(limit_s)
    except RuntimeError as error:  # no memory for another thread
        late = False
        raise MemoryError(str(error)) from error
    finally:
        if late:
            stop: Callable[[], None] = getattr(session, "stop", lambda: None)
            stop()
            ended.wait(_STOPPING_S)
    if late:
        raise TimeoutError(
            f"one run takes longer than {limit_s:g} s: a loop in the graph does not end, or it is "
            "far too large for a vehicle"
        )
    if errors:
        raise errors[0]
    return results[0]


@contextmanager
def spared_memory(backend: str) -> Iterator[None]:
    """Refuse this process more memory than the machine has to spare.

    A graph may make a tensor of any size of a few bytes in the file; what the system then ends to
    get memory back need not be this process.

    Args:
        backend: that runs it; others than the default one reserve addresses for their devices,
            and are not limited.
    """
    if backend != DEFAULT_BACKEND:
        yield
        return
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    try:
        limit = memory_bytes(MAPPED) + int(_SHARE * psutil.virtual_memory().available)
    except OSError:  # this machine does not tell
        yield
        return
    for given in (before, most):
        limit = limit if given == resource.RLIM_INFINITY else min(limit, given)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    try:
        yield
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (before, most))
