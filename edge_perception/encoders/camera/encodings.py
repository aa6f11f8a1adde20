"""Raw image encodings: how the bytes of a sensor_msgs/Image become BGR.

Names are those of sensor_msgs/image_encodings. YUV is BT.601 limited range, as in OpenCV and
cv_bridge. 16-bit values are scaled by what they use of 65535 (`sixteen_bits.py`). The generic types
8UC1, 8UC3, 8UC4, 16UC3 and 16UC4 are taken in OpenCV's order (grey, BGR, BGRA). 16UC1 and float
types are depth, not pictures, and unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError
from edge_perception.encoders.camera.contrast import stretched
from edge_perception.encoders.camera.pair_order import is_exchanged
from edge_perception.encoders.camera.pixel_bytes import other_pixel_bytes
from edge_perception.encoders.camera.sixteen_bits import (
    SixteenBits,
    full_scale,
    native_order,
)

_PLANE_ROWS = (8, 16, 32, 64)  # of which codecs make planes a multiple
_MOST_PADDING = 256  # bytes of a row; more of it, as much for each pixel, is of the pixels

Plane: TypeAlias = NDArray[Any]  # uint8 or uint16

# BT.601 limited range: rows B, G, R of (Y, U, V, 1).
_BGR_FROM_YUV = np.array(
    [
        [1.164383, 2.017232, 0.0, -276.8356],
        [1.164383, -0.391762, -0.812968, 135.5753],
        [1.164383, 0.0, 1.596027, -222.9216],
    ]
)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Memory layout of one encoding and how it becomes BGR."""

    channels: int  # items a pixel in a row
    to_bgr: Callable[[Plane], Plane]  # of shape (rows, W, channels), 8 or 16 bit
    item_bytes: int = 1
    rows: tuple[int, int] = (1, 1)  # rows in memory per image row, numerator and denominator
    width_multiple: int = 1
    height_multiple: int = 1
    exchanged: str = ""  # the encoding with brightness and colours the other way round
    packed: bool = False  # rows follow one another without padding, as planes of half the width do

    @property
    def is_grey(self) -> bool:
        """Whether a value is the brightness of a pixel."""
        return self.to_bgr is _grey

    @property
    def may_be_counts(self) -> bool:
        """Whether a value may be something else than brightness: grey of 16 bits."""
        return self.is_grey and self.item_bytes == 2

    @property
    def is_one_plane(self) -> bool:
        """Whether a pixel is one value: grey, or one colour of a mosaic."""
        return self.channels == 1 and self.rows == (1, 1)


# GenICam's colours of the first two pixels, which some drivers hand on: BayerRG8.
_MOSAICS = {"rg": "rggb", "gb": "gbrg", "gr": "grbg", "bg": "bggr"}


def known_encoding(name: str, notes: list[str]) -> str:
    """Return the key in `ENCODINGS` of a name, also in capitals or as others call it; empty: none.

    Args:
        name: of the message.
        notes: takes that it is written otherwise than sensor_msgs/image_encodings does.
    """
    if name in ENCODINGS:
        return name
    known = _OTHER_NAMES.get(name.strip().lower(), "")
    if known:
        notes.append(f"encoding '{name}' is read as {known}")
    return known


def is_depth(name: str) -> bool:
    """Whether an encoding is of distances, not of brightness."""
    return name.strip().upper() in _DEPTH


