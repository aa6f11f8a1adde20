"""Statistics of an image for drift and conditions, from 48 x 64 of its pixels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import Geometry, ImageFrame
from edge_perception.monitoring.scores import falling, rising

ROWS, COLUMNS = 48, 64
_FULL = 250  # a pixel this bright carries no more information
_LUMA = np.array([0.114, 0.587, 0.299], np.float32)  # BGR, ITU-R BT.601
_CELLS = (6, 8)  # rows and columns of the map of detail


class ImageStatistics:
    """Follows the images of one camera; one thread uses it."""

    def __init__(self) -> None:
        self._detail: NDArray[np.float32] | None = None  # mean of the detail of each cell
        self._images = 0

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
        pixels = bgr[step_y // 2 :: step_y, step_x // 2 :: step_x].astype(np.float32)
        luma = pixels @ _LUMA
        p5, p95, p99 = np.percentile(luma, (5, 95, 99))
        means = pixels.mean(axis=(0, 1))
        upper = luma[: max(1, len(luma) // 3)]
        # The darkest channel of hazy air is never dark (dark channel prior, He 2009).
        veil = float(np.percentile(pixels.min(axis=2), 5)) / max(float(p95), 1.0)
        fine = self._fine(bgr, step_y, step_x)
        return {
            "brightness": float(luma.mean()),
            "contrast": float(p95 - p5),
            "sky": float(upper.mean()),
            "highlights": float(p99),
            "warmth": float(means[2] - means[0]) / max(float(means.mean()), 1.0),
            "veil": veil,
            "saturated": float((pixels.min(axis=2) >= _FULL).mean()),
            "sharpness": float(fine.mean()) if fine.size else float("nan"),
            "dull_cells": self._dull(fine),
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

    def _dull(self, fine: NDArray[np.float32]) -> float:
        """Return the share of cells that stay without the detail of the cells beside them.

        The scene moves past, dirt stays: the mean over about 50 images is compared. NaN until
        that many were seen.
        """
        rows, columns = fine.shape[0] // _CELLS[0], fine.shape[1] // _CELLS[1]
        if not rows or not columns:
            return float("nan")
        cut = fine[: rows * _CELLS[0], : columns * _CELLS[1]]
        cells = np.minimum(cut, 40.0).reshape(_CELLS[0], rows, _CELLS[1], columns).mean((1, 3))
        self._images += 1
        if self._detail is None:
            self._detail = cells
        else:
            self._detail = self._detail + (cells - self._detail) * max(0.02, 1.0 / self._images)
        if self._images < 50:
            return float("nan")
        detail = self._detail[2:]  # the sky has none
        beside = np.stack([np.roll(detail, shift, axis=1) for shift in (-2, -1, 1, 2)])
        return float((detail < 0.5 * np.median(beside, axis=0)).mean())


def image_scores(seen: Mapping[str, float]) -> dict[str, float]:
    """Return the score of each condition that a camera tells; NaN: not known yet."""
    night = falling(seen["sky"], 78.0, 24.0)
    warm = rising(seen["warmth"], 0.09, 0.14)
    dusk = (1.0 - night) * warm
    return {
        "night": night,
        "dusk": dusk,
        "day": (1.0 - night) * (1.0 - warm),
        "glare": rising(seen["saturated"], 0.04, 0.04),
        # At night the lamps make the range, and hide the veil.
        "fog": (1.0 - night) * rising(seen["veil"], 0.36, 0.12),
        "dirty_lens": rising(seen["dull_cells"], 0.12, 0.1),
    }
