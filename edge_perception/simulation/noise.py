"""A repeating texture of smooth noise."""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.seeding import stream

SIZE = 512


@functools.lru_cache(maxsize=8)
def noise_tile(seed: int) -> NDArray[np.float32]:
    """Return noise of several scales that repeats at its borders, (512, 512), 0 to 1."""
    rng = stream(seed, "noise")
    total = np.zeros((SIZE, SIZE), np.float32)
    for octave, weight in ((4, 0.5), (8, 0.6), (32, 0.8), (128, 0.8), (512, 0.8)):
        small = rng.random((octave, octave), np.float32)
        wide = np.pad(small, 2, mode="wrap")
        scale = SIZE // octave
        large = cv2.resize(wide, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        start = 2 * scale
        total += weight * large[start : start + SIZE, start : start + SIZE]
    total -= total.mean()
    return np.clip(0.5 + total / (4.0 * total.std()), 0.0, 1.0)


def lookup(tile: NDArray[np.float32], u: NDArray, v: NDArray) -> NDArray[np.float32]:
    """Return the noise at texture coordinates (in texels, wrapped, nearest)."""
    return tile[v.astype(np.int32) & (SIZE - 1), u.astype(np.int32) & (SIZE - 1)]


def lookup_smooth(tile: NDArray[np.float32], u: NDArray, v: NDArray) -> NDArray[np.float32]:
    """Return the noise at texture coordinates (in texels, wrapped, bilinear), (H, W)."""
    u, v = np.mod(u, SIZE).astype(np.float32), np.mod(v, SIZE).astype(np.float32)
    smooth = cv2.remap(tile, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(smooth, np.float32)
