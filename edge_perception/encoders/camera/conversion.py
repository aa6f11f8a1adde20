"""sensor_msgs Image and CompressedImage to an ImageFrame.

Reads attributes only, so that it works with messages of rclpy and of bag readers alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import ImageFrame
from edge_perception.encoders.camera.compressed import compressed_size, decode_compressed
from edge_perception.encoders.camera.cv_bridge_fallback import image_through_cv_bridge
from edge_perception.encoders.camera.encodings import ENCODINGS, decode_raw

MAX_EDGE = 16384  # px; larger than any camera, small enough to stay decodable
MAX_PIXELS = 2**26
# Deflate reaches 1032:1 (one grey pixel a byte), baseline JPEG far less: more is a bomb.
MAX_PIXELS_PER_BYTE = 2048


def image_from_msg(message: Any) -> ImageFrame:
    """Convert a message; the pixels are a view of its data where no conversion is needed.

    Args:
        message: sensor_msgs/Image or CompressedImage; `data` may be any buffer of bytes.

    Raises:
        InvalidFrameError: unknown encoding, wrong size or step, truncated or corrupt data.
    """
    data = _bytes(message.data)
    bgr = _raw(message, data) if hasattr(message, "encoding") else _compressed(message, data)
    stamp = message.header.stamp
    return ImageFrame(
        stamp_ns=stamp.sec * 1_000_000_000 + stamp.nanosec,
        frame_id=message.header.frame_id,
        bgr=bgr,
    )


def _raw(message: Any, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    width, height = int(message.width), int(message.height)
    _check_size(width, height)
    encoding = ENCODINGS.get(message.encoding)
    if encoding is not None:
        try:
            return decode_raw(
                encoding, data, (width, height), int(message.step), bool(message.is_bigendian)
            )
        except InvalidFrameError as error:
            raise InvalidFrameError(f"{message.encoding} image: {error}") from error
    try:
        return image_through_cv_bridge(message)
    except InvalidFrameError as error:
        raise InvalidFrameError(
            f"image: unknown encoding '{message.encoding}'; known: {', '.join(sorted(ENCODINGS))}; "
            f"{error}"
        ) from error


def _compressed(message: Any, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Decode JPEG or PNG.

    The format of image_transport is "ENCODING; jpeg compressed ORDER". Where ORDER is rgb8, the
    publisher compressed red as if it were blue, and the colours are swapped back here.
    """
    text = str(message.format)
    if "compressedDepth" in text:
        raise InvalidFrameError(f"compressed image: expected a picture, got depth ('{text}')")
    try:
        size = compressed_size(data)
        _check_size(*size)
        if size[0] * size[1] > MAX_PIXELS_PER_BYTE * len(data):
            raise InvalidFrameError(
                f"{size[0]} x {size[1]} px expect at least "
                f"{size[0] * size[1] // MAX_PIXELS_PER_BYTE} bytes, got {len(data)}"
            )
        bgr = decode_compressed(data)
    except InvalidFrameError as error:
        raise InvalidFrameError(f"compressed image (format '{text}'): {error}") from error
    if bgr.shape != (size[1], size[0], 3):
        raise InvalidFrameError(
            f"compressed image: header says {size[0]} x {size[1]}, decoder gave {bgr.shape}"
        )
    return np.ascontiguousarray(bgr[..., ::-1]) if "compressed rgb" in text else bgr


def _check_size(width: int, height: int) -> None:
    if not (1 <= width <= MAX_EDGE and 1 <= height <= MAX_EDGE and width * height <= MAX_PIXELS):
        raise InvalidFrameError(
            f"image size: expected 1 x 1 to {MAX_EDGE} px an edge and at most {MAX_PIXELS} px, "
            f"got {width} x {height}"
        )


def _bytes(data: Any) -> NDArray[np.uint8]:
    """View any buffer as bytes."""
    try:
        return np.frombuffer(data, dtype=np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise InvalidFrameError(
            f"data: expected a contiguous buffer of bytes, got {type(data).__name__}"
        ) from error
