"""Native work that leaves the cores to the models that serve."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_NICE = 10
# Nodes of one process load the models of a set at the same moment: in turns they take half the
# memory on the way and leave a core free. A load that hangs holds the others up no longer than so.
_LONGEST_TURN_S = 5.0
_turn = threading.Lock()


def quietly(work: Callable[[], T]) -> T:
    """Run work in a thread that takes only what others leave, and wait for it.

    For native code that releases the interpreter's lock, and only for that: a thread of low
    priority that holds a lock and gets no core lets everyone wait who needs it.

    Raises:
        BaseException: what `work` raised.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        # Linux: priority is per thread, and cannot be raised again without rights.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    mine = _turn.acquire(timeout=_LONGEST_TURN_S)
    try:
        thread = threading.Thread(target=target, name="quiet", daemon=True)
        thread.start()
        thread.join()
    finally:
        if mine:
            _turn.release()
    if errors:
        raise errors[0]
    return results[0]


def directly(work: Callable[[], T]) -> T:
    """Run work in this thread: the counterpart of `quietly` where nothing serves yet."""
    return work()
