"""sensor_msgs Image and CompressedImage to an ImageFrame.

Reads attributes only, so that it works with messages of rclpy and of bag readers alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import ImageFrame
from edge_perception.encoders.camera.compressed import (
    CompressedFile,
    compressed_file,
    decode_compressed,
    decode_one_channel,
)
from edge_perception.encoders.camera.contrast import stretched
from edge_perception.encoders.camera.cv_bridge_fallback import image_through_cv_bridge
from edge_perception.encoders.camera.encodings import (
    ENCODINGS,
    decode_raw,
    is_depth,
    known_encoding,
    to_bgr,
)
from edge_perception.encoders.camera.mosaic import NOTE, is_mosaic
from edge_perception.encoders.camera.sixteen_bits import SixteenBits, full_scale

MAX_EDGE = 16384  # px; larger than any camera, small enough to stay decodable
MAX_PIXELS = 2**26
# Deflate reaches 1032:1 (one grey pixel a byte), baseline JPEG far less: more is a bomb.
MAX_PIXELS_PER_BYTE = 2048


def image_from_msg(message: Any, *, bits: SixteenBits | None = None) -> ImageFrame:
    """Convert a message; the pixels are a view of its data where no conversion is needed.

    Args:
        message: sensor_msgs/Image or CompressedImage; `data` may be any buffer of bytes.
        bits: what the source's images of 16 bits were before; None: not known.

    Raises:
        InvalidFrameError: unknown encoding, wrong size or step, truncated or corrupt data.
    """
    data, notes = _bytes(message.data), list[str]()
    bits = bits or SixteenBits()
    if hasattr(message, "encoding"):
        bgr = _raw(message, data, bits, notes)
    else:
        bgr = _compressed(message, data, bits, notes)
    stamp = message.header.stamp
    return ImageFrame(
        stamp_ns=stamp.sec * 1_000_000_000 + stamp.nanosec,
        frame_id=message.header.frame_id,
        bgr=bgr,
        notes=tuple(notes),
    )


def _raw(
    message: Any, data: NDArray[np.uint8], bits: SixteenBits, notes: list[str]
) -> NDArray[np.uint8]:
    size = (int(message.width), int(message.height))
    _check_size(*size)
    known = known_encoding(message.encoding, notes)
    if not known:
        return _unknown(message)
    encoding = ENCODINGS[known]
    bits.begin(message.encoding, size)
    big_endian = bool(message.is_bigendian)
    try:
        bgr = decode_raw(
            encoding, data, size, int(message.step), big_endian, bits=bits, notes=notes
        )
    except InvalidFrameError as error:
        raise InvalidFrameError(f"{message.encoding} image: {error}") from error
    if encoding.is_grey and is_mosaic(bgr[..., 0]):
        notes.append(NOTE)
    return bgr


def _unknown(message: Any) -> NDArray[np.uint8]:
    if is_depth(message.encoding):
        raise InvalidFrameError(
            f"{message.encoding} image: expected a picture, got depth (a thermal camera? let it "
            "publish mono16)"
        )
    try:
        return image_through_cv_bridge(message)
    except InvalidFrameError as error:
        raise InvalidFrameError(
            f"image: unknown encoding '{message.encoding}'; known: {', '.join(sorted(ENCODINGS))}; "
            f"{error}"
        ) from error


def _compressed(
    message: Any, data: NDArray[np.uint8], bits: SixteenBits, notes: list[str]
) -> NDArray[np.uint8]:
    """Decode JPEG or PNG.

    The format of image_transport is "ENCODING; jpeg compressed ORDER". Where ORDER is rgb8, the
    publisher compressed red as if it were blue, and the colours are swapped back here. A mosaic is
    compressed as if it were grey, and has one channel then.
    """
    text = str(message.format)
    of = text.partition(";")[0].strip()
    if "compresseddepth" in text.lower() or is_depth(of):
        raise InvalidFrameError(f"compressed image: expected a picture, got depth ('{text}')")
    try:
        file = compressed_file(data, notes)
        _check_size(*file.size)
        bits.begin(text, file.size)
        if file.size[0] * file.size[1] > MAX_PIXELS_PER_BYTE * len(data):
            raise InvalidFrameError(
                f"{file.size[0]} x {file.size[1]} px expect at least "
                f"{file.size[0] * file.size[1] // MAX_PIXELS_PER_BYTE} bytes, got {len(data)}"
            )
        one_plane = _one_plane(of, notes) if file.one_channel else ""
        if one_plane:
            return _one_channel(one_plane, file, bits, notes)
        if file.one_channel and file.bits == 16:
            raise InvalidFrameError(
                "one channel of 16 bits: depth or grey? expected a format like 'mono16; png'"
            )
        bgr = _eight_bits(decode_compressed(file), bits, notes)
        if file.one_channel and is_mosaic(bgr[..., 0]):
            notes.append(NOTE)
    except InvalidFrameError as error:
        raise InvalidFrameError(f"compressed image (format '{text}'): {error}") from error
    return np.ascontiguousarray(bgr[..., ::-1]) if "compressed rgb" in text.lower() else bgr


def _one_plane(of: str, notes: list[str]) -> str:
    """Return the encoding that a format begins with, where a pixel of it is one value."""
    said: list[str] = []
    known = known_encoding(of, said)
    if not known or not ENCODINGS[known].is_one_plane:
        return ""
    notes += said
    return known


def _eight_bits(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], bits: SixteenBits, notes: list[str]
) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint16:
        pixels = full_scale(np.asarray(pixels, np.uint16), bits, notes)
        return to_bgr(ENCODINGS["bgr16"], pixels)
    return np.asarray(pixels, np.uint8)


def _one_channel(
    of: str, file: CompressedFile, bits: SixteenBits, notes: list[str]
) -> NDArray[np.uint8]:
    """Return the picture of a grey image or a mosaic, by the encoding it had before."""
    pixels = decode_one_channel(file)
    kind = f"{of[:-2]}8" if of.endswith("16") else f"{of[:-1]}16"
    has_16 = ENCODINGS[of].item_bytes == 2
    if has_16 is not (file.bits == 16) and kind in ENCODINGS:
        of = kind
    if pixels.dtype == np.uint16:
        pixels = full_scale(np.asarray(pixels, np.uint16), bits, notes)
    one: NDArray = pixels[..., None]
    if ENCODINGS[of].may_be_counts:
        one = stretched(one, bits, notes)
    bgr = to_bgr(ENCODINGS[of], one)
    if ENCODINGS[of].is_grey and is_mosaic(bgr[..., 0]):
        notes.append(NOTE)
    return bgr


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
