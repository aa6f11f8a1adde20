"""How loud each channel of a sound card is, from its blocks before they become mono."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_perception.core.types import AudioBlock

FULL_SCALE = 0.999
ZERO = 1e-6  # -120 dB, below one step of 16 bit


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Levels of the newest block."""

    channel_peaks: tuple[float, ...]  # full scale 1.0
    clipped_share: float  # of all samples of the block
    zero_s: float  # for how long there were only zeros on every channel, up to the block's end


class LevelMeter:
    """Measures the blocks of one stream in order."""

    def __init__(self) -> None:
        self._zero_s = 0.0

    def measure(self, block: AudioBlock) -> Levels:
        """Return the levels of a block and remember how long it has been silent."""
        magnitude = np.abs(block.samples)  # (N, C)
        peaks = magnitude.max(axis=0)
        loud = np.flatnonzero(magnitude.max(axis=1) > ZERO) if peaks.max() > ZERO else []
        length = len(magnitude)
        if len(loud):
            self._zero_s = (length - 1 - int(loud[-1])) / block.sample_rate_hz
        else:
            self._zero_s += length / block.sample_rate_hz
        return Levels(
            channel_peaks=tuple(map(float, peaks)),
            clipped_share=float(np.count_nonzero(magnitude >= FULL_SCALE)) / magnitude.size,
            zero_s=self._zero_s,
        )