def decode_raw(
    encoding: Encoding,
    data: NDArray[np.uint8],
    size: tuple[int, int],
    step: int,
    big_endian: bool,
    *,
    bits: SixteenBits | None = None,
    notes: list[str] | None = None,
) -> NDArray[np.uint8]:
    """Return BGR, (H, W, 3); a view of `data` where no conversion is needed.

    Args:
        encoding: how to read the bytes.
        data: all bytes of the message, one dimension.
        size: width and height of the image, px.
        step: bytes from one row to the next.
        big_endian: byte order of 16-bit values.
        bits: what the source's images of 16 bits were before; None: not known.
        notes: takes what was read otherwise than the arguments say.

    Raises:
        InvalidFrameError: size, step and length of the data do not fit the encoding.
    """
    notes = [] if notes is None else notes
    width, height = size
    _check_multiple("width", width, encoding.width_multiple)
    _check_multiple("height", height, encoding.height_multiple)
    rows = height * encoding.rows[0] // encoding.rows[1]
    step = _row_step(encoding, (width, rows), step, data.size, notes)
    if encoding.packed and step != width:
        raise InvalidFrameError(
            f"step: planes of half the width expect rows without padding, {width} bytes, got {step}"
        )
    if data.size >= step * rows + width * encoding.channels * encoding.item_bytes:
        _check_pixel_bytes(encoding, data, size)
        data = _without_rest(encoding, data, height, step, notes)
    dtype = np.dtype("u1" if encoding.item_bytes == 1 else ">u2" if big_endian else "<u2")
    pixels: NDArray = np.ndarray(
        (rows, width, encoding.channels),
        dtype,
        data,
        strides=(step, encoding.channels * dtype.itemsize, dtype.itemsize),
    )
    if dtype.itemsize == 2:
        bits = bits or SixteenBits()
        pixels = full_scale(native_order(pixels, notes), bits, notes)
        if encoding.may_be_counts:
            pixels = stretched(pixels, bits, notes)
    return to_bgr(_in_pairs(encoding, pixels, notes), pixels)


def _in_pairs(encoding: Encoding, pixels: Plane, notes: list[str]) -> Encoding:
    """Return the encoding in whose order of brightness and colours the image is a picture."""
    if not encoding.exchanged or not is_exchanged(pixels, 0 if encoding is _YUYV else 1):
        return encoding
    notes.append(
        "the encoding is wrong: brightness lies where it says colours, read as "
        f"{encoding.exchanged}"
    )
    return ENCODINGS[encoding.exchanged]


def to_bgr(encoding: Encoding, pixels: Plane) -> NDArray[np.uint8]:
    """Return pixels, (rows, W, channels), as BGR of 8 bits, (H, W, 3).

    Raises:
        InvalidFrameError: the conversion takes no image of this size.
    """
    try:
        bgr = encoding.to_bgr(pixels)
    except cv2.error as error:
        rows, width = pixels.shape[:2]
        raise InvalidFrameError(
            f"image of {rows} rows of {width} px cannot be converted: {error}"
        ) from error
    return bgr if bgr.dtype == np.uint8 else _eight_bit(bgr)


def _row_step(
    encoding: Encoding, size: tuple[int, int], step: int, available: int, notes: list[str]
) -> int:
    """Return the bytes from one row to the next.

    A step that is no row's length tells nothing: where the rows fill the data without a gap they
    are read so (drivers that convert keep the step of what they converted). But a step of one
    value a pixel may be that of planes, one behind the other; and one of several bytes more for
    each pixel, all of them there, says that the encoding is another one.

    Args:
        encoding: of the rows.
        size: pixels of a row, and rows in memory.
        step: what the message says.
        available: bytes of data.
        notes: takes that the message is wrong.
    """
    width, rows = size
    row_bytes = width * encoding.channels * encoding.item_bytes
    if step - row_bytes > _MOST_PADDING and step % width == 0 and step * rows == available:
        raise InvalidFrameError(
            f"step: expected {row_bytes} bytes a row, {row_bytes // width} a pixel, got {step}, "
            f"{step // width} a pixel, which the data has: another encoding, or a part of a wider "
            "image?"
        )
    # Some drivers leave out the last row's padding.
    if step >= row_bytes and step * (rows - 1) + row_bytes <= available:
        return step
    if available < row_bytes * rows:
        raise InvalidFrameError(
            f"data: expected at least {row_bytes * rows} bytes for {width} x {rows}, "
            f"got {available}"
        )
    turned = rows != width and step == rows * encoding.channels * encoding.item_bytes
    planes = encoding.channels > 1 and step == width * encoding.item_bytes
    if planes or turned or available != row_bytes * rows:
        why = ": width and height swapped?" if turned else ""
        raise InvalidFrameError(
            f"step: expected at least {row_bytes} bytes a row, and {rows} rows in {available} "
            f"bytes of data, got {step}{why}"
        )
    notes.append("step is no length of a row: the rows fill the data without a gap")
    return row_bytes


