"""Channels one after the other in a message, where they are said to come in turn.

Decoders of FFmpeg give planes, and whoever hands them on as they lie calls them interleaved. Read
so, each message holds its sound once for each channel, that many times too fast. Planes are
smoother than what is read in turn, and where one ends and the next begins the sound jumps back;
channels that are alike, or that hear a sound one after the other, have no such jump. Blocks decide,
as of the order of bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SMOOTHER = 0.95  # times one through the channels, which equal channels in turn have
_TELLING = 16  # blocks in a row
_LEAST = 64  # samples of a plane that tells
# Mean square of the jump between planes to that of a step inside, times the channels: in turn it is
# one at most, from the last of equal channels to the first.
_JUMP = 3.0
NOTE = "the channels come one after the other in each message, and are read so"


class Planes:
    """How the channels of one source lie in its messages."""

    def __init__(self) -> None:
        self._channels = 0
        self.are_planes = False
        self._begin()

    def see(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Look at a block, (N, C) as it is said to lie; return its channels, (N, C)."""
        length, channels = samples.shape
        if channels != self._channels:
            self._channels, self.are_planes = channels, False
            self._begin()
        if channels < 2:
            return samples
        planes = samples.reshape(channels, length)
        if not self.are_planes and length >= _LEAST:
            self._look(samples, planes)
        return np.ascontiguousarray(planes.T) if self.are_planes else samples

    def _look(self, samples: NDArray[np.float32], planes: NDArray[np.float32]) -> None:
        as_planes, in_turn = _step(planes), _step(samples.T)
        if not 0.0 < as_planes < _SMOOTHER / len(planes) * in_turn:
            self._begin()
            return
        self._in_a_row += 1
        self._steps += as_planes
        self._jumps += float(np.mean((planes[1:, 0] - planes[:-1, -1]).astype(np.float64) ** 2))
        if self._in_a_row >= _TELLING:
            self.are_planes = self._jumps > _JUMP * len(planes) * self._steps
            self._begin()

    def _begin(self) -> None:
        self._in_a_row, self._jumps, self._steps = 0, 0.0, 0.0


def _step(channels: NDArray[np.float32]) -> float:
    """Return the mean square of the step from sample to sample, of channels (C, N)."""
    return float(np.mean(np.diff(channels.astype(np.float64), axis=1) ** 2))
