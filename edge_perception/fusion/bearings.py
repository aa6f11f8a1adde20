"""Where a siren is heard from over time: how well that fits a track, or somebody unseen.

Directions of sounds are sharp most of the time and now and then quite wrong, for as long as an echo
or another sound is louder. So what is heard at a moment is a mixture: any of its directions may be
the right one, or none. An
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
_WRONG, _WRONG_AMONG_OTHERS = 0.15, 0.25  # chance that none is right: of a sound alone, of several
_LOUDEST = 0.9  # of the rest: that a sound alone is the first, if there are more; else all alike
_SAME_RAD = math.radians(10.0)  # of the direction of another sound
_THEIRS, _THEIRS_ALONE = 0.95, 0.0  # chance that it is that one: among several, alone
# Reverberation and sounds in the same cells pull a direction aside, for seconds.
_PULLED, _PULL_RAD = 0.5, math.radians(10.0)
MOST_DIRECTIONS = 4  # of a moment
_WEIGHT = 0.25  # windows of sound overlap: of four neighbours one is evidence
_DRIFT_RADPS = math.radians(15.0)  # how fast a source goes around, standard deviation
_ANYWHERE = 0.01  # chance that another one is heard from now on
_LEAST_RAD, _MOST_RAD = math.radians(2.5), math.radians(15.0)  # of the noise of a direction
_LOBE = 0.05  # of the largest belief: what is below is the chance of anywhere
_UNIFORM = 1.0 / (2.0 * math.pi)
_FREQUENCIES: NDArray[np.floating] = np.fft.rfftfreq(_CELLS, 1.0 / _CELLS)


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """What an unseen source makes of the directions heard."""

    log_likelihood: NDArray[np.float64]  # (T,), of each direction given those before
    bearing_rad: float  # where it is by now
    std_rad: float


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What was heard of a siren at once."""

    bearings_rad: tuple[float, ...]  # the loudest first; any of them may be the siren's
    alone: bool  # nothing as loud was recognised: the loudest is likely to be the siren
    told_apart: bool = False  # by its pitch: the first is likely to be the siren, loud or not

    @property
    def is_clear(self) -> bool:
        """Whether the siren is likely to be among the directions."""
        return self.alone or self.told_apart or len(self.bearings_rad) > 1


@dataclass(frozen=True, kw_only=True)
class Directions:
    """What was heard at T moments: K directions each, NaN where there are fewer."""

    bearings_rad: NDArray[np.float64]  # (T, K)
    chances: NDArray[np.float64]  # (T, K), of each to be the right one, 0 where there is none

    @staticmethod
    def of(heard: Sequence[Moment], others_rad: Sequence[float] = ()) -> Directions:
        """Return moments.

        Args:
            heard: each of them.
            others_rad: from where sounds of other kinds were heard alone: what comes from there
                among several is likely to be theirs.
        """
        bearings = np.full((len(heard), MOST_DIRECTIONS), np.nan)
        chances = np.zeros((len(heard), MOST_DIRECTIONS))
        theirs = np.empty((len(heard), 1))
        for row, item in enumerate(heard):
            told = item.bearings_rad[:MOST_DIRECTIONS]
            count = len(told)
            bearings[row, :count] = told
            right = 1.0 - (_WRONG if item.alone else _WRONG_AMONG_OTHERS)
            known = item.alone or item.told_apart
            first = 1.0 if count < 2 else (_LOUDEST if known else 1.0 / count)
            chances[row, 1:count] = right * (1.0 - first) / max(count - 1, 1)
            chances[row, 0] = right * first
            theirs[row] = _THEIRS_ALONE if known else _THEIRS
        if others_rad:
            off = np.abs(wrapped(bearings[..., None] - np.asarray(others_rad))).min(axis=-1)
            chances *= np.where(off < _SAME_RAD, 1.0 - theirs, 1.0)
        return Directions(bearings_rad=bearings, chances=chances)

    @property
    def noise_rad(self) -> float:
        """Standard deviation of directions by what lies between neighbours."""
        if len(self.bearings_rad) < 2:
            return _LEAST_RAD * 2.0
        before, after = self.bearings_rad[:-1, :, None], self.bearings_rad[1:, None, :]
        steps = np.nanmin(np.abs(wrapped(after - before)), axis=(1, 2))  # of who goes on
        return float(np.clip(2.0 * np.median(steps), _LEAST_RAD, _MOST_RAD))


def log_likelihood(
    bearings_rad: NDArray[np.float64],
    chances: NDArray[np.float64],
    source_rad: NDArray[np.float64],
    std_rad: NDArray[np.float64] | float,
) -> NDArray[np.float64]:
    """Return how likely moments are for a source; the overlap of windows taken into account.

    Args:
        bearings_rad: (…, K), of `Directions`.
        chances: (…, K), the same.
        source_rad: (…,), where the source was.
        std_rad: (…,), noise of a direction.
    """
    std = np.asarray(std_rad)[..., None]
    off = wrapped(bearings_rad - source_rad[..., None])
    right = (1.0 - _PULLED) * _normal(off, std) + _PULLED * _normal(off, np.hypot(std, _PULL_RAD))
    told = np.where(chances > 0.0, chances * right, 0.0).sum(axis=-1)
    return np.asarray(_WEIGHT * np.log(told + (1.0 - chances.sum(axis=-1)) * _UNIFORM))


def _normal(off: NDArray[np.float64], std: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * np.square(off / std)) / (math.sqrt(2.0 * math.pi) * std))


def follow(times_s: Sequence[float], heard: Directions, std_rad: float) -> Unseen:
    """Follow a source that nobody sees.

    Args:
        times_s: of the moments, ascending, at least one.
        heard: at each.
        std_rad: noise of a direction.
    """
    belief = np.full(_CELLS, 1.0 / _CELLS)
    told, before_s = [], times_s[0]
    # (T, cells)
    likely = log_likelihood(heard.bearings_rad[:, None], heard.chances[:, None], _ANGLES, std_rad)
    for at_s, row in zip(times_s, np.exp(likely), strict=True):
        belief = _spread(belief, _DRIFT_RADPS * max(at_s - before_s, 0.0))
        before_s = at_s
        belief = belief * row
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
    # The Gaussian of a circle, by its spectrum.
    spectrum = np.fft.rfft(belief) * np.exp(-0.5 * np.square(_FREQUENCIES * std_rad))
    damped = np.fft.irfft(spectrum, _CELLS)
    return (1.0 - _ANYWHERE) * np.maximum(damped, 0.0) + _ANYWHERE / _CELLS


def wrapped(angle_rad: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return angles from -pi to pi."""
    turns = np.floor((np.asarray(angle_rad) + math.pi) / (2.0 * math.pi))  # remainder() is slow
    return np.asarray(angle_rad - 2.0 * math.pi * turns)
