"""Image files of samples to pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError


def decoded(file: bytes | NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    """Return the pixels of an image file, (H, W, 3) BGR.

    Raises:
        ConfigurationError: it is no image, named by `where`.
    """
    data = np.frombuffer(file, np.uint8) if isinstance(file, bytes) else file
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if pixels is None:
        raise ConfigurationError(f"{where}: expected an image file, got {len(data)} other bytes")
    return np.asarray(pixels, np.uint8)
