"""The compiled loops (src/*.c), where the package was built with colcon.

Without them, as in a plain Python environment for training, NumPy does the same: next to each use
stands its twin, which tests hold against it.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

NAME = "libedge_perception_native.so"
INTERFACE = 7  # as `ep_interface` says; a library of another build is not called


@dataclass(frozen=True, kw_only=True)
class NativeLibrary:
    """The library, to be called in two ways."""

    released: ctypes.CDLL  # other threads of Python run meanwhile
    held: ctypes.CDLL  # they do not: for microseconds, which are less than coming back takes


@cache
def library() -> NativeLibrary | None:
    """Return the library; None where it was not built. On the library path after a build."""
    try:
        found = ctypes.CDLL(NAME)
        if found.ep_interface() != INTERFACE:
            return None
    except (OSError, AttributeError):
        return None
    return NativeLibrary(released=found, held=ctypes.PyDLL(NAME))
