"""Where a sound comes from, by its delays between the microphones of an array.

Steered response power with phase transform (SRP-PHAT; J. DiBiase, A High-Accuracy, Low-Latency
Technique for Talker Localization in Reverberant Environments, 2000), over azimuth only: sources are
far away compared with the array and about level with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, median_filter

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import UNKNOWN

SPAN_S = 0.5  # of the newest samples that are looked at
LEAST_MICROPHONES, MOST_MICROPHONES = 3, 16  # every pair of them is steered
_SPEED_OF_SOUND_MPS = 343.0  # dry air of 20 degrees Celsius
_FRAME_S = 0.032
_BAND_HZ = (300.0, 4000.0)  # below it are engines and wind, above it little of a siren
_LEAST_AZIMUTHS, _MOST_AZIMUTHS = 72, 720
# A cell counts when its power is so many times the median of all, and this share of them always:
# of a sound as wide as noise few stand out, and few cells leave several directions open.
_LOUD, _LEAST_SHARE = 10.0, 0.05
# Tones (sirens, horns, vowels) stand out from the bins around them; engines and tyres do not.
_TONE, _AROUND_BINS = 10.0, 21
# How far the best azimuth stands above the mean of all, 1: every cell agrees. Simulated street
# noise stays below 0.1 in all of 41 windows, sirens at 0 dB are above 0.3 in 95 % of 62.
_LEAST_PROMINENCE = 0.3
MOST_SOUNDS = 3  # at once
_AGREES = 0.6  # of a cell with the azimuth of a sound: it is of that sound
_APART = math.radians(12.0)  # of two sounds
_LEAST_CELLS = 0.15  # of all that tell: of fewer nothing is told
_HELD_S = 0.24  # after which a tone is looked for again: a wail has moved on by then
_LEAST_HELD_CELLS = 10  # that can be looked for
_MOST_FLAT = 0.1  # width of an array by its length, below which it counts as a line


def check_array(positions_m: NDArray[np.float64]) -> None:
    """Refuse an array that cannot tell all directions apart.

    Args:
        positions_m: (C, 3), any frame whose z axis is about vertical.

    Raises:
        ConfigurationError: fewer than three microphones, more than sixteen, or they lie on a line
            seen from above.
    """
    if len(positions_m) > MOST_MICROPHONES:
        raise ConfigurationError(
            f"microphone_positions: expected at most {MOST_MICROPHONES} microphones, "
            f"got {len(positions_m)}"
        )
    if len(positions_m) < LEAST_MICROPHONES:
        raise ConfigurationError(
            f"microphone_positions: expected at least {LEAST_MICROPHONES} microphones, "
            f"got {len(positions_m)}: two cannot tell left from right of their axis"
        )
    flat = positions_m[:, :2] - positions_m[:, :2].mean(axis=0)
    length, width = np.linalg.svd(flat, compute_uv=False)[:2]
    if length == 0.0 or width < _MOST_FLAT * length:
        raise ConfigurationError(
            "microphone_positions: expected microphones that are not on a line seen from above, "
            f"got {positions_m.tolist()}"
        )


@dataclass(frozen=True, kw_only=True)
class LocatedSound:
    """A sound with a direction."""

    azimuth_rad: float  # about +z, 0 along +x, -pi to pi
    # Share of its tones that are still there a quarter of a second later: near 1 of what holds its
    # pitch, little of what wails. NaN: it is too short.
    held: float


class DirectionFinder:
    """Azimuth of the sound that dominates. One thread uses it."""

    def __init__(self, positions_m: NDArray[np.float64], rate_hz: int) -> None:
        """Steer the array.

        Args:
            positions_m: (C, 3), one microphone a channel, axes of the base frame.
            rate_hz: of the samples.

        Raises:
            ConfigurationError: as `check_array`.
        """
        check_array(positions_m)
        self._rate_hz = rate_hz
        self._size = scipy.fft.next_fast_len(round(_FRAME_S * rate_hz), real=True)
        self._window = np.hanning(self._size).astype(np.float32)
        frequency_hz = np.fft.rfftfreq(self._size, 1.0 / rate_hz)
        low, high = np.searchsorted(frequency_hz, _BAND_HZ)
        self._band = slice(int(low), int(high))
        first, second = np.array(list(combinations(range(len(positions_m)), 2))).T
        self._first, self._second = first, second
        apart_m = (positions_m[first] - positions_m[second])[:, :2]  # (pair, 2)
        azimuths = np.linspace(0.0, 2.0 * np.pi, _azimuths_for(apart_m), endpoint=False)
        ahead = np.stack([np.cos(azimuths), np.sin(azimuths)])
        # A source in direction u reaches the microphone at p earlier by p.u / c.
        earlier_s = apart_m @ ahead / _SPEED_OF_SOUND_MPS
        phase = earlier_s.T[:, :, None] * frequency_hz[self._band]  # (azimuth, pair, bin)
        self._steering = np.exp(-2j * np.pi * phase).reshape(len(azimuths), -1)
        self._steering = self._steering.astype(np.complex64)

    def bearing(self, samples: NDArray[np.float32]) -> float:
        """Return the azimuth of the dominant sound in (N, C) samples.

        Returns:
            rad about +z, 0 along +x, -pi to pi; NaN where no direction stands out.
        """
        return next(iter(self.bearings(samples, most=1)), UNKNOWN)

    def bearings(self, samples: NDArray[np.float32], most: int = MOST_SOUNDS) -> tuple[float, ...]:
        """Return the azimuths of `sounds`."""
        return tuple(sound.azimuth_rad for sound in self.sounds(samples, most))

    def sounds(
        self, samples: NDArray[np.float32], most: int = MOST_SOUNDS
    ) -> tuple[LocatedSound, ...]:
        """Return the sounds in (N, C) samples that stand out by direction, the loudest first.

        Sounds rarely share a cell of time and frequency (Yilmaz and Rickard, Blind Separation of
        Speech Mixtures via Time-Frequency Masking, 2004): cells that agree with one azimuth are
        taken out, and the rest is looked at again.

        Returns:
            Up to `most` of them; what comes from nearly the same place is one.
        """
        if len(samples) < self._size:
            return ()
        frames = sliding_window_view(samples, self._size, axis=0)[:: self._size // 2]
        spectra = scipy.fft.rfft(frames * self._window, axis=2)[:, :, self._band]
        power = np.square(np.abs(spectra)).mean(axis=1)  # (frame, bin)
        telling = cells = _telling(power)
        least = max(1, int(_LEAST_CELLS * cells.sum()))
        cross = spectra[:, self._first] * spectra[:, self._second].conj()  # (frame, pair, bin)
        cross /= np.maximum(np.abs(cross), np.float32(1e-20))
        found: list[LocatedSound] = []
        lag = round(_HELD_S * self._rate_hz / (self._size // 2))
        while len(found) < most and cells.sum() >= least:
            best, azimuth = self._best(cross, cells)
            if best < 0:
                break
            agreeing = self._agreement(cross, best) > _AGREES
            if all(apart(azimuth, other.azimuth_rad) > _APART for other in found):
                held = _held(telling & agreeing, lag)
                found.append(LocatedSound(azimuth_rad=azimuth, held=held))
            if not (cells & agreeing).any():
                break
            cells = cells & ~agreeing
        return tuple(found)

    def _best(
        self, cross: NDArray[np.complexfloating], cells: NDArray[np.bool_]
    ) -> tuple[int, float]:
        """Return the azimuth that most cells agree on, as an index and in rad; -1: none."""
        count = int(cells.sum())
        summed = (cross * cells[:, None]).sum(axis=0).ravel()
        response = (self._steering @ summed).real / (count * len(self._first))
        # No delay at all: from straight above, or one channel given several times.
        above = summed.real.sum() / (count * len(self._first))
        best = float(response.max())
        if best - response.mean() < _LEAST_PROMINENCE or best < above:
            return -1, UNKNOWN
        return int(response.argmax()), _peak(response)

    def _agreement(self, cross: NDArray[np.complexfloating], azimuth: int) -> NDArray[np.floating]:
        """Return how well each cell, (frame, bin), agrees with an azimuth, 1: wholly."""
        steering = self._steering[azimuth].reshape(len(self._first), -1)
        return np.asarray((cross * steering).real.mean(axis=1))


def _telling(power: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which cells of (frame, bin) tell a direction: loud tones, else all that is loud."""
    loud = power >= min(_LOUD * np.median(power), np.quantile(power, 1.0 - _LEAST_SHARE))
    tones = loud & (power > _TONE * median_filter(power, size=(1, _AROUND_BINS)))
    return tones if tones.sum() >= len(power) else loud


