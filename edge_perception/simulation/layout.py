"""Streets of a scene in the map frame: lanes, kerbs, buildings and other things that stand still.

The ego vehicle drives along +x with its lane centred on y = 0; traffic keeps to the right. A
cross street, where there is one, runs along y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_perception.simulation.solids import Material, Part, box

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
    statics: tuple[tuple[float, float, float, tuple[Part, ...]], ...]  # x, y, yaw, parts
    lots: tuple[tuple[float, float, float, float], ...]  # off-street parking: x0, x1, y0, y1


_FACADES = (
    (0.52, 0.60, 0.66), (0.40, 0.46, 0.62), (0.62, 0.62, 0.60), (0.30, 0.38, 0.55),
    (0.48, 0.55, 0.56), (0.68, 0.72, 0.75), (0.35, 0.35, 0.38),
)  # fmt: skip


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
    statics: list[tuple[float, float, float, tuple[Part, ...]]] = []
    lots: list[tuple[float, float, float, float]] = []
    for x0, x1, y0, y1 in _blocks(main, cross, sidewalk):
        _fill_block(rng, (x0, x1, y0, y1), statics, lots)
    for street, other in ((main, cross), (cross, main)):
        if street is not None:
            _furnish(rng, street, other, statics)
    return Layout(
        main=main, cross=cross, sidewalk_m=sidewalk, statics=tuple(statics), lots=tuple(lots)
    )


def _blocks(
    main: Street, cross: Street | None, sidewalk: float
) -> list[tuple[float, float, float, float]]:
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
    block: tuple[float, float, float, float],
    statics: list[tuple[float, float, float, tuple[Part, ...]]],
    lots: list[tuple[float, float, float, float]],
) -> None:
    """Put buildings along the street sides of one block; some plots are parking lots."""
    x0, x1, y0, y1 = block
    left = y0 > 0
    y_front = y0 if left else y1
    along_x = [(x0, x1, "x")]
    # The side that looks at the cross street, if it is one.
    side_x = x1 if x1 < EXTENT_M else (x0 if x0 > -EXTENT_M else None)
    if side_x is not None:
        along_x.append((y0 + 14.0, y1, "y") if left else (y0, y1 - 14.0, "y"))
    for start, end, axis in along_x:
        at = start
        while at < end - 4.0:
            width = min(float(rng.uniform(8, 30)), end - at)
            setback = float(rng.choice([0.0, rng.uniform(0.5, 7.0)], p=[0.6, 0.4]))
            depth = 12.0
            if axis == "x":
                near = y_front + setback if left else y_front - setback
                far = near + depth if left else near - depth
                plot = (at, at + width, min(near, far), max(near, far))
            else:
                inward = -1.0 if side_x == x1 else 1.0
                near = side_x + inward * setback
                far = near + inward * depth
                plot = (min(near, far), max(near, far), at, at + width)
            kind = rng.random()
            if kind < 0.12 and axis == "x" and width > 12:
                lots.append(plot)
            elif kind < 0.2:
                _fence(rng, plot, statics)
            elif kind < 0.27:
                _hedge(rng, plot, statics)
            else:
                _building(rng, plot, statics)
            at += width + float(rng.choice([0.0, rng.uniform(1.0, 6.0)], p=[0.7, 0.3]))


def _middle(plot: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x0, x1, y0, y1 = plot
    return 0.5 * (x0 + x1), 0.5 * (y0 + y1), 0.5 * (x1 - x0), 0.5 * (y1 - y0)


def _building(rng: np.random.Generator, plot: tuple, statics: list) -> None:
    x, y, hx, hy = _middle(plot)
    colour = np.array(_FACADES[rng.integers(len(_FACADES))]) * rng.uniform(0.75, 1.15)
    height = float(rng.choice([rng.uniform(4, 8), rng.uniform(8, 18), rng.uniform(18, 40)],
                              p=[0.4, 0.45, 0.15]))  # fmt: skip
    body = box((-hx, hx), (-hy, hy), (-3.0, height), Material.FACADE, tuple(np.clip(colour, 0, 1)))
    parts = [body]
    if rng.random() < 0.4:
        eaves = box((-hx - 0.4, hx + 0.4), (-hy - 0.4, hy + 0.4), (height, height + 0.5),
                    Material.WALL, tuple(np.clip(colour * 0.8, 0, 1)))  # fmt: skip
        parts.append(eaves)
    if rng.random() < 0.35:  # an awning over the pavement
        z = float(rng.uniform(2.6, 3.4))
        parts.append(
            box((-hx * 0.6, hx * 0.6), (-hy - 1.0, hy + 1.0), (z, z + 0.3), Material.CLOTH,
                tuple(rng.uniform(0.1, 0.6, 3)))
        )  # fmt: skip
    statics.append((x, y, 0.0, tuple(parts)))


def _fence(rng: np.random.Generator, plot: tuple, statics: list) -> None:
    x, y, hx, hy = _middle(plot)
    height = float(rng.uniform(1.0, 3.5))
    grey = (0.45, 0.47, 0.5)
    walls = [
        box((-hx, hx), (s * hy - 0.1, s * hy + 0.1), (-2.0, height), Material.WALL, grey)
        for s in (-1.0, 1.0)
    ]
    statics.append((x, y, 0.0, tuple(walls)))


def foliage(
    rng: np.random.Generator, radius: float, z0: float, z1: float, count: int
) -> list[Part]:
    """Return a crown or bush: overlapping tapered boxes of leaves around the origin."""
    parts = []
    for _ in range(count):
        r = radius * rng.uniform(0.4, 0.7)
        x, y = rng.normal(0, 0.3 * radius, 2)
        low = z0 + (z1 - z0) * rng.uniform(0.0, 0.4)
        high = low + (z1 - low) * rng.uniform(0.6, 1.0)
        t = r * rng.uniform(0.3, 0.7)
        green = np.array([0.10, 0.26, 0.16]) * rng.uniform(0.6, 1.5)
        parts.append(
            box((x - r, x + r), (y - r, y + r), (low, high), Material.FOLIAGE, tuple(green),
                taper=(t, t, t, t))
        )  # fmt: skip
    return parts


def _hedge(rng: np.random.Generator, plot: tuple, statics: list) -> None:
    x0, x1, y0, y1 = plot
    for _ in range(int(rng.integers(3, 8))):
        x, y = float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1))
        height = float(rng.uniform(1.0, 4.0))
        radius = float(rng.uniform(0.8, 2.2))
        for _ in range(2):
            parts = foliage(rng, radius, -0.3, height, 2)
            statics.append((x, y, float(rng.uniform(0, 3.1)), tuple(parts)))


def _furnish(
    rng: np.random.Generator,
    street: Street,
    other: Street | None,
    statics: list[tuple[float, float, float, tuple[Part, ...]]],
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
                _tree(rng, x, y, statics)
                continue
            parts = _pole(rng) if kind < 0.8 else _clutter(rng)
            statics.append((x, y, float(rng.uniform(0, 6.28)), tuple(parts)))


def _tree(rng: np.random.Generator, x: float, y: float, statics: list) -> None:
    trunk, radius = float(rng.uniform(1.6, 2.8)), float(rng.uniform(1.2, 2.6))
    r = float(rng.uniform(0.09, 0.2))
    top = trunk + float(rng.uniform(1.5, 3.0)) * radius
    stem = box((-r, r), (-r, r), (-1.0, trunk + 0.5), Material.METAL, (0.12, 0.17, 0.22))
    statics.append((x, y, 0.0, (stem,)))
    for _ in range(3):  # groups turned against each other make a round crown
        parts = foliage(rng, radius, trunk, top, 2)
        statics.append((x, y, float(rng.uniform(0, 3.1)), tuple(parts)))


def _pole(rng: np.random.Generator) -> list[Part]:
    r, height = float(rng.uniform(0.05, 0.16)), float(rng.uniform(2.5, 9.0))
    grey = (0.35, 0.35, 0.35)
    parts = [box((-r, r), (-r, r), (-1.0, height), Material.METAL, grey, taper=(0.02,) * 4)]
    if rng.random() < 0.5:
        z = min(height, float(rng.uniform(2.2, 3.0)))
        colour = ((0.1, 0.1, 0.7), (0.1, 0.4, 0.1), (0.8, 0.8, 0.8))[rng.integers(3)]
        parts.append(box((-0.03, 0.03), (-0.35, 0.35), (z - 0.7, z), Material.SIGN, colour))
    elif height > 5.0:
        parts.append(box((-0.1, 2.5), (-0.06, 0.06), (height - 0.2, height), Material.METAL, grey))
    return parts


def _clutter(rng: np.random.Generator) -> list[Part]:
    """Bins, boxes, hydrants, cones and benches."""
    hx, hy, z = rng.uniform(0.12, 0.6), rng.uniform(0.12, 0.35), rng.uniform(0.4, 1.4)
    if rng.random() < 0.3:
        t = 0.15
        return [box((-0.19, 0.19), (-0.19, 0.19), (-0.1, 0.75), Material.SIGN, (0.05, 0.35, 0.9),
                    taper=(t, t, t, t))]  # fmt: skip
    colour = tuple(float(v) for v in rng.uniform(0.1, 0.6, 3))
    return [box((-hx, hx), (-hy, hy), (-0.3, z), Material.WALL, colour)]
