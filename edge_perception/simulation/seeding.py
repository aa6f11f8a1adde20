"""Independent random streams from one seed, so that adding a sensor never changes another."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the random generator of one purpose.

    Args:
        seed: Seed of the run, zero or positive.
        names: What the numbers are for, such as ``("lidar", frame_index)``.
    """
    words = [zlib.crc32(n.encode()) if isinstance(n, str) else int(n) & 0xFFFFFFFF for n in names]
    return np.random.default_rng(np.random.SeedSequence([int(seed), *words]))
