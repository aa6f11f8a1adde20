"""What-if of a replay: the same image from a foggy or noisy camera."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from edge_perception.encoders.camera.conversion import image_from_msg
from edge_perception.encoders.weather import FOG_BETA

_FOG_DEPTH_M = 25.0  # an image has no depth: one for the whole scene
_FOG_GREY = 200.0
_JPEG_QUALITY = 95


def in_fog_with_noise(message: Any, fog: float, noise: float, rng: np.random.Generator) -> Any:
    """Return an image with fog before it and noise in it, noise in grey values."""
    compressed = hasattr(message, "format")
    frame = image_from_msg(message)
    picture = frame.bgr.astype(np.float32)
    if fog:
        seen = float(np.exp(-FOG_BETA * fog * _FOG_DEPTH_M))
        picture = picture * seen + _FOG_GREY * (1.0 - seen)
    if noise:
        picture += noise * rng.standard_normal(picture.shape, np.float32)
    bgr = np.clip(picture, 0, 255).astype(np.uint8)
    if compressed:
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        return replace(message, format="jpeg", data=np.asarray(data).reshape(-1))
    return replace(
        message,
        encoding="bgr8",
        is_bigendian=0,
        step=bgr.shape[1] * 3,
        data=np.ascontiguousarray(bgr).reshape(-1),
    )
