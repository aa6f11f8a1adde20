"""A sketch of an image: mean brightness of 24 x 32 parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import ImageFrame
from edge_perception.encoders.likeness import LikenessSpec

ROWS, COLUMNS = 24, 32
_SAMPLES = 4  # a side of a part: the noise of a pixel is a quarter in the mean


def sketch(frame: ImageFrame) -> NDArray[np.float32]:
    """Return the mean of green of each part, (24, 32), grey values."""
    height, width = frame.bgr.shape[:2]
    rows = np.linspace(0, height - 1, ROWS * _SAMPLES).astype(np.intp)
    columns = np.linspace(0, width - 1, COLUMNS * _SAMPLES).astype(np.intp)
    grey = frame.bgr[rows[:, None], columns, 1].astype(np.float32)
    return grey.reshape(ROWS, _SAMPLES, COLUMNS, _SAMPLES).mean(axis=(1, 3))


LIKENESS = LikenessSpec(sketch=sketch, limit=6.0, unit="grey values")
