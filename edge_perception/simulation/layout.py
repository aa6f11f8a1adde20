"""Streets of a scene in the map frame: lanes, kerbs, buildings and other things that stand still.

The ego vehicle drives along +x with its lane centred on y = 0; traffic keeps to the right. A
cross street, where there is one, runs along y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_perception.simulation import furniture
from edge_perception.simulation.furniture import Plot, Static

EXTENT_M = 130.0


@dataclass(frozen=True, kw_only=True)
class Street:
    """One street; positions are offsets to the left of its centre line, metres."""

    along_x: bool
    centre_m: float  # y of the centre line for a street along x, x for one along y
    lanes: int  # each way
    lane_m: float  # width of a lane
    parking_m: float  # width of the strip along each kerb

    @property
    def kerb_m(self) -> float:
        """Distance from the centre line to either kerb."""
        return self.lanes * self.lane_m + self.parking_m

    def place(self, along_m: float, left_m: float) -> tuple[float, float]:
        """Return map coordinates of a point given along and to the left of the centre line.

        The left of a street along y (driven towards +y) is towards -x.
        """
        if self.along_x:
            return along_m, self.centre_m + left_m
        return self.centre_m - left_m, along_m

    @property
    def yaw_rad(self) -> float:
        """Heading of its right-hand lanes."""
        return 0.0 if self.along_x else 0.5 * np.pi


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Streets and static things of a scene, map frame; parts have their z from the local ground."""

    main: Street
    cross: Street | None
    sidewalk_m: float
    statics: tuple[Static, ...]
    lots: tuple[Plot, ...]  # off-street parking


def draw_layout(rng: np.random.Generator, *, intersection: bool, waiting: bool) -> Layout:
    """Return the streets and static things of a scene.

    Args:
        rng: Draws everything.
        intersection: Whether a street crosses.
        waiting: The ego vehicle waits before the crossing instead of being anywhere near it.
    """
    lanes = int(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15]))
    lane = float(rng.uniform(3.1, 3.7))
    ego_lane = int(rng.integers(lanes))
    main = Street(
        along_x=True,
        centre_m=(ego_lane + 0.5) * lane,
        lanes=lanes,
        lane_m=lane,
        parking_m=float(rng.choice([0.3, 2.4], p=[0.25, 0.75])),
    )
    cross = None
    if intersection:
        lanes, lane = int(rng.choice([1, 2], p=[0.6, 0.4])), float(rng.uniform(3.1, 3.6))
        parking = float(rng.choice([0.3, 2.4]))
        centre = float(rng.uniform(-15, 55))
        if waiting:  # the stop line lies 5 m before the kerb, the bumper before that
            centre = lanes * lane + parking + 4.0 + float(rng.uniform(5.0, 30.0))
        cross = Street(
            along_x=False, centre_m=centre, lanes=lanes, lane_m=lane, parking_m=parking
        )  # fmt: skip
    sidewalk = float(rng.uniform(1.8, 4.5))
    statics: list[Static] = []
    lots: list[Plot] = []
    for x0, x1, y0, y1 in _blocks(main, cross, sidewalk):
        _fill_block(rng, (x0, x1, y0, y1), statics, lots)
    for street, other in ((main, cross), (cross, main)):
        if street is not None:
            _furnish(rng, street, other, statics)
    return Layout(
        main=main, cross=cross, sidewalk_m=sidewalk, statics=tuple(statics), lots=tuple(lots)
    )


def _blocks(main: Street, cross: Street | None, sidewalk: float) -> list[Plot]:
    """Return the building blocks (x0, x1, y0, y1) between the streets."""
    gap = main.kerb_m + sidewalk
    sides = [(main.centre_m + gap, EXTENT_M), (-EXTENT_M, main.centre_m - gap)]
    spans = [(-EXTENT_M, EXTENT_M)]
    if cross is not None:
        gap = cross.kerb_m + sidewalk
        spans = [(-EXTENT_M, cross.centre_m - gap), (cross.centre_m + gap, EXTENT_M)]
    return [(x0, x1, y0, y1) for x0, x1 in spans for y0, y1 in sides]


def _fill_block(
    rng: np.random.Generator,
    block: Plot,
    statics: list[Static],
    lots: list[Plot],
) -> None:
    """Put buildings along the street sides of one block; some plots are parking lots."""
    x0, x1, y0, y1 = block
    left = y0 > 0
    y_front = y0 if left else y1
    # Start, end, and the x of the side that its plots look to; None: to the main street.
    rows: list[tuple[float, float, float | None]] = [(x0, x1, None)]
    # The side that looks at the cross street, if it is one.
    side_x = x1 if x1 < EXTENT_M else (x0 if x0 > -EXTENT_M else None)
    if side_x is not None:
        rows.append((y0 + 14.0, y1, side_x) if left else (y0, y1 - 14.0, side_x))
    for start, end, side in rows:
        at = start
        while at < end - 4.0:
            width = min(float(rng.uniform(8, 30)), end - at)
            setback = float(rng.choice([0.0, rng.uniform(0.5, 7.0)], p=[0.6, 0.4]))
            depth = 12.0
            if side is None:
                near = y_front + setback if left else y_front - setback
                far = near + depth if left else near - depth
                plot = (at, at + width, min(near, far), max(near, far))
            else:
                inward = -1.0 if side == x1 else 1.0
                near = side + inward * setback
                far = near + inward * depth
                plot = (min(near, far), max(near, far), at, at + width)
            kind = rng.random()
            if kind < 0.12 and side is None and width > 12:
                lots.append(plot)
            elif kind < 0.2:
                furniture.fence(rng, plot, statics)
            elif kind < 0.27:
                furniture.hedge(rng, plot, statics)
            else:
                furniture.building(rng, plot, statics)
            at += width + float(rng.choice([0.0, rng.uniform(1.0, 6.0)], p=[0.7, 0.3]))


def _furnish(
    rng: np.random.Generator,
    street: Street,
    other: Street | None,
    statics: list[Static],
) -> None:
    """Put trees, lamp poles, signs and small things on both pavements of one street."""
    for side in (-1.0, 1.0):
        trees = rng.random() < 0.6
        at = -EXTENT_M + float(rng.uniform(0, 15))
        while at < EXTENT_M:
            at += float(rng.uniform(5, 14))
            offset = side * (street.kerb_m + float(rng.uniform(0.5, 0.9)))
            if other is not None and abs(at - other.centre_m) < other.kerb_m + 1.0:
                continue
            x, y = street.place(at, offset)
            kind = rng.random()
            if trees and kind < 0.55:
                furniture.tree(rng, x, y, statics)
                continue
            parts = furniture.pole(rng) if kind < 0.8 else furniture.clutter(rng)
            statics.append((x, y, float(rng.uniform(0, 6.28)), tuple(parts)))
