"""Statistics of an image for drift and conditions, from 48 x 64 of its pixels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import Geometry, ImageFrame
from edge_perception.encoders.camera.shaded import ShadedPlaces
from edge_perception.monitoring.scores import falling, rising

ROWS, COLUMNS = 48, 64
_FULL = 250  # a pixel this bright carries no more information
_NO_IMAGE = 4  # what is not brighter may lie outside the lens
_CELLS = (6, 8)  # rows and columns of the map of detail
_MOVED = 2.0  # grey values by which the cells change when the vehicle moves


class ImageStatistics:
    """Follows the images of one camera; one thread uses it."""

    def __init__(self) -> None:
        self._detail: NDArray[np.float32] | None = None  # mean of the detail of each cell
        self._grey: NDArray[np.float32] | None = None  # cells of the image before
        self._images = 0  # in `_detail`
        self._shaded = ShadedPlaces()

    def scores(self, seen: Mapping[str, float]) -> Mapping[str, float]:
        """Return the score of each condition that a camera tells; NaN: not known yet."""
        return image_scores(seen)

    def of(
        self,
        frame: ImageFrame,
        geometry: Geometry | None = None,  # noqa: ARG002
    ) -> Mapping[str, float]:
        """Return the statistics of an image by name."""
        bgr = frame.bgr
        height, width = bgr.shape[:2]
        step_y, step_x = max(1, height // ROWS), max(1, width // COLUMNS)
        pixels = bgr[step_y // 2 :: step_y, step_x // 2 :: step_x]
        blue, green, red = (np.ascontiguousarray(pixels[..., k]) for k in range(3))
        darkest = np.minimum(np.minimum(blue, green), red)
        # Grey by ITU-R BT.601 in 1/256.
        weighted = 29 * blue.astype(np.uint16) + 150 * green.astype(np.uint16)
        luma = ((weighted + 77 * red.astype(np.uint16)) >> 8).astype(np.uint8)
        p5, p95, p99 = _percentiles(luma, (0.05, 0.95, 0.99))
        # The round image of a wide lens has black corners, which are no night.
        seen = luma[luma > _NO_IMAGE]
        p75 = _percentiles(seen, (0.75,))[0] if seen.size else 0.0
        fine = self._fine(bgr, step_y, step_x)
        # Of red over blue: the light's, and what the scene adds to it.
        tint = (red.astype(np.float32) - blue) / np.maximum(luma, 16)
        full = darkest >= _FULL
        moved = self._moved(luma)
        if moved:
            self._shaded.add(luma)
        return {
            "brightness": float(luma.mean()),
            "contrast": p95 - p5,
            "sky": float(luma[: max(1, len(luma) // 3)].mean()),
            "highlights": p99,
            "lit": p75,
            # What is brightest shows the colour of the light, be the scene brown or green.
            "warmth": float(tint[luma >= p75].mean()),
            "tint_spread": float(tint.std()),
            # The darkest channel of hazy air is never dark (dark channel prior, He 2009).
            "veil": _percentiles(darkest, (0.05,))[0] / max(p95, 1.0),
            "saturated": float(full.mean()),
            "halo": _halo(full, luma),
            "sharpness": float(fine.mean()) if fine.size else float("nan"),
            "dull_cells": self._dull(fine, moved=moved),
            "shaded": self._shaded.share,
        }

    def _fine(self, bgr: NDArray[np.uint8], step_y: int, step_x: int) -> NDArray[np.float32]:
        """Return differences of pixels two columns apart, at the sampled places, (rows, columns).

        Two, because the filter of a colour sensor makes neighbours alike.
        """
        green = bgr[step_y // 2 :: step_y, :, 1]
        left = green[:, step_x // 2 : -2 : step_x].astype(np.float32)
        right = green[:, step_x // 2 + 2 :: step_x].astype(np.float32)
        columns = min(left.shape[1], right.shape[1])
        return np.asarray(np.abs(left[:, :columns] - right[:, :columns]))

    def _moved(self, luma: NDArray[np.uint8]) -> bool:
        """Whether the vehicle moves: a wall ahead of one that stands is no dirt."""
        before, self._grey = self._grey, _cells(luma)
        if before is None or self._grey is None:
            return False
        # The half that changes more: what is covered does not.
        change = np.partition(np.abs(self._grey - before).ravel(), before.size // 2)
        return float(change[before.size // 2 :].mean()) >= _MOVED

    def _dull(self, fine: NDArray[np.float32], *, moved: bool) -> float:
        """Return the share of cells that stay without the detail of the cells beside them.

        The scene moves past, dirt stays: the mean over about 50 images of a vehicle that moves is
        compared. NaN until there are enough.
        """
        cells = _cells(np.minimum(fine, 40.0))
        if cells is None:
            return float("nan")
        if moved:
            self._images += 1
            known = cells if self._detail is None else self._detail
            self._detail = known + (cells - known) * max(0.02, 1.0 / self._images)
        if self._images < 50 or self._detail is None:
            return float("nan")
        detail = self._detail[2:]  # the sky has none
        beside = np.stack([np.roll(detail, shift, axis=1) for shift in (-2, -1, 1, 2)])
        return float((detail < 0.5 * np.median(beside, axis=0)).mean())


def _cells(values: NDArray) -> NDArray[np.float32] | None:
    """Return the means of 6 x 8 cells; None: there are fewer values than cells."""
    rows, columns = values.shape[0] // _CELLS[0], values.shape[1] // _CELLS[1]
    if not rows or not columns:
        return None
    cut = values[: rows * _CELLS[0], : columns * _CELLS[1]]
    cells = cut.reshape(_CELLS[0], rows, _CELLS[1], columns)
    return np.asarray(cells.mean((1, 3), dtype=np.float32))


def _halo(full: NDArray[np.bool_], luma: NDArray[np.uint8]) -> float:
    """Return how bright it is beside saturated pixels, 0 to 1, the median; without any NaN.

    A lamp or a sun shines into what is beside it; a sky that is exposed too long ends at a roof.
    """
    if not full.any():
        return float("nan")
    near = full.copy()
    for axis in (0, 1):
        padded = np.pad(near, [(1, 1) if at == axis else (0, 0) for at in (0, 1)])
        size = near.shape[axis]
        near = np.logical_or.reduce([padded.take(range(k, k + size), axis=axis) for k in range(3)])
    ring = luma[near & ~full]
    return float(np.median(ring)) / 255.0 if ring.size else float("nan")


def _percentiles(values: NDArray[np.uint8], parts: tuple[float, ...]) -> list[float]:
    counts = np.cumsum(np.bincount(values.reshape(-1), minlength=256))
    return [float(np.searchsorted(counts, part * values.size)) for part in parts]


def image_scores(seen: Mapping[str, float]) -> dict[str, float]:
    """Return the score of each condition that a camera tells; NaN: not known yet."""
    # A dark upper part alone may be trees, and a dark image a road in the shade.
    night = falling(seen["sky"], 78.0, 24.0) * falling(seen["lit"], 100.0, 20.0)
    warm = rising(seen["warmth"], 0.2, 0.08)
    dusk = (1.0 - night) * warm
    # In fog everything takes the colour of the light; a pale road below a blue sky does not. At
    # night the lamps make the range, and hide the veil.
    halo = rising(seen["halo"], 0.76, 0.08) if seen["halo"] == seen["halo"] else 0.0
    one_colour = falling(seen["tint_spread"], 0.19, 0.06)
    return {
        "night": night,
        "dusk": dusk,
        "day": (1.0 - night) * (1.0 - warm),
        "glare": rising(seen["saturated"], 0.02, 0.02) * halo,
        "fog": (1.0 - night) * rising(seen["veil"], 0.36, 0.12) * one_colour,
        "dirty_lens": _dirty(seen),
    }


def _dirty(seen: Mapping[str, float]) -> float:
    """Return the score of a dirty lens: mud takes the detail, or the light; NaN: not known yet.

    Both limits are above what clean lenses show: a dark car that is followed covers 12 % of the
    road, head lamps leave 6 % of it dark, a highway has 16 % of cells without detail.
    """
    dull, shaded = rising(seen["dull_cells"], 0.25, 0.08), rising(seen["shaded"], 0.14, 0.05)
    return float(np.fmax(dull, shaded))  # a number beats NaN