def _check_pixel_bytes(encoding: Encoding, data: NDArray[np.uint8], size: tuple[int, int]) -> None:
    """Refuse data that is a picture of larger pixels than the encoding has.

    Raises:
        InvalidFrameError: it is.
    """
    told = encoding.channels * encoding.item_bytes
    held = other_pixel_bytes(data, size, told) if encoding.rows == (1, 1) else 0
    if held:
        raise InvalidFrameError(
            f"data: expected {told} bytes a pixel, got {held} a pixel, which make a picture: "
            "another encoding?"
        )


def _without_rest(
    encoding: Encoding, data: NDArray[np.uint8], height: int, step: int, notes: list[str]
) -> NDArray[np.uint8]:
    """Return the data without what lies behind the last row, or between the planes.

    Codecs make the planes of Y and of colours higher than the image, up to a multiple of some rows:
    the colours begin behind the rows that were added. What else has whole rows more than the image
    may have its colours anywhere.

    Raises:
        InvalidFrameError: the image has planes, and the data does not tell where the second is.
    """
    rows = height * encoding.rows[0] // encoding.rows[1]
    if encoding.rows == (1, 1) or data.size % step or not data[step * rows :].any():
        notes.append("the data behind the last row is left out: the height or the data is stale")
        return data[: step * rows]
    held = data.size // step
    higher = held * encoding.rows[1] // encoding.rows[0]
    if (
        encoding.packed
        or higher * encoding.rows[0] != held * encoding.rows[1]
        or higher not in {-(-height // multiple) * multiple for multiple in _PLANE_ROWS}
    ):
        raise InvalidFrameError(
            f"data: expected {rows} rows of {step} bytes in planes of {height} rows of Y and the "
            f"colours, got {held} rows"
        )
    notes.append(f"planes of {higher} rows for images of {height}: the rows added are left out")
    planes = data.reshape(held, step)
    return np.concatenate([planes[:height], planes[higher : higher + rows - height]]).reshape(-1)


def _check_multiple(what: str, value: int, multiple: int) -> None:
    if value % multiple:
        raise InvalidFrameError(f"{what}: expected a multiple of {multiple}, got {value}")


def _eight_bit(pixels: Plane) -> NDArray[np.uint8]:
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=255.0 / 65535.0), dtype=np.uint8)


def _convert(code: int) -> Callable[[Plane], Plane]:
    def to_bgr(pixels: Plane) -> Plane:
        return cv2.cvtColor(pixels, code)

    return to_bgr


def _plane(code: int) -> Callable[[Plane], Plane]:
    """Conversion of an encoding with one channel, or planes below each other."""

    def to_bgr(pixels: Plane) -> Plane:
        return cv2.cvtColor(pixels[..., 0], code)

    return to_bgr


def _same(pixels: Plane) -> Plane:
    return pixels


def _grey(pixels: Plane) -> Plane:
    grey = pixels[..., 0]
    if grey.dtype != np.uint8:  # before it is three times as large
        grey = _eight_bit(grey)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)


def _nv24(pixels: Plane) -> Plane:
    """A plane of Y, then one of U and V in turn at full resolution, its rows two steps long."""
    height, width = pixels.shape[0] // 3, pixels.shape[1]
    chroma = np.lib.stride_tricks.as_strided(
        pixels[height:], shape=(height, width, 2), strides=(2 * pixels.strides[0], 2, 1)
    )
    yuv = np.concatenate([pixels[:height], chroma], axis=2)
    return cv2.transform(yuv, _BGR_FROM_YUV)


