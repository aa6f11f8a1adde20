"""Streaming resampling of a mono signal from any rate to the model's."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

# Kaiser-windowed sinc: 32 zero crossings a side and beta 6.2 (65 dB, Kaiser 1974) leave a
# transition of about 1/16 of the lower Nyquist frequency on either side of it.
_ZERO_CROSSINGS = 32
_KAISER_BETA = 6.2
# Rates with a large common multiple (44,099 Hz) would need a bank of thousands of phases; rounding
# to 1/2048 of an input sample keeps the error below -70 dB.
_MAX_PHASES = 2048
_OUTPUTS_AT_ONCE = 2048  # bounds the memory of a long block


def to_mono(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of the channels: (N, C) to (N,)."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    return samples.mean(axis=1, dtype=np.float32)


class Resampler:
    """Changes the rate of a stream given in blocks of any length.

    The result does not depend on how the stream is cut into blocks. Output sample m belongs to the
    time of input sample m * input_rate / output_rate: the filter's delay is compensated, so the
    newest `delay_samples` inputs wait for their successors. Before the first sample the signal
    counts as zero.
    """

    def __init__(self, *, input_rate_hz: int, output_rate_hz: int) -> None:
        common = gcd(input_rate_hz, output_rate_hz)
        self._up = output_rate_hz // common
        self._down = input_rate_hz // common
        self._passes_through = self._up == self._down
        cutoff = min(1.0, self._up / self._down)  # relative to the input's Nyquist frequency
        self._half = ceil(_ZERO_CROSSINGS / cutoff)
        self._phases = min(self._up, _MAX_PHASES)
        self._bank = _filter_bank(self._phases, self._half, cutoff)
        self._pending = np.zeros(self._half - 1, dtype=np.float32)
        self._pending_start = 1 - self._half  # input index of the first pending sample
        self._next_output = 0

    @property
    def delay_samples(self) -> int:
        """Input samples that an output sample needs beyond its own time."""
        return 0 if self._passes_through else self._half

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take (N,) consecutive input samples, return the (K,) output samples that are complete."""
        if self._passes_through:
            return samples
        self._pending = np.concatenate([self._pending, samples])
        newest_center = self._pending_start + len(self._pending) - 1 - self._half
        end = max(((newest_center + 1) * self._up - 1) // self._down + 1, self._next_output)
        pieces = [
            self._outputs(first, min(first + _OUTPUTS_AT_ONCE, end))
            for first in range(self._next_output, end, _OUTPUTS_AT_ONCE)
        ]
        self._next_output = end
        self._forget()
        return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)

    def _outputs(self, first: int, end: int) -> NDArray[np.float32]:
        position = np.arange(first, end, dtype=np.int64) * self._down
        center, rest = np.divmod(position, self._up)
        phase = (rest * self._phases + self._up // 2) // self._up
        taps = sliding_window_view(self._pending, 2 * self._half)  # (_, 2 * half), no copy
        windows = taps[center - self._half + 1 - self._pending_start]
        return np.einsum("nt,nt->n", windows, self._bank[phase])

    def _forget(self) -> None:
        first_needed = self._next_output * self._down // self._up - self._half + 1
        unused = min(max(first_needed - self._pending_start, 0), len(self._pending))
        self._pending = self._pending[unused:].copy()
        self._pending_start += unused


@lru_cache(maxsize=4)
def _filter_bank(phases: int, half: int, cutoff: float) -> NDArray[np.float32]:
    """Return (phases + 1, 2 * half): the filter at every fractional position from 0 to 1."""
    offset = np.arange(1 - half, half + 1)[None, :] - np.arange(phases + 1)[:, None] / phases
    inside = np.clip(1.0 - (offset / half) ** 2, 0.0, None)
    bank = np.sinc(cutoff * offset) * np.i0(_KAISER_BETA * np.sqrt(inside))
    return (bank / bank.sum(axis=1, keepdims=True)).astype(np.float32)
