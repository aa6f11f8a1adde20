"""Below which height no return can be of the road: returns there are echoes, or of a canal.

Light that a wet road, a car's side or a pane throws on arrives late, and its returns lie below the
road. One of them in a cell would make the road there as deep, and everything on it too high to be
an object. So the road is followed from the vehicle outwards, from one coarse cell to the next: in
each one it is the lowest layer of returns that a road could have come to, and that is thicker than
what lies below it.

Heights are counted in steps of 10 cm and compared as whole numbers, so that `src/road.c` finds the
same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP_M = 0.1
STEPS_PER_M = 10.0
_LAYER = 3  # steps that a layer is thick
_LEAST = 6  # returns of a layer
_SHARE = 10  # a layer has at least one of so many returns of the thickest layer about
_ABOVE = 10  # steps above the window in which that may lie: a wall, the side of a car
_BELOW = 10  # steps below a layer, of which it has the triple density
_BELOW_TIMES = 9
_MARGIN_M = 0.25  # a return so far below its layer is still of the road
_NEAR_M = 15.0  # cells that tell where the road begins
_ALIKE = 5  # steps within which they agree
_LONGEST_GAP = 8  # cells without a road after which it is looked for no wider
_SLOPES = 4  # of a plane to either side, at least; with twice as many and more steps, every second


@dataclass(frozen=True, kw_only=True)
class RoadPlan:
    """Where the road is looked for; the same for every sweep of a raster."""

    shape: tuple[int, int]  # coarse cells
    coarse_of: NDArray[np.int32]  # (H * W + 1,) coarse cell of each fine one; the last: outside
    nearest_first: NDArray[np.int32]  # coarse cells by their distance from the base frame
    rank_of: NDArray[np.int32]  # (coarse cells,) place of each among those
    near: int  # so many of those begin the road
    steps: int  # heights
    z_min_m: float
    rise: int  # steps that the road may gain or lose from one cell to the next

    @property
    def slopes(self) -> range:
        """Slopes of the planes that the road about the vehicle may be, steps from cell to cell."""
        apart = max(self.rise // _SLOPES, 1)
        most = self.rise // apart * apart
        return range(-most, most + 1, apart)

    @property
    def cells(self) -> int:
        """Coarse cells."""
        return self.shape[0] * self.shape[1]


def road_plan(
    fine: tuple[int, int],
    side: int,
    corner_m: tuple[float, float],
    cell_m: float,
    z_range_m: tuple[float, float],
    max_slope: float,
) -> RoadPlan:
    """Return the plan for a raster.

    Args:
        fine: rows (x) and columns (y).
        side: fine cells along the side of a coarse one.
        corner_m: x and y of the first fine cell's corner, base frame.
        cell_m: side of a fine cell.
        z_range_m: heights that are used, base frame.
        max_slope: of a road.
    """
    rows, columns = (-(-count // side) for count in fine)
    row = (np.arange(fine[0]) // side)[:, None]
    coarse_of = (row * columns + np.arange(fine[1]) // side).ravel()
    centers = [
        corner + (np.arange(count) + 0.5) * side * cell_m
        for corner, count in zip(corner_m, (rows, columns), strict=True)
    ]
    distance = np.hypot(centers[0][:, None], centers[1]).ravel()
    nearest_first = np.argsort(distance, kind="stable").astype(np.int32)
    return RoadPlan(
        shape=(rows, columns),
        coarse_of=np.append(coarse_of, rows * columns).astype(np.int32),
        nearest_first=nearest_first,
        rank_of=np.argsort(nearest_first, kind="stable").astype(np.int32),
        near=int((distance < _NEAR_M).sum()),
        steps=max(1, round((z_range_m[1] - z_range_m[0]) * STEPS_PER_M)),
        z_min_m=z_range_m[0],
        rise=int(np.ceil(max_slope * cell_m * side * STEPS_PER_M)),
    )


def road_floor(
    cell: NDArray[np.integer], z: NDArray[np.float32], plan: RoadPlan
) -> NDArray[np.float32]:
    """Return the height below which no return is of the road, (coarse cells,), m, base frame.

    Args:
        cell: (M,) fine cell of each return.
        z: (M,) its height.
        plan: of the raster.
    """
    step = ((z - np.float32(plan.z_min_m)) * np.float32(STEPS_PER_M)).astype(np.int64)
    step = np.minimum(step, plan.steps - 1)
    at = plan.coarse_of[cell].astype(np.int64) * plan.steps + step
    count = np.bincount(at, minlength=plan.cells * plan.steps).reshape(plan.cells, plan.steps)
    plane = _plane(count, plan)
    level = np.full(plan.cells, -1, np.int64)
    gap = np.zeros(plan.cells, np.int64)  # cells since the last one whose road was seen
    for rank, each in enumerate(plan.nearest_first):
        known = _expected(int(each), level, gap, plan) if rank >= plan.near else None
        expected, wide = known or (int(plane[each]), 0)
        reach = plan.rise * (1 + wide) + 1
        found = _lowest_layer(count[each], expected - reach, expected + reach)
        level[each] = expected if found is None else found
        if found is not None or rank < plan.near:
            gap[each] = 0
        elif count[each].sum() < _LEAST:  # in a shadow: behind it the road may be anywhere
            gap[each] = min(wide + 1, _LONGEST_GAP)
        else:  # a house, a canal: of what is seen here, nothing is road
            gap[each] = max(wide, 1)
    low = np.float32(plan.z_min_m) - np.float32(_MARGIN_M)
    return np.asarray(low + level.astype(np.float32) * np.float32(STEP_M))


def _plane(count: NDArray[np.integer], plan: RoadPlan) -> NDArray[np.int64]:
    """Return the step of the road about the vehicle, a plane, in every cell, (coarse cells,).

    The plane is the one on which most of the near cells agree, few of which hold the own roof, a
    car or a canal, however thick; of planes alike in that the flattest. Where no road is seen, it
    is that of the base frame.
    """
    row, column = np.divmod(np.arange(plan.cells), plan.shape[1])
    row, column = row - row[plan.nearest_first[0]], column - column[plan.nearest_first[0]]
    near = plan.nearest_first[: plan.near]
    levels = [_lowest_layer(count[each], 0, plan.steps) for each in near]
    seen = [(each, level) for each, level in zip(near, levels, strict=True) if level is not None]
    at, found = np.array(seen, np.int64).reshape(-1, 2).T
    best, most = (int(-plan.z_min_m * STEPS_PER_M), 0, 0), 0
    for along in plan.slopes:
        for across in plan.slopes:
            steps = found - along * row[at] - across * column[at]  # below the vehicle
            inside = steps[(steps >= 0) & (steps < plan.steps)]
            votes = np.bincount(inside, minlength=plan.steps)
            agreed = np.convolve(votes, np.ones(_ALIKE, np.int64))[: plan.steps]
            worth = 2 * int(agreed.max()) - (abs(along) + abs(across)) // plan.slopes.step
            if worth > most:
                best, most = (int(agreed.argmax()) - _ALIKE // 2, along, across), worth
    level, along, across = best
    return np.clip(level + along * row + across * column, 0, plan.steps - 1)


def _expected(
    each: int, level: NDArray[np.integer], gap: NDArray[np.integer], plan: RoadPlan
) -> tuple[int, int] | None:
    """Return the level that a cell likely has, and how many cells ago the road was seen.

    That of the surest neighbour, the nearest to the vehicle of those, meaned with others that are
    of one road with it: a neighbour in a canal does not count.
    """
    around = [at for at in _around(each, plan.shape) if level[at] >= 0]
    if not around:
        return None
    first = min(around, key=lambda at: (gap[at], plan.rank_of[at]))
    joined = [
        int(level[at])
        for at in around
        if gap[at] == gap[first] and abs(level[at] - level[first]) <= plan.rise
    ]
    return (2 * sum(joined) + len(joined)) // (2 * len(joined)), int(gap[first])


def _around(each: int, shape: tuple[int, int]) -> list[int]:
    """Return the cell and those about it."""
    row, column = divmod(each, shape[1])
    rows = range(max(row - 1, 0), min(row + 2, shape[0]))
    columns = range(max(column - 1, 0), min(column + 2, shape[1]))
    return [r * shape[1] + c for r in rows for c in columns]


def _lowest_layer(count: NDArray[np.integer], low: int, high: int) -> int | None:
    """Return the first step of the lowest layer of a road, from `low` to `high`; None: none is.

    It is much thicker than what lies below it. Where what stands on it is thicker still, it may as
    well be the foot of a car's side or of a wall, and tells nothing.
    """
    steps = len(count)
    low, high = max(low, 0), min(high + 1, steps)
    sums = np.concatenate([[0], np.cumsum(count), np.full(_LAYER, count.sum())])
    layers = sums[_LAYER : steps + _LAYER] - sums[:steps]
    most = layers[low : min(high + _ABOVE, steps)].max(initial=0)
    for first in range(low, high):
        layer, below = layers[first], sums[first] - sums[max(first - _BELOW, 0)]
        if layer < _LEAST or _SHARE * layer < most or _BELOW * layer < _BELOW_TIMES * below:
            continue
        thickest = first + int(layers[first : first + _LAYER].argmax())  # it may begin thinly
        layer, end = layers[thickest], thickest + _LAYER
        if _ABOVE * layer < _LAYER * (sums[min(end + _ABOVE, steps)] - sums[end]):
            return None
        return next(at for at in range(first, steps) if _SHARE * count[at] >= layer)
    return None
