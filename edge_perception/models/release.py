"""Giving the memory of a model back to the system."""

from __future__ import annotations

import ctypes
import queue
import threading
from functools import cache

from edge_perception.models.loading import LoadedModel

_TRIM_AFTER_S = 1.0


def release_model(loaded: LoadedModel) -> None:
    """Close a session in the background; nobody may use it any more."""
    _releaser().put(loaded)


class _Releaser:
    """Closes sessions as they come; gives their memory back once none came for a while.

    Trimming holds the allocator's locks and makes the next messages fault their pages in again. It
    must not meet the first frame of the model that just began to serve, and not a next change,
    which uses the memory again anyhow.
    """

    def __init__(self) -> None:
        self._models: queue.SimpleQueue[LoadedModel] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="release_model", daemon=True).start()

    def put(self, loaded: LoadedModel) -> None:
        self._models.put(loaded)

    def _run(self) -> None:
        while True:
            self._models.get().backend.close()
            try:
                while True:
                    self._models.get(timeout=_TRIM_AFTER_S).backend.close()
            except queue.Empty:
                _trim()


@cache
def _releaser() -> _Releaser:
    return _Releaser()


def _trim() -> None:
    # The allocator is told to keep freed blocks for large messages; those of a model are returned.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
