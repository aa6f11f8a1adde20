"""Encodings this package does not cover, through cv_bridge where a ROS installation has it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError

try:
    from cv_bridge import CvBridge, CvBridgeError
except Exception as error:  # cv_bridge built for another NumPy raises more than ImportError
    CvBridge = None
    UNAVAILABLE = f"cv_bridge cannot be imported ({error})"
else:
    UNAVAILABLE = ""


def image_through_cv_bridge(message: Any) -> NDArray[np.uint8]:
    """Return a sensor_msgs/Image as BGR, (H, W, 3).

    Raises:
        InvalidFrameError: cv_bridge is not here, or does not know the encoding either.
    """
    if CvBridge is None:
        raise InvalidFrameError(UNAVAILABLE)
    try:
        bgr = CvBridge().imgmsg_to_cv2(message, desired_encoding="bgr8")
    except (CvBridgeError, RuntimeError, ValueError, TypeError) as error:
        raise InvalidFrameError(f"cv_bridge refuses it: {error}") from error
    return np.asarray(bgr, dtype=np.uint8)
