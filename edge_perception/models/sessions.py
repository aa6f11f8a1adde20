"""Sessions of this process: who serves the same model in the same way shares one.

A model is loaded once for all of them, and closed when the last one lets go of it.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from numpy.typing import NDArray

from edge_perception.backends import Backend, BackendInfo
from edge_perception.backends.device_program import DeviceProgram, run_program
from edge_perception.backends.micro_batches import MicroBatches
from edge_perception.core.errors import BackendError

# One that hangs while it loads holds the others up no longer; then each loads its own.
_LONGEST_LOAD_S = 30.0
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A new session."""

    backend: Backend
    batches: MicroBatches | None = None  # frames of several sources run together
    notes: tuple[str, ...] = ()  # why they do not, where they should


@dataclass(kw_only=True, eq=False)
class _Entry:
    opened: Opened | None = None  # None: it is being loaded, or that failed
    loaded: threading.Event = field(default_factory=threading.Event)
    users: int = 0
    warm_runs: int = 0


class SharedSession:
    """One user's hold on a session; the session of a `LoadedModel`."""

    def __init__(self, sessions: Sessions, key: str, entry: _Entry) -> None:
        assert entry.opened is not None
        self._sessions, self._key, self._entry = sessions, key, entry
        self._opened, self._number = entry.opened, next(_numbers)
        self._closed = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What was asked for and is not so."""
        return self._opened.notes

    @property
    def warm_runs(self) -> int:
        """Runs on zero tensors that the session had."""
        return self._entry.warm_runs

    def warm_up(self, runs: int) -> None:
        """Run on zero tensors, unless the session did so before."""
        left = runs - self._entry.warm_runs
        if left > 0:
            self._opened.backend.warm_up(left)
            self._entry.warm_runs = runs

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run one frame.

        Raises:
            BackendError: as of the session, or it was closed.
        """
        if self._closed:
            raise BackendError("the session was closed")
        if self._opened.batches is not None:
            return self._opened.batches.infer(inputs, self._number)
        return self._opened.backend.infer(inputs)

    def run_program(self, program: DeviceProgram) -> None:
        """Let the session make an input on its device; for who has the session alone.

        Raises:
            BackendError: as of the session, or it has no kernels.
        """
        run_program(self._opened.backend, program)

    def describe(self) -> BackendInfo:
        """Return what is really running."""
        return self._opened.backend.describe()

    def close(self) -> None:
        """Let go of the session; the last one closes it."""
        if self._closed:
            return
        self._closed = True
        if self._opened.batches is not None:
            self._opened.batches.forget(self._number)
        self._sessions.let_go(self._key, self._entry)

    def believe_in_batches(self) -> None:
        """Let frames run together whether it pays or not: for who measures that."""
        if self._opened.batches is not None:
            self._opened.batches.worth.believe()

    def told(self) -> dict[str, str]:
        """Return what diagnostics say of the sharing; empty: nobody shares it."""
        values = {}
        if self._entry.users > 1:
            values["session_users"] = str(self._entry.users)
        if self._opened.batches is not None:
            figures, worth = self._opened.batches.figures(), self._opened.batches.worth
            mean = figures.frames / figures.runs if figures.runs else float("nan")
            values["batch_frames_mean"] = f"{mean:.2f}"
            values["batch_frames_alone"] = str(figures.alone)
            values["batch_time_ratio"] = f"{worth.ratio:.2f}"
            values["batch"] = "on" if worth.pays else "off: it takes longer than one by one"
        return values


class Sessions:
    """What is loaded in this process, by what and how; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def open(
        self,
        key: str,
        make: Callable[[], Opened],
        *,
        instead_of: Backend | None = None,
    ) -> SharedSession:
        """Return a hold on the session of a key, loaded where it is not.

        Args:
            key: model and the way it runs.
            make: loads it.
            instead_of: a hold on a session that hangs: the next one is another.

        Raises:
            EdgePerceptionError: what `make` raised.
        """
        hung = instead_of._entry if isinstance(instead_of, SharedSession) else None
        with self._lock:
            entry = self._entries.get(key)
            mine = entry is None or entry is hung
            if mine:
                entry = self._entries[key] = _Entry()
            assert entry is not None
            entry.users += 1
        if not mine:
            entry.loaded.wait(_LONGEST_LOAD_S)
            if entry.opened is not None:
                return SharedSession(self, key, entry)
            self.let_go(key, entry)  # it failed or hangs: this one loads its own, and says why
            entry = _Entry(users=1)
        try:
            entry.opened = make()
        finally:
            if entry.opened is None:
                with self._lock:
                    self._forget(key, entry)
            entry.loaded.set()
        return SharedSession(self, key, entry)

    def let_go(self, key: str, entry: _Entry) -> None:
        """Take back a hold; the last one closes the session."""
        with self._lock:
            entry.users -= 1
            if entry.users > 0:
                return
            self._forget(key, entry)
            opened, entry.opened = entry.opened, None
        if opened is not None:
            opened.backend.close()

    def _forget(self, key: str, entry: _Entry) -> None:
        if self._entries.get(key) is entry:
            del self._entries[key]


SESSIONS = Sessions()


def warm_up_by_run(
    backend: Backend, runs: int, run: Callable[[Callable[[], None]], object]
) -> None:
    """Warm a session up one run at a time, so that frames of others find gaps between them.

    Args:
        backend: of a `LoadedModel`.
        runs: as of `warm_up`: a shared session needs only those that it did not have.
        run: runs one.
    """
    if not isinstance(backend, SharedSession):
        for _ in range(runs):
            run(partial(backend.warm_up, 1))
        return
    for count in range(backend.warm_runs + 1, runs + 1):  # of the session, whoever warmed it
        run(partial(backend.warm_up, count))


def believe_in_batches(backend: Backend) -> None:
    """Let frames of a session run together whether it pays or not: for who measures that."""
    if isinstance(backend, SharedSession):
        backend.believe_in_batches()


def sharing_told(backend: Backend) -> dict[str, str]:
    """Return what diagnostics say of a session that is shared; empty: it is not."""
    return backend.told() if isinstance(backend, SharedSession) else {}
