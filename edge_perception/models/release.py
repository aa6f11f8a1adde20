"""Giving the memory of a model back to the system."""

from __future__ import annotations

import ctypes
import os
import threading

from edge_perception.models.loading import LoadedModel


def release_model(loaded: LoadedModel) -> None:
    """Close a session in a thread of its own; nobody may use it any more."""
    threading.Thread(target=_release, args=(loaded,), name="release_model", daemon=True).start()


def _release(loaded: LoadedModel) -> None:
    lower_priority()
    loaded.backend.close()
    # The allocator is told to keep freed blocks for large messages; those of a model are returned.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


def lower_priority() -> None:
    """Let this thread take only what the inference threads leave (Linux: nice is per thread)."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
