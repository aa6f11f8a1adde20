"""Velocities of objects over ground, from where they were in the views of the last second.

One sweep or image says nothing of speed. Objects of successive views are assigned to one another
(linear sum assignment) and a line is fitted through each one's places; odometry takes the vehicle's
own motion out. A place counts for one second and then not at all, so that a replay which starts in
the middle of a recording gives the same numbers after its warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from edge_perception.core.types import DetectedObject
from edge_perception.fusion.classes import PERSON, group_of
from edge_perception.fusion.config import NS

WINDOW_S = 1.0
_PLACES = 24  # kept of one object: a window at 20 Hz
_LOST_S = 0.45  # not seen for so long: another object from then on
_LEAST_PLACES, _LEAST_SPAN_S = 4, 0.25  # that a velocity is told from
_LEAST_SPREAD_M = 0.1  # places are not known better than this
_MOST_ERROR_MPS = 1.0  # standard error above which no velocity is told
_FAR = 1e6  # cost of what cannot be the same object


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far from where it is expected an object may be found."""

    known_m: float  # once its velocity is known
    new_m: float  # seen once or twice
    speed_mps: float  # its highest, for new ones


_REACH = Reach(known_m=2.0, new_m=1.0, speed_mps=30.0)
_PERSON_REACH = Reach(known_m=1.0, new_m=0.6, speed_mps=8.0)
_MOST_NEW_M = 3.5  # parked cars stand five metres apart


@dataclass(frozen=True, kw_only=True)
class EgoStep:
    """How the base moved from one view to the next."""

    since_ns: int  # stamp of the view before
    T: NDArray[np.float64]  # T_to_from, (4, 4)


class VelocityTracker:
    """Gives the objects of successive views their velocities. One thread uses it."""

    def __init__(self) -> None:
        self._forget()
        self._stamp_ns = 0

    def _forget(self) -> None:
        self._groups: list[str] = []
        self._places = np.zeros((0, _PLACES, 2))  # m, base frame of the newest view, newest first
        self._times = np.full((0, _PLACES), -np.inf)  # s before the newest view, negative

    def track(
        self, objects: Sequence[DetectedObject], stamp_ns: int, step: EgoStep
    ) -> tuple[DetectedObject, ...]:
        """Return the objects of a view, with velocities where they are known.

        A velocity is m/s over ground, in the axes of the base frame; one that a model gave stands.

        Args:
            objects: of the view, base frame of its stamp.
            stamp_ns: of the view.
            step: how the base moved since the view before; where that was not tracked, all begins
                anew.
        """
        if step.since_ns == self._stamp_ns:
            self._move(step.T, (stamp_ns - step.since_ns) / NS)
        else:
            self._forget()
        self._stamp_ns = stamp_ns
        centers = np.array([item.center_m[:2] for item in objects]).reshape(-1, 2)
        groups = [group_of(item.class_name) for item in objects]
        known = self._assign(centers, groups)
        velocities = _fit(self._places[known], self._times[known])[1]
        return tuple(
            item if math.isnan(vx) or not math.isnan(item.velocity_mps[0])
            else replace(item, velocity_mps=(vx, vy, 0.0))
            for item, (vx, vy) in zip(objects, velocities.tolist(), strict=True)
        )  # fmt: skip

    def _move(self, T: NDArray[np.float64], elapsed_s: float) -> None:
        """Express the places in the base frame of the new view; let go of what is too old."""
        self._times -= elapsed_s
        self._times[self._times < -WINDOW_S - 1e-6] = -np.inf
        x, y = self._places[..., 0], self._places[..., 1]
        # Written out: a product of matrices may round otherwise for another number of objects.
        self._places = np.stack([T[k, 0] * x + T[k, 1] * y + T[k, 3] for k in (0, 1)], axis=-1)
        self._keep(self._times[:, 0] >= -_LOST_S)

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        self._places, self._times = self._places[kept], self._times[kept]
        self._groups = [name for name, keep in zip(self._groups, kept, strict=True) if keep]

    def _assign(self, centers: NDArray[np.float64], groups: list[str]) -> NDArray[np.intp]:
        """Add each place to the object it belongs to, or to a new one; return which."""
        expected, velocities = _fit(self._places, self._times)
        new = np.isnan(velocities[:, 0])
        reach = _reaches(self._groups, new, -self._times[:, 0])
        gap = np.hypot(*(centers[:, None] - expected[None]).transpose(2, 0, 1))
        same = np.array(groups)[:, None] == np.array(self._groups)[None]
        cost = np.where(same & (gap < reach), gap, _FAR)
        rows, columns = linear_sum_assignment(cost)
        matched = cost[rows, columns] < _FAR
        index = np.full(len(centers), -1)
        index[rows[matched]] = columns[matched]
        fresh = np.flatnonzero(index < 0)
        index[fresh] = len(self._groups) + np.arange(len(fresh))
        self._groups += [groups[k] for k in fresh]
        self._places = np.concatenate([self._places, np.zeros((len(fresh), _PLACES, 2))])
        self._times = np.concatenate([self._times, np.full((len(fresh), _PLACES), -np.inf)])
        self._places[index] = np.roll(self._places[index], 1, axis=1)
        self._times[index] = np.roll(self._times[index], 1, axis=1)
        self._places[index, 0], self._times[index, 0] = centers, 0.0
        return index


def _reaches(
    groups: list[str], new: NDArray[np.bool_], unseen_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how far from its expected place each object may be found, m."""
    kinds = [_PERSON_REACH if name == PERSON else _REACH for name in groups]
    known_m = np.array([kind.known_m for kind in kinds])
    first_m = np.array([kind.new_m for kind in kinds])
    speed_mps = np.array([kind.speed_mps for kind in kinds])
    return np.where(new, np.minimum(first_m + speed_mps * unseen_s, _MOST_NEW_M), known_m)


def _fit(
    places: NDArray[np.float64], times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a line through the places of each object.

    Args:
        places: (M, K, 2), m.
        times: (M, K), s, 0 is now; -inf: no place.

    Returns:
        Where each one is expected now, (M, 2), and its velocity, (M, 2), NaN where the places
        do not tell it: too few, over too short a time, or not on a line.
    """
    there = np.isfinite(times)
    count = np.maximum(there.sum(axis=1), 1)[:, None]
    t = np.where(there, times, 0.0)
    p = np.where(there[..., None], places, 0.0)
    mean_t, mean_p = t.sum(axis=1, keepdims=True) / count, p.sum(axis=1) / count
    dt = np.where(there, t - mean_t, 0.0)
    spread = (dt * dt).sum(axis=1, keepdims=True)
    velocity = (dt[..., None] * p).sum(axis=1) / np.maximum(spread, 1e-12)
    line = mean_p[:, None] + velocity[:, None] * dt[..., None]
    off = np.where(there[..., None], p - line, 0.0)
    variance = (off * off).sum(axis=(1, 2)) / (2.0 * np.maximum(count[:, 0] - 2, 1))
    error = np.sqrt(np.maximum(variance, _LEAST_SPREAD_M**2) / np.maximum(spread[:, 0], 1e-12))
    told = (
        (count[:, 0] >= _LEAST_PLACES)
        & (-t.min(axis=1, initial=0.0) >= _LEAST_SPAN_S)
        & (error < _MOST_ERROR_MPS)
    )
    expected = np.where(told[:, None], mean_p - velocity * mean_t, places[:, 0])
    return expected, np.where(told[:, None], velocity, np.nan)
