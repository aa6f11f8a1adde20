"""Grey images of 16 bits whose values are a narrow band far from black: of thermal cameras.

A thermal camera counts temperatures: of 14 bits a street uses 8,000 to 9,000. Read as brightness
that is an even grey in which no model finds anything. Cameras that show pictures bring the band to
the whole range themselves (automatic gain); so does this.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_perception.encoders.camera.sixteen_bits import SixteenBits, roughness

_STEP, _EDGE = 3, 192  # every so many pixels and rows are looked at, of large images so many
_PERCENT = (0.5, 99.5)
_BAND = 0.3  # of the brightest value; a picture by light has its black near zero, but in fog
_LEAST = 128.0  # of 65535, half a step of 8 bits: a narrower one is noise
_NOISE = 0.5  # share of the contrast between neighbours: a shutter that is closed, no scene

# Of a source that is stretched the limits are wider by this factor: at the limit it does not flip
# from frame to frame.
_HOLD = 1.25


def stretched(grey: NDArray[np.uint16], seen: SixteenBits, notes: list[str]) -> NDArray[np.uint16]:
    """Return an image over the whole range where its values are such a band.

    Args:
        grey: (H, W, 1), its brightest bit in front.
        seen: what was decided for the source's images before; takes what is for this one.
        notes: takes that it was stretched.
    """
    step = max(_STEP, min(grey.shape[:2]) // _EDGE)
    low, high = (float(v) for v in np.percentile(grey[::step, ::step], _PERCENT))
    band = high - low
    hold = _HOLD if seen.are_scenes else 1.0
    seen.are_scenes = band * hold >= _LEAST and roughness(grey) <= _NOISE * hold
    if seen.are_scenes:  # a shutter that is closed for a moment says nothing of the band
        seen.are_counts = band < _BAND * (_HOLD if seen.are_counts else 1.0) * high
    if not (seen.are_scenes and seen.are_counts):
        return grey
    notes.append(
        "values of 16 bits are a narrow band far from black, as temperatures are: stretched to the "
        "whole range"
    )
    wide = (grey.astype(np.float32) - np.float32(low)) * np.float32(65535.0 / band)
    return np.clip(wide, 0.0, 65535.0).astype(np.uint16)
