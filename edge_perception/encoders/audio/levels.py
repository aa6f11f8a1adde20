"""How loud each channel of a sound card is, from its blocks before they become mono."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import AudioBlock

FULL_SCALE = 0.999
ZERO = 1e-6  # -120 dB, below one step of 16 bit
QUIET = 5e-5  # -86 dB, one step of 16 bit to either side: what a muted input gives


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Levels of the newest block."""

    channel_peaks: tuple[float, ...]  # about the mean of the block, full scale 1.0
    clipped_share: float  # of all samples of the block
    zero_s: float  # for how long every channel kept one value, up to the block's end
    quiet_s: float = 0.0  # for how long no channel left its mean by more than `QUIET`
    block_s: float = 0.0
    # Power of the mean of all channels to the mean of their power: of equal ones 1, of N that have
    # nothing in common 1 / N, of two of which one is inverted 0.
    mono_share: float = 1.0


class LevelMeter:
    """Measures the blocks of one stream in order."""

    def __init__(self) -> None:
        self._zero_s = self._quiet_s = 0.0

    def measure(self, block: AudioBlock) -> Levels:
        """Return the levels of a block and remember how long it has been silent."""
        samples, rate_hz = block.samples, block.sample_rate_hz  # (N, C)
        length = len(samples)
        # A constant offset is no sound.
        moving_part = samples - samples.mean(axis=0)
        peaks = np.abs(moving_part).max(axis=0)
        moving = _last_move(samples) if peaks.max() > ZERO else -1
        self._zero_s = (length - 1 - moving) / rate_hz + (self._zero_s if moving < 0 else 0.0)
        self._quiet_s = self._quiet_s + length / rate_hz if peaks.max() < QUIET else 0.0
        clipped = np.count_nonzero(np.abs(samples) >= FULL_SCALE)
        return Levels(
            channel_peaks=tuple(map(float, peaks)),
            clipped_share=float(clipped) / samples.size,
            zero_s=self._zero_s,
            quiet_s=self._quiet_s,
            block_s=length / rate_hz,
            mono_share=_mono_share(moving_part) if peaks.max() > QUIET else 1.0,
        )


def _mono_share(samples: NDArray[np.float32]) -> float:
    """Return what is left of the power of channels, (N, C) without their means, in their mean."""
    if samples.shape[1] == 1:
        return 1.0
    power = float(np.mean(samples * samples))
    mono = samples.mean(axis=1)
    return float(np.mean(mono * mono)) / max(power, 1e-20)


def _last_move(samples: NDArray[np.float32]) -> int:
    """Return the last sample that is not as the newest, on any channel; -1: all are."""
    moved = np.flatnonzero((np.abs(samples - samples[-1]) > ZERO).any(axis=1))
    return int(moved[-1]) if len(moved) else -1
