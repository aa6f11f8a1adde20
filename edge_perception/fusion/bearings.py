"""Where a siren is heard from over time: how well that fits a track, or somebody unseen.

Directions of sounds are sharp most of the time and now and then quite wrong, for as long as an echo
or another sound is louder. So each direction is a mixture of the right one and of anything. An
unseen source is followed on a circle of bearings (a histogram filter): it explains a steady
direction as well as a track does, only that nobody knew it beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CELLS = 120  # of the circle
_ANGLES: NDArray[np.float64] = np.linspace(0.0, 2.0 * math.pi, _CELLS, endpoint=False)
_WRONG = 0.15  # share of directions that are of something else
_WEIGHT = 0.25  # windows of sound overlap: of four neighbours one is evidence
_DRIFT_RADPS = math.radians(15.0)  # how fast a source goes around, standard deviation
_ANYWHERE = 0.01  # chance that another one is heard from now on
_LEAST_RAD, _MOST_RAD = math.radians(2.5), math.radians(15.0)  # of the noise of a direction
_LOBE = 0.05  # of the largest belief: what is below is the chance of anywhere
_UNIFORM = 1.0 / (2.0 * math.pi)


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """What an unseen source makes of the directions heard."""

    log_likelihood: NDArray[np.float64]  # (T,), of each direction given those before
    bearing_rad: float  # where it is by now
    std_rad: float


def noise_of(bearings_rad: Sequence[float]) -> float:
    """Return the standard deviation of directions by what lies between neighbours, rad."""
    if len(bearings_rad) < 2:
        return _LEAST_RAD * 2.0
    steps = np.abs(wrapped(np.diff(bearings_rad)))
    return float(np.clip(2.0 * np.median(steps), _LEAST_RAD, _MOST_RAD))


def log_likelihood(
    off_rad: NDArray[np.float64] | float, std_rad: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Return how likely directions are, so far beside their source; overlaps taken into account."""
    right = np.exp(-0.5 * np.square(np.divide(wrapped(off_rad), std_rad))) / (
        math.sqrt(2.0 * math.pi) * np.asarray(std_rad)
    )
    return np.asarray(_WEIGHT * np.log((1.0 - _WRONG) * right + _WRONG * _UNIFORM))


def follow(times_s: Sequence[float], bearings_rad: Sequence[float], std_rad: float) -> Unseen:
    """Follow a source that nobody sees.

    Args:
        times_s: of the directions, ascending, at least one.
        bearings_rad: of each.
        std_rad: noise of a direction.
    """
    belief = np.full(_CELLS, 1.0 / _CELLS)
    told, before_s = [], times_s[0]
    for at_s, bearing in zip(times_s, bearings_rad, strict=True):
        belief = _spread(belief, _DRIFT_RADPS * max(at_s - before_s, 0.0))
        before_s = at_s
        belief = belief * np.exp(log_likelihood(_ANGLES - bearing, std_rad))
        total = float(belief.sum())
        told.append(math.log(total))
        belief = belief / total
    belief = np.where(belief >= _LOBE * belief.max(), belief, 0.0)
    mean = complex(belief @ np.exp(1j * _ANGLES))
    length = min(max(abs(mean) / float(belief.sum()), 1e-6), 1.0 - 1e-9)
    spread = math.sqrt(-2.0 * math.log(length))  # circular (Mardia, 1972)
    return Unseen(
        log_likelihood=np.array(told),
        bearing_rad=math.atan2(mean.imag, mean.real),
        std_rad=max(spread, std_rad),
    )


def _spread(belief: NDArray[np.float64], std_rad: float) -> NDArray[np.float64]:
    """Return a belief after its source may have moved on."""
    frequency = np.fft.rfftfreq(_CELLS, 1.0 / _CELLS)  # the Gaussian of a circle, by its spectrum
    damped = np.fft.irfft(
        np.fft.rfft(belief) * np.exp(-0.5 * np.square(frequency * std_rad)), _CELLS
    )
    return (1.0 - _ANYWHERE) * np.maximum(damped, 0.0) + _ANYWHERE / _CELLS


def wrapped(angle_rad: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return angles from -pi to pi."""
    return np.asarray(np.remainder(np.add(angle_rad, math.pi), 2.0 * math.pi) - math.pi)
