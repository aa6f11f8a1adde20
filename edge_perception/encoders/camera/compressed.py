"""JPEG and PNG images: the header is read before a byte is decoded.

The size in the header is checked first, so that a small message cannot ask for a huge image, and
the end marker too, because OpenCV fills what is missing of a truncated image with grey. What lies
behind the end is not of the picture: drivers copy whole buffers, with the rest of an earlier one.
What is lost within a JPEG (a packet of a camera's network) shows in the pixels only: the decoder
goes on with what is there, in other places, and fills the end with grey.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError
from edge_perception.encoders.camera.exif import APP1, turned_by_exif

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND"
_PNG_GREY = (0, 4)  # colour types without colours: grey, and grey with alpha
_JPEG_MAGIC = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA
# Start-of-frame markers C0 to CF, less DHT, JPG and DAC (ITU-T T.81, table B.1).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SEQUENTIAL = (0xC0, 0xC1)
_JPEG_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a segment
# Within compressed data a byte FF is followed by zero or a restart marker (T.81, B.1.1.5).
_JPEG_NEXT = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
# First bytes of what others put into CompressedImage, and what it is.
_OTHERS = (
    (b"RIFF", "a WebP picture"),
    (b"BM", "a BMP picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"GIF8", "a GIF picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x28\xb5\x2f\xfd", "data packed by zstd (zstd_image_transport)"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"/9j/", "a JPEG written as text (base64)"),
    (b"iVBORw0KGgo", "a PNG written as text (base64)"),
    (b"\x00\x00\x00\x01", "a packet of a video (H.264, H.265)"),
    (b"\x00\x00\x01", "a packet of a video (H.264, H.265)"),
)
_DEPTH_HEADER = 12  # bytes that compressed_depth_image_transport puts in front of its PNG
_FILL = 128  # what coefficients of zero are: of them libjpeg makes what is missing (jdhuff.c)
_FILLED_ROWS = 8  # of blocks
_MOST_ROWS = 17  # where colour has half the resolution, and the row that borrows of it
_CUT = 4  # bytes: fewer than half a row of blocks has
_TAIL = 64  # bytes at the end in which a file without a rest has its end marker


@dataclass(frozen=True, kw_only=True)
class CompressedFile:
    """What the header of a complete JPEG or PNG promises."""

    data: NDArray[np.uint8]  # from its magic to its end
    size: tuple[int, int]  # width and height, px
    one_channel: bool
    bits: int  # a channel
    sequential: bool = False  # a JPEG with one pass over its blocks, as cameras make them


def compressed_file(data: NDArray[np.uint8], notes: list[str]) -> CompressedFile:
    """Read the header of a JPEG or PNG and find its end.

    Args:
        data: of the message.
        notes: takes that something lies behind the end.

    Raises:
        InvalidFrameError: neither JPEG nor PNG, no readable header, or the data is truncated.
    """
    head = data[:8].tobytes()
    if head.startswith(_PNG_MAGIC):
        return _png(data, notes)
    if head.startswith(_JPEG_MAGIC):
        return _jpeg(data, notes)
    raise InvalidFrameError(f"expected JPEG or PNG data, got {_what(data)}")


def _what(data: NDArray[np.uint8]) -> str:
    head = data[: _DEPTH_HEADER + len(_PNG_MAGIC)].tobytes()
    if not head:
        return "none"
    if head[_DEPTH_HEADER:] == _PNG_MAGIC:
        return "depth (compressedDepth), no picture"
    known = next((what for magic, what in _OTHERS if head.startswith(magic)), None)
    first = f"first bytes '{head[:8].hex(' ')}'"
    return f"{known}: {first}" if known else first


def decode_compressed(file: CompressedFile) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the pixels as the file orders them, (H, W, 3), 8 or 16 bits as it has.

    EXIF orientation is not followed, which `compressed_file` notes; transparency is left out.

    Raises:
        InvalidFrameError: the decoder refuses the data.
    """
    return _decoded(file, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, 3)


