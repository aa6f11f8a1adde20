"""JPEG and PNG images: the header is read before a byte is decoded.

The size in the header is checked first, so that a small message cannot ask for a huge image, and
the end marker too, because OpenCV fills what is missing of a truncated image with grey.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND"
_JPEG_MAGIC = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
# Start-of-frame markers C0 to CF, less DHT, JPG and DAC (ITU-T T.81, table B.1).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a segment
_TAIL = 64  # bytes at the end in which a complete file has its end marker


def compressed_size(data: NDArray[np.uint8]) -> tuple[int, int]:
    """Return width and height that a JPEG or PNG header promises.

    Raises:
        InvalidFrameError: neither JPEG nor PNG, no readable header, or the data is truncated.
    """
    head = data[:24].tobytes()
    tail = data[-_TAIL:].tobytes()
    if head.startswith(_PNG_MAGIC):
        if len(head) < 24 or head[12:16] != b"IHDR":
            raise InvalidFrameError("PNG: expected a header with the size, got truncated data")
        if _PNG_END not in tail:
            raise InvalidFrameError(f"PNG: truncated, no end after {data.size} bytes")
        _check_png_chunks(data)
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    if head.startswith(_JPEG_MAGIC):
        # Cameras with buffers of a fixed size pad with zeros.
        if _JPEG_END not in tail and not _strip_padding(data).endswith(_JPEG_END):
            raise InvalidFrameError(f"JPEG: truncated, no end after {data.size} bytes")
        return _jpeg_size(data)
    raise InvalidFrameError(f"expected JPEG or PNG data, got first bytes '{head[:8].hex(' ')}'")


def decode_compressed(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the pixels as the file orders them, (H, W, 3), 8 bits; EXIF orientation is ignored.

    Raises:
        InvalidFrameError: the decoder refuses the data.
    """
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise InvalidFrameError(f"compressed image cannot be decoded: {error}") from error
    if bgr is None:
        raise InvalidFrameError(f"compressed image of {data.size} bytes cannot be decoded: corrupt")
    return np.asarray(bgr, dtype=np.uint8)


def _check_png_chunks(data: NDArray[np.uint8]) -> None:
    """Refuse a chunk longer than the data: the decoder would make room for all of it, up to 2 GB.

    A chunk is length, type, content and checksum (PNG specification, 5.3).
    """
    view, at = data.data, len(_PNG_MAGIC)
    while at + 12 <= len(view):
        length = struct.unpack(">I", view[at : at + 4])[0]
        if at + 12 + length > len(view):
            break
        if view[at + 4 : at + 8] == _PNG_END:
            return
        at += 12 + length
    raise InvalidFrameError(f"PNG: a chunk at byte {at} reaches beyond the {data.size} bytes")


def _strip_padding(data: NDArray[np.uint8]) -> bytes:
    filled = np.flatnonzero(data)
    end = int(filled[-1]) + 1 if filled.size else 0
    return data[max(end - 2, 0) : end].tobytes()


def _jpeg_size(data: NDArray[np.uint8]) -> tuple[int, int]:
    """Walk the segments to the frame header, which holds precision, height and width."""
    view, at = data.data, 2
    while at + 9 <= len(view):
        if view[at] != 0xFF:
            break
        marker = view[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _JPEG_ALONE:
            at += 2
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", view[at + 5 : at + 9])
            return width, height
        else:
            at += 2 + struct.unpack(">H", view[at + 2 : at + 4])[0]
    raise InvalidFrameError("JPEG: expected a frame header with the size, got none")
