"""Places of an image that stay dark while the scene moves past: dirt on the lens."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_LEAST_IMAGES = 40  # of a vehicle that moves
_LEAST_COLUMNS = 16
_SLOWEST = 0.02  # weight of a new image: about 50 of them are remembered
_FADES = 0.995  # what was brightest is forgotten after some 200 images
_DARKER = 0.65  # than most of the row: on average, and at its brightest
_CALMER = 0.7  # than most of the row
_EVERY = 5  # images between looks at the whole
_ROAD = 0.6  # of the height, from the top: there it begins


class ShadedPlaces:
    """Follows the brightness of sampled places of one camera.

    Mud holds light back: a place behind it stays darker than its row, and changes less, whatever
    passes there. What the scene has that is dark passes by, is bright now and then, or has texture
    that moves, as grass beside a pale road. Only the road is looked at: houses beside a bright sky
    are dark for long.
    """

    def __init__(self) -> None:
        none = np.zeros((0, 0), np.float32)
        self._mean = self._most = self._change = self._before = none
        self._images = 0
        self._share = float("nan")

    def add(self, luma: NDArray[np.uint8]) -> None:
        """Take the sampled places of an image of a vehicle that moves, (rows, columns)."""
        now = np.asarray(cv2.blur(luma.astype(np.float32), (3, 3)), np.float32)  # without the noise
        if now.shape != self._mean.shape:
            self._mean = self._most = self._before = now
            self._change = np.zeros_like(now)
            self._images, self._share = 0, float("nan")
        self._images += 1
        weight = max(_SLOWEST, 1.0 / self._images)
        self._mean = self._mean + (now - self._mean) * weight
        self._most = np.maximum(now, self._most * _FADES)
        self._change = self._change + (np.abs(now - self._before) - self._change) * weight
        self._before = now
        if self._images >= _LEAST_IMAGES and self._images % _EVERY == 0:
            dark = _below(self._mean, _DARKER) & _below(self._most, _DARKER)
            self._share = float((dark & _below(self._change, _CALMER)).mean())

    @property
    def share(self) -> float:
        """Share of the places of the road that stay dark; NaN until there are enough images."""
        return self._share if self._mean.shape[1] >= _LEAST_COLUMNS else float("nan")


def _below(values: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
    """Return which places of the road have less than this share of most of their row."""
    road = values[int(len(values) * _ROAD) :]
    at = road.shape[1] * 3 // 4
    most = np.partition(road, at, axis=1)[:, at : at + 1]
    return np.asarray(road < share * np.maximum(most, 1.0))