def decode_one_channel(file: CompressedFile) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the pixels of a file of one channel, (H, W), 8 or 16 bits as it has.

    Raises:
        InvalidFrameError: the decoder refuses the data.
    """
    return _decoded(file, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH, 1)


def _decoded(file: CompressedFile, mode: int, channels: int) -> NDArray:
    try:
        pixels = cv2.imdecode(file.data, mode | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise InvalidFrameError(f"compressed image cannot be decoded: {error}") from error
    if pixels is None:
        raise InvalidFrameError(
            f"compressed image of {file.data.size} bytes cannot be decoded: corrupt"
        )
    width, height = file.size
    if pixels.shape != ((height, width, 3) if channels == 3 else (height, width)):
        raise InvalidFrameError(
            f"compressed image: header says {width} x {height}, decoder gave {pixels.shape}"
        )
    if file.sequential and _ends_in_fill(pixels) and _ended_before(file, mode, pixels):
        raise InvalidFrameError(
            "JPEG: a part is lost within, so what follows is in other places, and its end is the "
            "decoder's grey"
        )
    return np.asarray(pixels)


def _ends_in_fill(pixels: NDArray) -> bool:
    """Whether half of the last row of blocks or more is what a decoder makes of nothing.

    A picture that is such a grey all over has lost nothing.
    """
    end = pixels[-_FILLED_ROWS:, pixels.shape[1] // 2 :]
    return len(pixels) > _FILLED_ROWS and bool((end == _FILL).all() and (pixels != _FILL).any())


def _ended_before(file: CompressedFile, mode: int, pixels: NDArray) -> bool:
    """Whether the last bytes belong to blocks before the grey ones at the end.

    A picture may end in such a grey: a road, coarsely quantised. Then the last bytes are of it, and
    without them nothing changes before.
    """
    shorter = np.append(file.data[: -_CUT - len(_JPEG_END)], np.frombuffer(_JPEG_END, np.uint8))
    again = cv2.imdecode(shorter, mode | cv2.IMREAD_IGNORE_ORIENTATION)
    if again is None:
        return True
    changed = again != pixels
    changed[-_MOST_ROWS:, pixels.shape[1] // 2 :] = False
    return bool(changed.any())


def _png(data: NDArray[np.uint8], notes: list[str]) -> CompressedFile:
    head = data[:29].tobytes()
    if len(head) < 29 or head[12:16] != b"IHDR":
        raise InvalidFrameError("PNG: expected a header with the size, got truncated data")
    end = _png_end(data)
    if end < data.size:
        notes.append(_rest("PNG"))
    width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
    return CompressedFile(
        data=data[:end], size=(width, height), one_channel=colour in _PNG_GREY, bits=bits
    )


def _png_end(data: NDArray[np.uint8]) -> int:
    """Return where the last chunk ends.

    A chunk is length, type, content and checksum (PNG specification, 5.3). One longer than the data
    is refused: the decoder would make room for all of it, up to 2 GB.
    """
    view, at = data.data, len(_PNG_MAGIC)
    while at + 12 <= len(view):
        length = struct.unpack(">I", view[at : at + 4])[0]
        if at + 12 + length > len(view):
            raise InvalidFrameError(
                f"PNG: truncated, or a chunk at byte {at} reaches beyond the {data.size} bytes"
            )
        kind = view[at + 4 : at + 8]
        at += 12 + length
        if kind == _PNG_END:
            return at
    raise InvalidFrameError(f"PNG: truncated, no end after {data.size} bytes")


def _jpeg(data: NDArray[np.uint8], notes: list[str]) -> CompressedFile:
    """Walk the segments to the frame header, which holds precision, height, width and channels."""
    view, at = data.data, 2
    while at + 10 <= len(view):
        if view[at] != 0xFF:
            break
        marker = view[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _JPEG_ALONE:
            at += 2
        elif marker in _JPEG_FRAMES:
            bits, height, width, channels = struct.unpack(">BHHB", view[at + 4 : at + 10])
            return CompressedFile(
                data=data[: _jpeg_end(data, at, notes)],
                size=(width, height),
                one_channel=channels == 1,
                bits=bits,
                sequential=marker in _JPEG_SEQUENTIAL,
            )
        else:
            length = struct.unpack(">H", view[at + 2 : at + 4])[0]
            turned = turned_by_exif(bytes(view[at + 4 : at + 2 + length])) if marker == APP1 else ""
            if turned:
                notes.append(
                    f"JPEG: EXIF wants it shown {turned}: it is read as it lies, and camera_info "
                    "and pose have to be of that"
                )
            at += 2 + length
    _jpeg_end(data, len(view), notes)
    raise InvalidFrameError("JPEG: expected a frame header with the size, got none")


def _jpeg_end(data: NDArray[np.uint8], at: int, notes: list[str]) -> int:
    """Return where the picture ends: at the end marker, which stands at the end mostly.

    Args:
        data: from the magic on.
        at: of a segment before the first scan.
        notes: takes that something lies behind the end.
    """
    if _JPEG_END in data[-_TAIL:].tobytes():
        return data.size
    view = data.data
    while at + 4 <= len(view):
        marker = view[at + 1]
        if marker == _JPEG_END[1]:
            # Cameras with buffers of a fixed size pad with zeros.
            if data[at + 2 :].any():
                notes.append(_rest("JPEG"))
            return at + 2
        at += 2 + struct.unpack(">H", view[at + 2 : at + 4])[0]
        if marker == _JPEG_SCAN:
            found = _JPEG_NEXT.search(view, at)
            at = len(view) if found is None else found.start()
    raise InvalidFrameError(f"JPEG: truncated, no end after {data.size} bytes")


def _rest(kind: str) -> str:
    return f"{kind}: what lies behind its end is left out"
