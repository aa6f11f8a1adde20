"""A process that replays on one core: libraries without threads, memory that is kept."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import cv2

_ENVIRONMENT = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_MAPS = Path("/proc/self/maps")
# OpenBLAS as NumPy's wheels, distributions and others build it.
_OPENBLAS_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)
# mallopt(3): parameters of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 256 * 1024 * 1024
_LARGEST_ON_HEAP = 32 * 1024 * 1024  # glibc allows no more


def use_one_core() -> None:
    """Keep the libraries of this process, and of those it starts, from threads of their own.

    OpenBLAS' helper threads spin for a while after each product: on a processor of two cores they
    take half of what a second job could use.
    """
    cv2.setNumThreads(1)
    for name in _ENVIRONMENT:
        os.environ.setdefault(name, "1")  # read when a library is loaded, in our children too
    for library in _loaded("openblas"):
        for setter in _OPENBLAS_SETTERS:
            if hasattr(library, setter):
                getattr(library, setter)(1)


def keep_memory() -> None:
    """Let the allocator keep what is freed: frames of a few MB come and go all the time.

    By default glibc hands such blocks back to the kernel, which clears them again page by page
    for the next frame. The peak does not grow by it. Nothing happens with another C library.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_ON_HEAP)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _loaded(word: str) -> list[ctypes.CDLL]:
    """Return the libraries of this process with a word in their file names."""
    try:
        lines = _MAPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    paths = {line.split()[-1] for line in lines if word in line.rsplit("/", 1)[-1]}
    return [ctypes.CDLL(path) for path in sorted(paths)]
