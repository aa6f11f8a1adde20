"""Rays of a spinning sensor against the road and all solids, in NumPy.

Rays are described by their horizontal direction (one an azimuth column) and their slope (one a
beam), so that the ray at horizontal distance s is at ``origin + s (cos, sin, slope)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.ground import Ground
from edge_perception.simulation.solids import Material, Solids


@dataclass(frozen=True, kw_only=True)
class Hits:
    """The nearest thing along every ray."""

    distance_m: NDArray[np.float32]  # (C, B), horizontal, inf: nothing
    solid: NDArray[np.int32]  # (C, B), index of the solid, -1: road or nothing
    facing: NDArray[np.float32]  # (C, B), cosine of the angle of incidence, 0 to 1


def cast_rays(
    solids: Solids, ground: Ground, origin_m: NDArray, azimuth_rad: NDArray, slope: NDArray,
    rng: np.random.Generator,
) -> Hits:  # fmt: skip
    """Return the nearest hit of every ray.

    Args:
        solids: What stands on the road, base frame.
        ground: The road, base frame.
        origin_m: (3,), base frame.
        azimuth_rad: (C,), evenly spaced over a full turn from -pi, ascending.
        slope: (B,), rise per metre, descending.
        rng: Decides which rays pass through foliage.
    """
    cos, sin = np.cos(azimuth_rad).astype(np.float32), np.sin(azimuth_rad).astype(np.float32)
    slope = slope.astype(np.float32)
    level = np.sqrt(1.0 + slope**2)
    distance = ground.cast(origin_m, (cos[:, None], sin[:, None]), slope[None, :])
    facing = np.broadcast_to(np.abs(slope) / level, distance.shape).copy()
    solid = np.full(distance.shape, -1, np.int32)
    normals, offsets = solids.planes()
    reach = offsets - normals @ origin_m.astype(np.float32)  # > 0: origin on the inner side
    relative = solids.vertices_m - origin_m.astype(np.float32)
    windows = _windows(relative, slope, len(azimuth_rad))
    for index in windows.order:
        first, last, top, bottom, nearest = windows.of(index)
        for a, b in _wrap(first, last, len(azimuth_rad)):
            view = (slice(a, b), slice(top, bottom))
            if distance[view].max() <= nearest:
                continue
            _hit_one(
                normals[index], reach[index], cos[a:b], sin[a:b], slope[top:bottom],
                level[top:bottom], int(index), solids.material[index] == Material.FOLIAGE, rng,
                distance[view], solid[view], facing[view],
            )  # fmt: skip
    return Hits(distance_m=distance, solid=solid, facing=facing)


def _hit_one(
    normals: NDArray, reach: NDArray, cos: NDArray, sin: NDArray, slope: NDArray, level: NDArray,
    index: int, porous: bool, rng: np.random.Generator,
    distance: NDArray, solid: NDArray, facing: NDArray,
) -> None:  # fmt: skip
    """Intersect one tapered box with a window of rays and keep what is nearer."""
    # A zero is added so that -0.0 becomes 0.0: rays along a face then stay inside or outside of it.
    side = normals[:, 0, None] * cos + normals[:, 1, None] * sin + np.float32(0.0)  # (6, C)
    closing = side[:, :, None] + (normals[:, 2, None] * slope)[:, None, :]  # (6, C, B)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = reach[:, None, None] / closing
    entering = closing < 0
    enter = np.where(entering, s, -np.inf)
    start = enter.max(axis=0)
    end = np.where(entering, np.inf, s).min(axis=0)
    hit = (start < end) & (start > 0.0)
    if porous:
        # Leaves: a ray enters the crown by a random depth, or passes through it.
        start = start + rng.exponential(0.7, start.shape).astype(np.float32)
        hit &= start < end
    hit &= start < distance
    column, beam = np.nonzero(hit)
    if not len(column):
        return
    face = enter[:, column, beam].argmax(axis=0)
    distance[column, beam] = start[column, beam]
    facing[column, beam] = -closing[face, column, beam] / level[beam]
    solid[column, beam] = index


class _Windows:
    """Which columns and beams can meet each solid, and the order near to far."""

    def __init__(self, first: NDArray, last: NDArray, top: NDArray, bottom: NDArray,
                 nearest: NDArray) -> None:  # fmt: skip
        self._table = (first, last, top, bottom, nearest)
        useful = (last > first) & (bottom > top)
        order = np.argsort(nearest, kind="stable")
        self.order = order[useful[order]]

    def of(self, index: int) -> tuple[int, int, int, int, float]:
        """Return first and last column, first and last beam, and the nearest distance."""
        first, last, top, bottom, nearest = self._table
        spans = int(first[index]), int(last[index]), int(top[index]), int(bottom[index])
        return *spans, float(nearest[index])


def _windows(relative: NDArray, slope: NDArray, columns: int) -> _Windows:
    horizontal = np.hypot(relative[..., 0], relative[..., 1])
    azimuth = np.arctan2(relative[..., 1], relative[..., 0])
    centre = relative[..., :2].mean(axis=1)
    middle = np.arctan2(centre[:, 1], centre[:, 0])[:, None]
    spread = np.mod(azimuth - middle + np.pi, 2 * np.pi) - np.pi
    step = 2 * np.pi / columns
    around = np.ptp(spread, axis=1) > np.pi * 0.95  # the sensor is beside or inside
    first = np.floor((spread.min(axis=1) + middle[:, 0] + np.pi) / step).astype(int)
    last = np.ceil((spread.max(axis=1) + middle[:, 0] + np.pi) / step).astype(int) + 1
    first, last = np.where(around, 0, first), np.where(around, columns, last)
    nearest = _nearest(relative)
    high, low = relative[..., 2].max(axis=1), relative[..., 2].min(axis=1)
    far = horizontal.max(axis=1)
    close = np.maximum(nearest, 0.1)
    steepest = np.where(high > 0, high / close, high / far)
    lowest = np.where(low < 0, low / close, low / far)
    top = np.searchsorted(-slope, -steepest, side="left")
    bottom = np.searchsorted(-slope, -lowest, side="right")
    return _Windows(first, last, top, bottom, nearest)


def _nearest(relative: NDArray) -> NDArray:
    """Return the horizontal distance from the origin to the outline of each solid."""
    best = np.full(len(relative), np.inf, np.float32)
    for ring in ((0, 1, 2, 3), (4, 5, 6, 7)):
        for i, j in zip(ring, ring[1:] + ring[:1], strict=True):
            a, d = relative[:, i, :2], relative[:, j, :2] - relative[:, i, :2]
            share = -(a * d).sum(1) / np.maximum((d * d).sum(1), 1e-9)
            nearest = a + np.clip(share, 0, 1)[:, None] * d
            best = np.minimum(best, np.hypot(nearest[:, 0], nearest[:, 1]))
    return best


def _wrap(first: int, last: int, columns: int) -> list[tuple[int, int]]:
    """Split a range of columns that passes the seam."""
    if last - first >= columns:
        return [(0, columns)]
    first, last = first % columns, first % columns + (last - first)
    return [(first, min(last, columns))] + ([(0, last - columns)] if last > columns else [])
