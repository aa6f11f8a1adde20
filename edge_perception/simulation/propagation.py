"""From a source to the microphones: distance, Doppler, delay and echoes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.sounds import SAMPLE_RATE_HZ

SPEED_OF_SOUND_MPS = 343.0
HEAD_S = 1.0  # sound already on its way when a recording starts
_STEP_S = 0.02  # paths are straight enough to be sampled this often
Path = Callable[[NDArray], NDArray]  # times (K,) in s -> positions (K, 3), base frame


def propagate(
    wave: NDArray[np.float32], path: Path, microphones_m: NDArray, start_s: float, count: int
) -> NDArray[np.float32]:
    """Return what each microphone hears of a moving source, (count, C).

    The sound heard at time t left the source at t - d(t) / c. That distance is taken at the time
    of hearing, which is exact for a source at rest and gives the Doppler shift to first order of
    its speed over that of sound.

    Args:
        wave: Source one metre away; its first sample leaves at ``start_s`` minus one second.
        path: Position of the source over time, base frame.
        microphones_m: (C, 3), base frame.
        start_s: Time of the first sample heard.
        count: Number of samples heard.
    """
    coarse = start_s + np.arange(0.0, count / SAMPLE_RATE_HZ + 2 * _STEP_S, _STEP_S)
    t = start_s + np.arange(count) / SAMPLE_RATE_HZ
    heard = np.empty((count, len(microphones_m)), np.float32)
    positions = path(coarse)
    for channel, microphone in enumerate(microphones_m):
        distance = np.interp(t, coarse, np.linalg.norm(positions - microphone, axis=1))
        place = (t - distance / SPEED_OF_SOUND_MPS - start_s + HEAD_S) * SAMPLE_RATE_HZ
        heard[:, channel] = _interpolate(wave, place) / np.maximum(distance, 1.0)
    return heard


def _interpolate(wave: NDArray[np.float32], place: NDArray) -> NDArray[np.float32]:
    """Return the wave between its samples by cubic interpolation (Catmull and Rom, 1974)."""
    index = np.clip(np.floor(place).astype(int), 1, len(wave) - 3)
    f = (place - index).astype(np.float32)
    a, b, c, d = (wave[index + k] for k in (-1, 0, 1, 2))
    return b + 0.5 * f * (c - a + f * (2 * a - 5 * b + 4 * c - d + f * (3 * (b - c) + d - a)))


def reverberate(
    dry: NDArray[np.float32], rng: np.random.Generator, *, wet: float, decay_s: float
) -> NDArray[np.float32]:
    """Add echoes from the street: sparse early ones and a decaying tail, another a channel."""
    count, channels = dry.shape
    length = int(3 * decay_s * SAMPLE_RATE_HZ)
    n = np.arange(length)
    early = np.zeros(length)
    early[rng.integers(120, min(1600, length), 6)] = rng.uniform(-0.6, 0.6, 6)
    size = 1 << (count + length - 1).bit_length()
    result = dry.copy()
    for channel in range(channels):
        tail = rng.standard_normal(length) * np.exp(-n / (decay_s * SAMPLE_RATE_HZ)) * 0.03
        tail[:80] = 0.0
        spectrum = np.fft.rfft(dry[:, channel], size) * np.fft.rfft(early + tail, size)
        result[:, channel] += wet * np.fft.irfft(spectrum, size)[:count].astype(np.float32)
    return result
