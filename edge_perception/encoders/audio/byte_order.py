"""Whole numbers in the other order of bytes than their format says.

Read in the wrong order sound is noise of full scale; read in the right one it is smooth, but where
it is noise itself. So it is decided by blocks that tell, and kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NOISE, _SOUND = 0.6, 0.5  # share of the variance between neighbours: of white noise 1, rain 0.4
_TELLING = 10  # blocks
_LEAST = 64  # samples of a block that tells
NOTE = "the samples are sound in the other order of bytes than their format says"


class ByteOrder:
    """Which order the samples of one source are in."""

    def __init__(self) -> None:
        self._format = ""
        self._in_a_row = 0
        self.is_other = False

    def see(self, name: str, stored: NDArray, channels: int) -> bool:
        """Look at a block; return whether it is in the other order than its format says.

        Args:
            name: of the format; another one starts anew.
            stored: samples of all channels in turn, in the order that the format says.
            channels: of the block.
        """
        if name != self._format:
            self._format, self._in_a_row, self.is_other = name, 0, False
        if self.is_other or stored.dtype.kind not in "iu" or stored.dtype.itemsize == 1:
            return self.is_other
        first = stored[::channels]
        if len(first) >= _LEAST:
            told = _roughness(first)
            other = _roughness(first.view(first.dtype.newbyteorder()))
            if told > _NOISE and other < _SOUND:
                self._in_a_row += 1
            elif told < _SOUND:
                self._in_a_row = 0
        self.is_other = self._in_a_row >= _TELLING
        return self.is_other


def _roughness(samples: NDArray) -> float:
    values = samples.astype(np.float64)
    variance = float(values.var())
    return 0.5 * float(np.mean(np.diff(values) ** 2)) / variance if variance > 0 else 0.0