def _held(cells: NDArray[np.bool_], lag: int) -> float:
    """Return the share of cells, (frame, bin), that are there `lag` frames later, or beside it."""
    before, after = cells[:-lag], cells[lag:]
    sounding = after.any(axis=1)  # what fell silent has not changed its pitch
    count = int(before[sounding].sum())
    if count < _LEAST_HELD_CELLS:
        return math.nan
    near = maximum_filter1d(after.astype(np.uint8), 3, axis=1) > 0
    return float((before & near)[sounding].sum()) / count


def apart(first_rad: float, second_rad: float) -> float:
    """Return the angle between two directions, rad, 0 to pi."""
    return abs(math.remainder(first_rad - second_rad, 2.0 * math.pi))


def _azimuths_for(apart_m: NDArray[np.float64]) -> int:
    """Return how many azimuths an array tells apart: a quarter of the shortest wave each."""
    widest_m = float(np.hypot(apart_m[:, 0], apart_m[:, 1]).max())
    around = 2.0 * np.pi * widest_m * 4.0 * _BAND_HZ[1] / _SPEED_OF_SOUND_MPS
    return int(np.clip(np.ceil(around), _LEAST_AZIMUTHS, _MOST_AZIMUTHS))


def _peak(response: NDArray[np.floating]) -> float:
    """Return the azimuth at the top of the parabola through the best and its neighbours."""
    best, count = int(response.argmax()), len(response)
    before, top, after = (float(response[(best + k) % count]) for k in (-1, 0, 1))
    bend = before - 2.0 * top + after
    offset = 0.5 * (before - after) / bend if bend else 0.0
    return math.remainder((best + offset) * 2.0 * math.pi / count, 2.0 * math.pi)
