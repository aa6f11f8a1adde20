"""Grey images that are the mosaic of a colour camera.

Drivers hand on what the sensor gives and call it mono8, and image_transport compresses it as grey
without saying so. In a mosaic the pixel beside has another colour and the next but one the same, so
that one is more alike: of real pictures by 1.2 to 9 times, of grey ones it is less alike (0.6 to
0.9).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROWS = 32  # looked at
_UNLIKE = 1.2  # in both directions
_LEAST = 16  # pixels of an edge
NOTE = (
    "the grey image has the pattern of a colour mosaic: let the driver say which (bayer_rggb8, …), "
    "or publish colours"
)


def is_mosaic(grey: NDArray[np.uint8]) -> bool:
    """Whether an image, (H, W), is a mosaic and not grey."""
    height, width = grey.shape
    if min(height, width) < _LEAST:
        return False
    rows = np.arange(0, height - 2, max(1, height // _ROWS))
    here, below, next_row = (grey[rows + k].astype(np.int16) for k in range(3))
    across = _mean(here[:, 1:], here[:, :-1]), _mean(here[:, 2:], here[:, :-2])
    down = _mean(below, here), _mean(next_row, here)
    return all(near > 1.0 and near > _UNLIKE * far for near, far in (across, down))


def _mean(a: NDArray[np.int16], b: NDArray[np.int16]) -> float:
    return float(np.abs(a - b).mean())
