"""Images whose data has more bytes for every pixel than their encoding says.

Drivers that write the encoding they were asked for, and hand on what they have: BGRA called bgr8.
Four bytes for each of three look like an image whose height is stale by a third; only the picture
tells, by the length of row at which what lies below each other is alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_KINDS = (2, 3, 4, 6, 8)  # bytes of a pixel
_ROWS, _BYTES = 32, 256  # looked at, and of each
# Photographs and pictures of the simulator, bright and dark: 0.02 to 0.20 where the data has more
# bytes a pixel, 0.6 and more where the height is stale.
_ALIKE = 0.35


def other_pixel_bytes(data: NDArray[np.uint8], size: tuple[int, int], told: int) -> int:
    """Return how many bytes a pixel has where the data is a picture of such pixels; 0: as told.

    Args:
        data: all bytes of the message, rows without a gap.
        size: width and height, px.
        told: bytes of a pixel, as the encoding says.
    """
    width, height = size
    held, rest = divmod(data.size, width * height)
    if rest or held <= told or held not in _KINDS or height < 2:
        return 0
    as_told = _unlikeness(data, width * told)
    return held if _unlikeness(data, width * held) < _ALIKE * as_told else 0


def _unlikeness(data: NDArray[np.uint8], row_bytes: int) -> float:
    """Return the mean square of the difference between bytes that lie below each other."""
    last = data.size - row_bytes
    length = min(_BYTES, last)
    starts = np.linspace(0, last - length, _ROWS).astype(np.intp)
    at = starts[:, None] + np.arange(length)
    apart = data[at + row_bytes].astype(np.float32) - data[at]
    return float(np.mean(apart * apart))
