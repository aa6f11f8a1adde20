"""What sits on the glass before a lens: dirt that holds light back, drops that bend it.

The glass is far too near to be in focus, so both have soft outlines. They stay where they are for
a drive.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.seeding import stream

# What is measured, by name: shares that dirt and drops cover.
LENSES: Mapping[str, tuple[float, float]] = {
    "dirty_20": (0.2, 0.0),
    "dirty_50": (0.5, 0.0),
    "wet_20": (0.0, 0.2),
    "wet_50": (0.0, 0.5),
}
_COARSE = 4  # pixels of the image a side of one of the masks
_MUD = np.array([0.45, 0.6, 0.75], np.float32)  # of the light in it, BGR: brown
_TURNED = 3.0  # a drop shows as many times its own size, upside down
_MOST_DROPS = 400


def soil(
    colour: NDArray[np.float32], *, dirty: float, wet: float, seed: int
) -> NDArray[np.float32]:
    """Return the light that comes through a soiled glass.

    Args:
        colour: (H, W, 3), linear light.
        dirty: share of the view that dirt covers, 0 to 1.
        wet: share of the view that drops cover, 0 to 1.
        seed: fixes where both are.
    """
    height, width = colour.shape[:2]
    size = (height // _COARSE + 1, width // _COARSE + 1)
    if wet > 0.0:
        mask, columns, rows = _drops(seed, *size, wet)
        small = cv2.resize(colour, size[::-1], interpolation=cv2.INTER_AREA)
        bent = cv2.remap(small, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        colour = _mixed(colour, cv2.GaussianBlur(bent, (0, 0), size[1] / 60.0), mask)
    if dirty > 0.0:
        # Mud lets through light, but no picture: what is around it, in its own colour.
        small = cv2.resize(colour, (max(width // 8, 1), max(height // 8, 1)))
        veil = cv2.resize(cv2.blur(small, (9, 9)), size[::-1])
        colour = _mixed(colour, 0.35 * veil * _MUD + np.float32(0.01), _dirt(seed, *size, dirty))
    return colour


def _mixed(colour: NDArray, instead: NDArray, mask: NDArray) -> NDArray[np.float32]:
    height, width = colour.shape[:2]
    share = cv2.resize(mask, (width, height))[..., None]
    return np.asarray(colour * (1 - share) + cv2.resize(instead, (width, height)) * share)


@functools.lru_cache(maxsize=4)
def _dirt(seed: int, height: int, width: int, share: float) -> NDArray[np.float32]:
    """Return how much of the light dirt holds back, (height, width), 0 to 1."""
    rng = stream(seed, "dirt")
    field = np.zeros((height, width), np.float32)
    for size, weight in ((0.05, 1.0), (0.015, 0.4)):  # splashes with a ragged outline
        noise = rng.standard_normal((height, width), np.float32)
        blurred = cv2.GaussianBlur(noise, (0, 0), size * width)
        field += weight * blurred / blurred.std()
    mask = (field >= np.quantile(field, 1.0 - share)).astype(np.float32)
    thickness = cv2.GaussianBlur(rng.random((height, width), np.float32), (0, 0), 0.03 * width)
    thickness = np.clip(0.92 + (thickness - thickness.mean()) / thickness.std() * 0.06, 0.7, 1.0)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), width / 80.0) * thickness)


@functools.lru_cache(maxsize=4)
def _drops(
    seed: int, height: int, width: int, share: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return where drops are, 0 to 1, and which column and row is seen there; (height, width)."""
    rng = stream(seed, "drops")
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    seen_rows, seen_columns = rows.copy(), columns.copy()
    mask = np.zeros((height, width), np.float32)
    for _ in range(_MOST_DROPS):
        if mask.mean() >= share:
            break
        radius = float(rng.uniform(0.015, 0.05)) * width
        row, column = float(rng.uniform(0, height)), float(rng.uniform(0, width))
        inside = np.hypot(rows - row, columns - column) < radius
        mask[inside] = 1.0
        seen_rows[inside] = row - _TURNED * (rows[inside] - row)
        seen_columns[inside] = column - _TURNED * (columns[inside] - column)
    soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), width / 150.0), np.float32)
    return soft, seen_columns, seen_rows
