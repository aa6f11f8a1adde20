"""How well each part of a bird's-eye grid was measured by a sweep."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SEEN = "seen"  # tensor of a feature
_AROUND = 5  # cells along the side of the square whose returns count for the cell in its middle
_MOST = 64.0  # returns in a cell of the raster; more are not counted


def seen_cells(returns: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Return how much a sweep knows of each cell, (1, 1, H, W): returns around, squared, 0 to 1.

    Of two LiDARs the one that measured a place more densely then decides there. Squared, because
    the other one's returns are few and its network guesses: measured with two simulated LiDARs.

    Args:
        returns: in each cell of the raster, (rows, columns).
        shape: of the feature that it is to weigh, (1, C, H, W), on the same ground as the raster.

    Returns:
        None: the feature is no grid whose cells are made of whole cells of the raster.
    """
    if len(shape) != 4 or any(
        n == 0 or fine % n for fine, n in zip(returns.shape, shape[2:], strict=True)
    ):
        return None
    rows, columns = shape[2:]
    parts = returns.reshape(rows, returns.shape[0] // rows, columns, -1)
    # Plane by plane: NumPy takes a reduction over short axes cell by cell, ten times as long.
    cells = _sum(_sum(parts, 3), 1) / np.float32(parts.shape[1] * parts.shape[3])
    around = cv2.blur(cells, (_AROUND, _AROUND), borderType=cv2.BORDER_REPLICATE)
    return np.square(around / np.float32(_MOST))[None, None]


def _sum(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return the sums over a short axis, taken in its order."""
    first, *others = np.moveaxis(values, axis, 0)
    total: NDArray[np.float32] = first.copy()
    for plane in others:
        total += plane
    return total
