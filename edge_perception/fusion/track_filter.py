"""The Kalman filter of a track, run over the places of its window, all tracks at once.

Constant velocity on the ground with white acceleration, as AB3DMOT (Weng et al., 2020) and the
tracking of CenterPoint (Yin et al., 2021) have it. It is run anew over the last second of places
rather than carried on for ever: its numbers then depend on that second only, and a replay that
starts in the middle of a recording gives the same bits after its warm-up.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.native import library

_EXPECTED = 2.0  # of a normalised squared innovation in the plane
_PRIOR_COUNT = 2.0  # innovations that the assumed noise counts for
_LEAST_SCALE = 0.05
_QUICK_STEPS = 4096  # done in less time than coming back to Python may take

# Arrays have their tracks last: every line below works on rows of neighbouring numbers.


@dataclass(frozen=True, kw_only=True)
class Window:
    """Places of N tracks, K each at most, newest first."""

    places_m: NDArray[np.float64]  # (K, 2, N)
    noise_m2: NDArray[np.float64]  # (K, 3, N): xx, xy, yy of each place
    times_s: NDArray[np.float64]  # (K, N)
    counts: NDArray[np.int64]  # (N,), how many of the K there are, at least 1


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Where tracks are at their newest places, and how they move."""

    state: NDArray[np.float64]  # (4, N): x, y in m, vx, vy in m/s
    covariance: NDArray[np.float64]  # (4, 4, N), of the assumed noise times `scale`
    scale: NDArray[np.float64]  # (N,), variance of the noise by what the innovations say, to the
    # assumed one; below 1 it speaks of what changes: a bias that stays surprises nobody


def estimate(
    window: Window,
    *,
    start_mps: NDArray[np.float64],
    start_variance: NDArray[np.float64],
    acceleration: NDArray[np.float64],
) -> Estimate:
    """Run the filter over the places of every track, oldest first.

    Args:
        window: the places.
        start_mps: (2, N), velocity assumed at the oldest place.
        start_variance: (N,), of each of its components, (m/s)².
        acceleration: (N,), spectral density of the acceleration, m²/s³.

    Returns:
        The tracks at their newest places.
    """
    last = window.counts - 1
    tracks, steps = np.arange(len(last)), int(last.max(initial=0))
    state = np.empty((4, len(last)))
    state[:2], state[2:] = window.places_m[last, :, tracks].T, start_mps
    P = np.zeros((4, 4, len(last)))
    P[0, 0], P[0, 1], P[1, 1] = window.noise_m2[last, :, tracks].T
    P[1, 0], P[2, 2], P[3, 3] = P[0, 1], start_variance, start_variance
    active = np.arange(steps)[:, None] < last
    dt = np.where(active, window.times_s[:steps] - window.times_s[1 : steps + 1], 0.0)
    surprise = walk(window, dt, acceleration, state, P)
    counted = np.maximum(last - 1, 0)
    mean = (surprise + _EXPECTED * _PRIOR_COUNT) / (counted + _PRIOR_COUNT)
    scale = np.maximum(mean / _EXPECTED, _LEAST_SCALE)
    return Estimate(state=state, covariance=P * scale, scale=scale)


def walk(
    window: Window,
    dt: NDArray[np.float64],
    acceleration: NDArray[np.float64],
    state: NDArray[np.float64],
    P: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Take tracks from their oldest places to their newest, in place.

    Args:
        window: the places.
        dt: (steps, N), s, from each place but the oldest to the one before; 0 where a track has
            none.
        acceleration: (N,), m²/s³.
        state: (4, N), contiguous.
        P: (4, 4, N), contiguous.

    Returns:
        The sum of the squared distances of the innovations, (N,).
    """
    compiled = library()
    if compiled is None:
        return walk_numpy(window, dt, acceleration, state, P)
    surprise = np.zeros(len(window.counts))
    arrays = (window.places_m, window.noise_m2, dt, acceleration)
    inputs = [np.ascontiguousarray(array, np.float64) for array in arrays]
    last = np.ascontiguousarray(window.counts - 1, np.int64)
    (compiled.held if dt.size <= _QUICK_STEPS else compiled.released).ep_tracks(
        *map(ctypes.c_int64, dt.shape[::-1]),
        *(ctypes.c_void_p(array.ctypes.data) for array in (*inputs, last, state, P, surprise)),
    )
    return surprise


def walk_numpy(
    window: Window,
    dt: NDArray[np.float64],
    acceleration: NDArray[np.float64],
    state: NDArray[np.float64],
    P: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Do the same, by NumPy alone."""
    last, slots = window.counts - 1, np.arange(len(dt))[:, None]
    # The first step tells the velocity, whatever it is: it surprises nobody.
    active, counted = slots < last, slots < last - 1
    surprise = np.zeros(len(last))
    for slot in range(len(dt) - 1, -1, -1):
        _predict(state, P, dt[slot], acceleration)
        off = window.places_m[slot] - state[:2]
        gain, distance = _gain(P, window.noise_m2[slot], off)
        gain *= active[slot]
        surprise += distance * counted[slot]
        state += gain[0] * off[0] + gain[1] * off[1]
        P -= gain[0][:, None] * P[0] + gain[1][:, None] * P[1]
    return surprise


def predicted(
    state: NDArray[np.float64],
    P: NDArray[np.float64],
    dt: NDArray[np.float64],
    acceleration: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return states, (4, N), and covariances, (4, 4, N), after `dt` s, (N,)."""
    moved, grown = state.copy(), P.copy()
    _predict(moved, grown, dt, acceleration)
    return moved, grown


def mahalanobis(
    xx: NDArray[np.float64],
    xy: NDArray[np.float64],
    yy: NDArray[np.float64],
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the squared distance of (dx, dy) in covariances, and their determinants."""
    determinant = xx * yy - xy * xy
    return (yy * dx * dx - 2.0 * xy * dx * dy + xx * dy * dy) / determinant, determinant


def _predict(
    state: NDArray[np.float64],
    P: NDArray[np.float64],
    dt: NDArray[np.float64],
    acceleration: NDArray[np.float64],
) -> None:
    """Move states and covariances on, in place."""
    state[:2] += dt * state[2:]
    P[:2] += dt * P[2:]
    P[:, :2] += dt * P[:, 2:]
    speed = acceleration * np.abs(dt)  # backwards nothing gets surer either
    both = speed * dt / 2.0
    place = both * dt * (2.0 / 3.0)
    for axis in (0, 1):
        P[axis, axis] += place
        P[axis, axis + 2] += both
        P[axis + 2, axis] += both
        P[axis + 2, axis + 2] += speed


def _gain(
    P: NDArray[np.float64], noise: NDArray[np.float64], off: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the gains of x and y, (2, 4, N), and the squared distances of innovations, (N,)."""
    xx, xy, yy = P[0, 0] + noise[0], P[0, 1] + noise[1], P[1, 1] + noise[2]
    distance, determinant = mahalanobis(xx, xy, yy, off[0], off[1])
    xx, xy, yy = xx / determinant, xy / determinant, yy / determinant
    gain = np.stack([P[:, 0] * yy - P[:, 1] * xy, P[:, 1] * xx - P[:, 0] * xy])
    return gain, distance
