"""Work beside the models that serve: in gaps between their frames, and off their cores."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
# SCHED_BATCH: never preempts a thread that wakes up, as an inference does for every frame. Not
# SCHED_IDLE: on full cores that never ends (no model loaded in 8 s beside one busy loop, measured),
# and a thread that gets no core while it holds the interpreter's lock stops all others.
_NICE = 10
_CAP_SYS_NICE = 1 << 23
# Nodes of one process load the models of a set at the same moment: in turns they take half the
# memory on the way and leave a core free. A load that hangs holds the others up no longer than so.
_LONGEST_TURN_S = 5.0
_turn = threading.Lock()
_MOMENT_S = 0.5  # from one piece of quiet work of a change to the next
_ended_s = -_MOMENT_S  # of the newest one, steady clock
# Priority is not enough: two threads of one physical core slow each other whatever theirs is. An
# inference of the bundled camera model that takes 15 ms of CPU alone took 24 beside others.
_LONGEST_GAP_WAIT_S = 0.1  # a source of 10 Hz has a gap in that time, or the machine has none
_SETTLED_S = 0.003  # fusion begins right after the last encoder has ended
_frames = threading.Condition()
_in_work = 0  # frames that encoders and fusion of this process work on
_inference_cores: Counter[int] = Counter()  # how many threads are bound to each


def under_way() -> bool:
    """Whether some node of this process loads a model, or did so a moment ago."""
    return _turn.locked() or time.monotonic() < _ended_s + _MOMENT_S


@contextmanager
def frame_in_work() -> Iterator[None]:
    """Note that a frame is worked on: work that can wait does."""
    global _in_work
    with _frames:
        _in_work += 1
    try:
        yield
    finally:
        with _frames:
            _in_work -= 1
            if not _in_work:
                _frames.notify_all()


def await_gap() -> None:
    """Return once no frame is in work in this process, or after 0.1 s: some are never idle.

    For work of some milliseconds that nobody waits for: it is done before the next frames come.
    """
    end_s = time.monotonic() + _LONGEST_GAP_WAIT_S
    with _frames:
        while _frames.wait_for(lambda: not _in_work, end_s - time.monotonic()):
            _frames.wait(_SETTLED_S)
            if not _in_work:
                return


def keep_off(cores: Iterable[int]) -> None:
    """Note cores that inference is bound to: quiet work of this process runs on the others."""
    _inference_cores.update(cores)


def give_back(cores: Iterable[int]) -> None:
    """Note that a thread of inference that was bound to cores has ended."""
    _inference_cores.subtract(cores)


def yield_cores() -> None:
    """Let the calling thread take what others leave; there is no way back without rights."""
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    # Linux: priority is per thread; 0 is the calling one for the scheduler, not for setpriority.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    others = os.sched_getaffinity(0) - {
        core for core, count in _inference_cores.items() if count > 0
    }
    if others:
        os.sched_setaffinity(0, others)


def may_return() -> bool:
    """Whether this process may raise the priority of its threads again."""
    if resource.getrlimit(resource.RLIMIT_NICE)[0] >= 20:
        return True
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) & _CAP_SYS_NICE)
    return False


def quietly(work: Callable[[], T], *, makes_threads: bool = False) -> T:
    """Run work in a thread that takes only what others leave, and wait for it.

    It begins in a gap between frames, so several short ones are better than a long one.

    For native code that releases the interpreter's lock, and only for that: a thread of low
    priority that holds a lock and gets no core lets everyone wait who needs it.

    Args:
        work: what to run.
        makes_threads: it starts threads that serve later. They inherit the low priority, and where
            it cannot be taken from them again the work runs like any other.

    Raises:
        BaseException: what `work` raised.
    """
    if makes_threads and not may_return():
        return directly(work)
    global _ended_s
    results: list[T] = []
    errors: list[BaseException] = []
    cores = os.sched_getaffinity(0)
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def target() -> None:
        yield_cores()
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    mine = _turn.acquire(timeout=_LONGEST_TURN_S)
    try:
        await_gap()
        before = _threads()
        thread = threading.Thread(target=target, name="quiet", daemon=True)
        thread.start()
        thread.join()
        if makes_threads:
            _raise(_threads() - before, cores, nice)
    finally:
        _ended_s = time.monotonic()
        if mine:
            _turn.release()
    if errors:
        raise errors[0]
    return results[0]


def directly(work: Callable[[], T]) -> T:
    """Run work in this thread: the counterpart of `quietly` where nothing serves yet."""
    return work()


def _threads() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/task")}


def _raise(threads: Iterable[int], cores: set[int], nice: int) -> None:
    """Give threads that inherited the low priority that of who asked for the work."""
    for thread in threads:
        try:
            if os.sched_getscheduler(thread) != os.SCHED_BATCH:
                continue  # of somebody else
            os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, thread, nice)
            os.sched_setaffinity(thread, cores)
        except ProcessLookupError:
            continue  # it has ended
