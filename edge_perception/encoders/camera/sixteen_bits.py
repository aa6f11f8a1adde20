"""Images of 16 bits that use fewer, or are in the other order of bytes than they say.

Sensors of 10, 12 and 14 bits come in 16, at the lower end (most drivers) or at the upper one. Their
message does not say which; the largest value does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BITS = (8, 10, 12, 14, 16)
_STEP = 3  # every so many pixels and rows are looked at
_NOISE = 0.01  # share of the contrast that lies between neighbours; of white noise 1
_SMOOTHER = (
    5.0  # times; a picture read in the wrong order is rougher, as its low bytes are in front
)


class SixteenBits:
    """What the images of 16 bits of one source were so far.

    They use as many bits as the brightest of them needs. What decided whether they are stretched
    (`contrast.py`) holds as long as encoding and size do.
    """

    def __init__(self) -> None:
        self._bits = _BITS[0]
        self._kind: tuple[str, int, int] | None = None
        self.are_counts = False  # values were a narrow band far from black
        self.are_scenes = False  # and no noise

    def begin(self, encoding: str, size: tuple[int, int]) -> None:
        """Take what the next image says of itself; another one than before is judged anew.

        Args:
            encoding: or the format of a compressed image.
            size: width and height, px.
        """
        if self._kind != (encoding, *size):
            self._kind = (encoding, *size)
            self.are_counts = self.are_scenes = False

    def see(self, pixels: NDArray[np.uint16]) -> int:
        """Return the bits, with those of this image."""
        largest = int(pixels[::_STEP, ::_STEP].max())
        needed = next(bits for bits in _BITS if largest < 1 << bits)
        self._bits = max(self._bits, needed)
        return self._bits


def full_scale(
    pixels: NDArray[np.uint16], seen: SixteenBits, notes: list[str]
) -> NDArray[np.uint16]:
    """Return the pixels with their brightest bit in front; a copy where it was not."""
    bits = seen.see(pixels)
    if bits == _BITS[-1]:
        return pixels
    notes.append(f"images of 16 bits use {bits} of them, the lower ones")
    return np.left_shift(pixels, 16 - bits)


def native_order(pixels: NDArray[Any], notes: list[str]) -> NDArray[np.uint16]:
    """Return the pixels in this machine's order, after looking whether they say theirs rightly.

    Of a picture the right order is by far the smoother one: in the other one each step of 256 goes
    through the whole range. What is noise in both, or the same, is left as it says.

    Args:
        pixels: (rows, W, channels), uint16 of either order.
        notes: takes that the order is another one.
    """
    told = roughness(pixels)
    if told > _NOISE:
        swapped = pixels.view(pixels.dtype.newbyteorder())
        if _SMOOTHER * roughness(swapped) < told:
            notes.append("is_bigendian is wrong: the image is a picture in the other order")
            pixels = swapped
    if not (pixels.dtype.isnative and pixels.flags.aligned):  # an odd step splits values
        pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    return pixels


def roughness(pixels: NDArray[Any]) -> float:
    """Return which share of the variance lies between pixels two apart: of one Bayer colour.

    Args:
        pixels: (rows, W, channels), of which the first channel counts.
    """
    rows = max(1, pixels.shape[0] // 48)
    sample = pixels[::rows, :, 0].astype(np.float32)
    if sample.shape[1] < 8:
        return 0.0
    apart = sample[:, 2:] - sample[:, :-2]
    variance = float(sample.var())
    return 0.5 * float(np.mean(apart * apart)) / variance if variance > 0 else 0.0
