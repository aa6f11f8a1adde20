"""How a process with nodes ends: within two seconds of SIGINT or SIGTERM, at any moment, with 0.

Python's own ways are left aside. A KeyboardInterrupt comes out of whatever line is running, and
the destructors that run after the interpreter's end may hang (Fast DDS: the factory of
participants, at 100 % of a core, until SIGKILL). So signals only say that the end is wanted; nodes
and their contexts are closed on purpose; and the process leaves by `os._exit`.

A thread of Python sees to it that this takes no longer than it may. While a library waits and keeps
the interpreter's lock, no thread of Python runs; then a thread of src/ending.c ends the process a
little later.

Imported before anything else, so it imports little.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import NoReturn

from edge_perception.core.native import library

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LIFELINE = "EDGE_PERCEPTION_LIFELINE"  # in the environment: see `lifeline`
START_S = 0.7  # for a step that cannot be interrupted, such as the loading of a model
CLOSE_S = 1.5  # until what is durable is written
END_S = 1.6  # until the process has left; all from the signal on
NATIVE_S = 0.3  # later, where no thread of Python could do it
FLUSH_S = 0.1
CUT = "ended in the middle of a step"


class Stage(IntEnum):
    """How far a process is."""

    IMPORTING = 0  # nothing is made that would have to be closed
    RUNNING = 1
    CLOSING = 2
    CLOSED = 3  # nodes are closed, all that is durable is written


class _Shared(ctypes.Structure):
    """What the thread of src/ending.c reads, `ep_ending` there."""

    _fields_ = (
        ("limit_s", ctypes.c_double),
        ("stage", ctypes.c_int32),
        ("code", ctypes.c_int32),
    )


class Ending:
    """Whether the end of the process is wanted, and how it comes about in time."""

    def __init__(self) -> None:
        self._shared = _Shared(limit_s=END_S + NATIVE_S)
        self._longer_s = 0.0
        self._wanted = threading.Event()
        self._on_wanted: Callable[[], None] = lambda: None

    @property
    def stage(self) -> Stage:
        """How far the process is."""
        return Stage(self._shared.stage)

    @stage.setter
    def stage(self, stage: Stage) -> None:
        self._shared.stage = stage

    @property
    def longer_s(self) -> float:
        """Added to all limits, for who ends other processes first."""
        return self._longer_s

    @longer_s.setter
    def longer_s(self, longer_s: float) -> None:
        self._longer_s = longer_s
        self._shared.limit_s = END_S + NATIVE_S + longer_s

    @property
    def wanted(self) -> bool:
        """Whether a signal came."""
        return self._wanted.is_set()

    def want(self) -> None:
        """Ask for the end, as a signal does."""
        self._wanted.set()
        self._on_wanted()

    def on_wanted(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when the end is asked for; at once, where it was."""
        self._on_wanted = wake
        if self.wanted:
            wake()

    def watch(self) -> None:
        """Take SIGINT and SIGTERM from now on; in the main thread."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        # The handlers do nothing, and run only between two lines of Python. What counts is the
        # byte in the pipe, which is there at once whatever the main thread is doing.
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, _nothing)
        inherited = os.environ.pop(LIFELINE, None)  # ours: what we start has one of its own
        parent = None if inherited is None else int(inherited)
        reading = self._watch_natively(reading, parent)
        threading.Thread(
            target=self._watch, args=(reading, parent), name="ending", daemon=True
        ).start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def leave(self, code: int) -> NoReturn:
        """End the process without destructors; what Python has buffered is written."""
        if not self.wanted:
            # Nobody counts the seconds of an end that nobody asked for; hanging it must not be.
            faulthandler.dump_traceback_later(END_S, exit=True)
        self._shared.code = code
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()
        _exit(code)

    def _watch_natively(self, reading: int, parent: int | None) -> int:
        """Return a pipe with what `reading` has, once the thread outside Python has seen it."""
        native = library()
        if native is None:
            return reading
        seen, writing = os.pipe()
        os.set_blocking(writing, False)
        failed = native.released.ep_watch_ending(
            reading,
            writing,
            -1 if parent is None else parent,
            ctypes.c_uint64(sum(1 << number for number in SIGNALS)),
            ctypes.byref(self._shared),  # as long as the process: see `watch_signals`
        )
        return reading if failed else seen

    def _watch(self, reading: int, parent: int | None) -> None:
        _wait_for_the_end(reading, parent)
        began_s = time.monotonic()
        if self.stage is Stage.IMPORTING:
            _exit(0)
        self.want()
        for stage, limit_s, end in (
            (Stage.CLOSING, START_S, self._end_in_a_step),
            (Stage.CLOSED, CLOSE_S, _end_in_close),
        ):
            while self.stage < stage:
                if time.monotonic() > began_s + limit_s + self.longer_s:
                    end()
                time.sleep(0.01)
        time.sleep(max(0.0, began_s + END_S + self.longer_s - time.monotonic()))
        _exit(self._shared.code)  # only the middleware has anything left to do

    def _end_in_a_step(self) -> NoReturn:
        """End where a step cannot be interrupted; the store stands an end at any moment."""
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        places = []
        while frame is not None:
            places.append(f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}")
            frame = frame.f_back
        where = " < ".join(places[:4])
        text = f"edge_perception: {CUT}, at {where}\n"
        _exit(0, last=lambda: os.write(2, text.encode()))


def _wait_for_the_end(reading: int, parent: int | None) -> None:
    """Return when a signal came, or when the process at the other end of `parent` has ended."""
    watched = [reading] if parent is None else [reading, parent]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if reading in ready and set(SIGNALS) & set(os.read(reading, 64)):
            return  # other bytes are those of other signals
        if parent in ready:  # nobody writes into it: this is its end
            os.write(2, b"edge_perception: the process that started this one is gone\n")
            return


def _end_in_close() -> NoReturn:
    _exit(1, last=faulthandler.dump_traceback)


def _nothing(*_: object) -> None:
    pass


def _exit(code: int, last: Callable[[], object] = lambda: None) -> NoReturn:
    def flush() -> None:
        for step in (sys.stdout.flush, sys.stderr.flush, last):
            with contextlib.suppress(Exception):
                step()

    # A reader that does not read, or a thread that holds the stream, must not keep the process.
    flushing = threading.Thread(target=flush, daemon=True)
    flushing.start()
    flushing.join(FLUSH_S)
    os._exit(code)


_of_process: Ending | None = None
_lifeline: tuple[int, int] | None = None  # reading end, and the writing end that nobody else has


def watch_signals() -> Ending:
    """Return the ending of this process; SIGINT and SIGTERM end it from the first call on."""
    global _of_process
    if _of_process is None:
        _of_process = Ending()
        _of_process.watch()
    return _of_process


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold signals back, also from processes started meanwhile, until they call `watch_signals`.

    Between the start of a process and its first line Python would die of them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def lifeline() -> tuple[dict[str, str], tuple[int, ...]]:
    """Return the environment and the file descriptors that bind a new process to this one.

    A process that is started with both (`env`, `pass_fds`) and calls `watch_signals` ends as if by
    SIGTERM when this one is gone, however it went: SIGKILL leaves nobody to end its processes.
    """
    global _lifeline
    if _lifeline is None:
        _lifeline = os.pipe()
    reading = _lifeline[0]
    return {LIFELINE: str(reading)}, (reading,)
