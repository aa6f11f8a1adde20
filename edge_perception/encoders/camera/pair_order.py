"""Images of YUV 4:2:2 whose brightness lies where their encoding says colours.

Two pixels share their colours, so each four bytes hold two values of brightness, of neighbours and
thus alike, and two of colour, which differ. Drivers that write the encoding they were asked for,
and hand on what the camera gives, have the two exchanged (usb_cam, ros-drivers/usb_cam#263).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROWS, _PAIRS = 48, 96  # looked at, and pairs of pixels of a row
# Of 8 photographs, plain, grey, dark, small, noisy and green: brightness 0.04 to 0.08, colours 2.6
# and more.
_ALIKE, _UNLIKE = 0.3, 0.6
_FLAT = 1.0  # variance, grey values squared, below which values are the same but for rounding


def is_exchanged(pixels: NDArray[Any], brightness: int) -> bool:
    """Return whether brightness and colours are exchanged; noise and flat images: as told.

    Args:
        pixels: (rows, W, 2), uint8, W even.
        brightness: channel in which it is told to be.
    """
    rows = max(1, pixels.shape[0] // _ROWS)
    step = 2 * max(1, pixels.shape[1] // (2 * _PAIRS))
    first = pixels[::rows, 0::step].astype(np.float32)
    second = pixels[::rows, 1::step].astype(np.float32)
    told, other = (
        _difference(first[..., channel], second[..., channel])
        for channel in (brightness, 1 - brightness)
    )
    return other is not None and other < _ALIKE and (told is None or told > _UNLIKE)


def _difference(first: NDArray[np.float32], second: NDArray[np.float32]) -> float | None:
    """Return the mean square of the difference in parts of the variance; None: all are the same."""
    variance = 0.5 * float(first.var() + second.var())
    return float(np.mean((first - second) ** 2)) / variance if variance > _FLAT else None