def _bayer(order: str, bits: int) -> Encoding:
    code = getattr(cv2, f"COLOR_Bayer{order.upper()}2BGR")
    return Encoding(channels=1, item_bytes=bits // 8, to_bgr=_plane(code))


def _subsampled(code: int, *, packed: bool = False) -> Encoding:
    """A plane of Y, then U and V (or V and U) at half the resolution: in turn, or packed planes."""
    return Encoding(
        channels=1,
        to_bgr=_plane(code),
        rows=(3, 2),
        width_multiple=2,
        height_multiple=2,
        packed=packed,
    )


_UYVY = Encoding(
    channels=2,
    to_bgr=_convert(cv2.COLOR_YUV2BGR_UYVY),
    width_multiple=2,
    exchanged="yuyv",
)
_YUYV = Encoding(
    channels=2,
    to_bgr=_convert(cv2.COLOR_YUV2BGR_YUY2),
    width_multiple=2,
    exchanged="uyvy",
)
_GREY = Encoding(channels=1, to_bgr=_grey)
_BGR = Encoding(channels=3, to_bgr=_same)
_BGRA = Encoding(channels=4, to_bgr=_convert(cv2.COLOR_BGRA2BGR))
_BGR_16 = Encoding(channels=3, item_bytes=2, to_bgr=_same)
_BGRA_16 = Encoding(channels=4, item_bytes=2, to_bgr=_convert(cv2.COLOR_BGRA2BGR))

_DEPTH = frozenset(("16UC1", "32FC1", "64FC1", "16SC1"))

ENCODINGS: dict[str, Encoding] = {
    "bgr8": _BGR,
    "8UC3": _BGR,
    "rgb8": Encoding(channels=3, to_bgr=_convert(cv2.COLOR_RGB2BGR)),
    "bgra8": _BGRA,
    "8UC4": _BGRA,
    "rgba8": Encoding(channels=4, to_bgr=_convert(cv2.COLOR_RGBA2BGR)),
    "mono8": _GREY,
    "8UC1": _GREY,
    "mono16": Encoding(channels=1, item_bytes=2, to_bgr=_grey),
    "bgr16": _BGR_16,
    "16UC3": _BGR_16,
    "rgb16": Encoding(channels=3, item_bytes=2, to_bgr=_convert(cv2.COLOR_RGB2BGR)),
    "bgra16": _BGRA_16,
    "16UC4": _BGRA_16,
    "rgba16": Encoding(channels=4, item_bytes=2, to_bgr=_convert(cv2.COLOR_RGBA2BGR)),
    "uyvy": _UYVY,
    "yuv422": _UYVY,
    "yuyv": _YUYV,
    "yuv422_yuy2": _YUYV,
    "yvyu": Encoding(channels=2, to_bgr=_convert(cv2.COLOR_YUV2BGR_YVYU), width_multiple=2),
    "i420": _subsampled(cv2.COLOR_YUV2BGR_I420, packed=True),
    "yv12": _subsampled(cv2.COLOR_YUV2BGR_YV12, packed=True),
    "nv12": _subsampled(cv2.COLOR_YUV2BGR_NV12),
    "nv21": _subsampled(cv2.COLOR_YUV2BGR_NV21),
    "nv24": Encoding(channels=1, rows=(3, 1), to_bgr=_nv24),
    **{
        f"bayer_{order}{bits}": _bayer(order, bits)
        for order in ("rggb", "bggr", "gbrg", "grbg")
        for bits in (8, 16)
    },
}

# What V4L2, GStreamer, FFmpeg and GenICam call them. Where a name ends in 10, 12 or 14 each value
# has 16 bits; packed ones have another name.
_ALIASES = {
    "yuyv": ("yuy2", "yuyv422", "yuv422_8", "ycbcr422_8"),
    "uyvy": ("yuv422packed", "yuv422_8_uyvy", "uyvy422"),
    "i420": ("yu12", "iyuv", "yuv420", "yuv420p"),
    "rgb8": ("rgb24", "rgb3"),
    "bgr8": ("bgr24", "bgr3"),
    "mono8": ("gray8", "grey", "y8"),
    "mono16": ("gray16", "gray16_le", "y16", "mono10", "mono12", "mono14"),
}
_OTHER_NAMES = {
    **{name.lower(): name for name in ENCODINGS},
    **{alias: name for name, aliases in _ALIASES.items() for alias in aliases},
    **{
        f"bayer{start}{bits}": f"bayer_{order}{8 if bits == 8 else 16}"
        for start, order in _MOSAICS.items()
        for bits in (8, 10, 12, 14, 16)
    },
}
