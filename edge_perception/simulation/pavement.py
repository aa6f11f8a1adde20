"""The surface of streets: asphalt, markings, kerbs, pavements and verges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.layout import Layout, Street
from edge_perception.simulation.noise import lookup
from edge_perception.simulation.raster import Pinhole
from edge_perception.simulation.world import Scene

_WHITE = np.array([0.75, 0.76, 0.76], np.float32)
_YELLOW = np.array([0.22, 0.58, 0.72], np.float32)


def road_colours(
    points: NDArray[np.float32], scene: Scene, pinhole: Pinhole, tile: NDArray, *, wet: bool
) -> NDArray[np.float32]:
    """Return the albedo of points on the ground, (M, 3) BGR.

    Args:
        points: (M, 3), base frame.
        scene: Gives the streets and the place of the base frame.
        pinhole: Gives the size of a pixel on the road, which markings are blurred to.
        tile: Noise texture.
        wet: Whether rain has darkened the surface.
    """
    layout = scene.layout
    x = points[:, 0] + np.float32(scene.T_map_base[0, 3])
    y = points[:, 1] + np.float32(scene.T_map_base[1, 3])
    distance = np.hypot(points[:, 0], points[:, 1])
    blur = np.maximum(distance / np.float32(pinhole.intrinsics[0, 0]), 0.01)
    grain = 0.6 * lookup(tile, x * 60, y * 60) + 0.4 * lookup(tile, x * 6 + 40, y * 6)
    near = 1.0 / (1.0 + distance / 25.0)
    asphalt = (0.235 + 0.12 * (grain - 0.5) * near)[:, None] * np.array(
        [1.02, 1.0, 0.98], np.float32
    )
    on_main = np.abs(y - layout.main.centre_m) < layout.main.kerb_m
    on_cross = np.zeros_like(on_main)
    if layout.cross is not None:
        on_cross = np.abs(x - layout.cross.centre_m) < layout.cross.kerb_m
    road = on_main | on_cross
    walk = _pavement(x, y, layout)
    paved = (0.42 + 0.10 * (grain - 0.5))[:, None] * np.array([0.98, 1.0, 1.02], np.float32)
    verge = (0.7 + 0.6 * grain)[:, None] * np.array([0.20, 0.27, 0.27], np.float32)
    colour = np.where(road[:, None], asphalt, np.where(walk[:, None], paved, verge))
    if layout.cross is None:
        _mark(colour, x, y, layout.main, None, on_main, blur)
    else:
        _mark(colour, x, y, layout.main, layout.cross, on_main & ~on_cross, blur)
        _mark(colour, y, -x, layout.cross, layout.main, on_cross & ~on_main, blur)
    if wet:
        colour *= np.float32(0.6)
        colour += (0.12 * np.clip(lookup(tile, x * 3, y * 3) - 0.45, 0, 1))[:, None]
    return colour.astype(np.float32)


def _pavement(x: NDArray, y: NDArray, layout: Layout) -> NDArray[np.bool_]:
    width = layout.sidewalk_m
    walk = np.abs(y - layout.main.centre_m) < layout.main.kerb_m + width
    if layout.cross is not None:
        walk |= np.abs(x - layout.cross.centre_m) < layout.cross.kerb_m + width
    return walk


def _line(offset: NDArray, half_m: float, blur: NDArray) -> NDArray[np.float32]:
    """Return how much of a pixel a line covers, 0 to 1."""
    return np.clip((half_m - np.abs(offset)) / blur + 0.5, 0, 1) * np.minimum(
        1.0, 2 * half_m / blur
    )


def _mark(
    colour: NDArray, along: NDArray, across: NDArray, street: Street, other: Street | None,
    where: NDArray, blur: NDArray,
) -> None:  # fmt: skip
    """Paint centre, lane and stop lines and the crossings of one street.

    `along` and `across` are map coordinates along the street and to its left.
    """
    centre = street.centre_m if street.along_x else -street.centre_m
    left = across - centre
    paint = np.zeros_like(along)
    clear = np.ones_like(along, bool)
    if other is not None:
        gap = np.abs(along - other.centre_m) - other.kerb_m
        clear = gap > 5.0
        band = (gap > 1.0) & (gap < 3.6) & (np.abs(left) < street.kerb_m - 0.3)
        paint = np.maximum(paint, band * (np.mod(left, 1.1) < 0.55) * 0.9)
        stop_side = np.where(along < other.centre_m, left < 0, left > 0)
        stop = _line(gap - 4.4, 0.2, blur * 3) * stop_side
        paint = np.maximum(paint, stop * (np.abs(left) < street.lanes * street.lane_m))
    dash = np.mod(along, 9.0) < 3.0
    for k in range(1, street.lanes):
        for sign in (-1.0, 1.0):
            line = _line(left - sign * k * street.lane_m, 0.07, blur)
            paint = np.maximum(paint, line * dash * clear)
    if street.parking_m > 1.0:
        for sign in (-1.0, 1.0):
            line = _line(left - sign * street.lanes * street.lane_m, 0.06, blur)
            paint = np.maximum(paint, line * clear * 0.7)
    paint = np.where(where, paint, 0)[:, None]
    colour += paint * (_WHITE - colour)
    double = np.maximum(_line(left - 0.14, 0.06, blur), _line(left + 0.14, 0.06, blur))
    double = np.where(where & clear, double, 0)[:, None]
    colour += double * (_YELLOW - colour)
    kerb = _line(np.abs(left) - street.kerb_m, 0.12, blur)
    kerb = np.where(where, kerb, 0)[:, None]
    colour += kerb * (np.float32(0.5) - colour)
