"""Giving the memory of a model back to the system."""

from __future__ import annotations

import ctypes
import queue
import sys
import threading
from functools import cache

from edge_perception.models.loading import LoadedModel
from edge_perception.models.quiet import await_gap

_TRIM_AFTER_S = 0.05  # so that the models of one change, in one process, are trimmed together


def release_model(loaded: LoadedModel) -> None:
    """Close a session in the background; nobody may use it any more."""
    _releaser().put(loaded)


class _Releaser:
    """Closes sessions as they come; gives their memory back once none came for a moment.

    Trimming holds the allocator's lock: once a change, between frames, and at normal priority, so
    that nobody waits for a thread that gets no core. Left to later, new models take the place of
    old ones among what lives on, and less can be given back.
    """

    def __init__(self) -> None:
        self._models: queue.SimpleQueue[LoadedModel] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="release_model", daemon=True).start()

    def put(self, loaded: LoadedModel) -> None:
        self._models.put(loaded)

    def _run(self) -> None:
        while True:
            loaded = self._models.get()
            try:
                while True:
                    await_gap()
                    _close(loaded)
                    loaded = self._models.get(timeout=_TRIM_AFTER_S)
            except queue.Empty:
                await_gap()
                _trim()


def _close(loaded: LoadedModel) -> None:
    """Close a session; one that cannot be closed keeps no other from it."""
    try:
        loaded.backend.close()
    except Exception as error:
        name = loaded.bundle.manifest.name
        print(f"{name}: its session cannot be closed: {error!r}", file=sys.stderr, flush=True)


@cache
def _releaser() -> _Releaser:
    return _Releaser()


def _trim() -> None:
    # The allocator is told to keep freed blocks for large messages; those of a model are returned.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
