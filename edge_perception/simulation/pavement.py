"""The surface of streets: asphalt, markings, kerbs, pavements and verges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.layout import Layout, Street
from edge_perception.simulation.noise import lookup
from edge_perception.simulation.raster import Pinhole
from edge_perception.simulation.world import Scene

_Plane = NDArray[np.float32]
_ASPHALT, _WALK, _VERGE = 0, 1, 2
# Brightness, how much grain changes it, and tint (BGR) of each surface.
_BRIGHTNESS = np.array([0.235, 0.42, 0.25], np.float32)
_GRAIN = np.array([0.12, 0.10, 0.15], np.float32)
_TINT = np.array([[1.02, 0.98, 0.80], [1.0, 1.0, 1.08], [0.98, 1.02, 1.08]], np.float32)
_WHITE = np.array([0.75, 0.76, 0.76], np.float32)[:, None]
_YELLOW = np.array([0.22, 0.58, 0.72], np.float32)[:, None]


def road_colours(
    points: _Plane, scene: Scene, pinhole: Pinhole, tile: NDArray, *, wet: bool
) -> _Plane:
    """Return the albedo of points on the ground, (3, M) BGR.

    Args:
        points: (3, M), base frame.
        scene: Gives the streets and the place of the base frame.
        pinhole: Gives the size of a pixel on the road, which markings are blurred to.
        tile: Noise texture.
        wet: Whether rain has darkened the surface.
    """
    layout = scene.layout
    x = points[0] + np.float32(scene.T_map_base[0, 3])
    y = points[1] + np.float32(scene.T_map_base[1, 3])
    distance = np.hypot(points[0], points[1])
    pixel = np.float32(1.0 / pinhole.intrinsics[0, 0])
    blur = np.maximum(distance * pixel, np.float32(0.01))
    grain = lookup(tile, x * 60, y * 60) * np.float32(0.6)
    grain += lookup(tile, x * 6 + 40, y * 6) * np.float32(0.4)
    grain -= np.float32(0.5)
    grain /= 1 + distance * np.float32(0.04)
    on_main = np.abs(y - np.float32(layout.main.centre_m)) < layout.main.kerb_m
    on_cross = np.zeros_like(on_main)
    if layout.cross is not None:
        on_cross = np.abs(x - np.float32(layout.cross.centre_m)) < layout.cross.kerb_m
    kind = np.where(_on_pavement(x, y, layout), np.uint8(_WALK), np.uint8(_VERGE))
    kind[on_main | on_cross] = _ASPHALT
    grey = _BRIGHTNESS[kind] + _GRAIN[kind] * grain
    if wet:
        puddle = lookup(tile, x * 3, y * 3)
        grey = grey * np.float32(0.6) + np.maximum(puddle - np.float32(0.45), 0) * np.float32(0.12)
    colour = grey * np.stack([tint[kind] for tint in _TINT])
    streets = [(x, y, layout.main, layout.cross, on_main & ~on_cross)]
    if layout.cross is not None:
        streets.append((y, -x, layout.cross, layout.main, on_cross & ~on_main))
    for along, across, street, other, mine in streets:
        where = np.flatnonzero(mine & (distance < 90))
        white, yellow = _marks(along[where], across[where], street, other, blur[where])
        part = colour[:, where]
        part += white * (_WHITE - part)
        part += yellow * (_YELLOW - part)
        colour[:, where] = part
    return colour


def _on_pavement(x: _Plane, y: _Plane, layout: Layout) -> NDArray[np.bool_]:
    width = layout.sidewalk_m
    walk = np.abs(y - np.float32(layout.main.centre_m)) < layout.main.kerb_m + width
    if layout.cross is not None:
        walk |= np.abs(x - np.float32(layout.cross.centre_m)) < layout.cross.kerb_m + width
    return walk


def _line(offset: _Plane, half_m: float, blur: _Plane) -> _Plane:
    """Return how much of a pixel a line covers, 0 to 1; `offset` is from its middle, >= 0."""
    return np.clip((half_m - offset) / blur + np.float32(0.5), 0, 1) * np.minimum(
        1, 2 * half_m / blur
    )


def _marks(
    along: _Plane, across: _Plane, street: Street, other: Street | None, blur: _Plane
) -> tuple[_Plane, _Plane]:
    """Return how much white and yellow paint covers each pixel of one street.

    `along` and `across` are map coordinates along the street and to its left.
    """
    centre = street.centre_m if street.along_x else -street.centre_m
    left = across - np.float32(centre)
    aside = np.abs(left)
    lanes_m = street.lanes * street.lane_m
    paint = np.zeros_like(along)
    clear = np.ones_like(along)
    if other is not None:
        gap = np.abs(along - np.float32(other.centre_m)) - np.float32(other.kerb_m)
        clear = (gap > 5.0).astype(np.float32)
        stripe = np.mod(left, np.float32(1.1)) < 0.55
        band = (gap > 1.0) & (gap < 3.6) & (aside < street.kerb_m - 0.3) & stripe
        paint = band * np.float32(0.9)
        own_side = (along < other.centre_m) == (left < 0)
        paint += _line(np.abs(gap - np.float32(4.4)), 0.2, blur) * (own_side & (aside < lanes_m))
    dash = clear * (np.mod(along, np.float32(9.0)) < 3.0)
    for k in range(1, street.lanes):
        paint += _line(np.abs(aside - np.float32(k * street.lane_m)), 0.07, blur) * dash
    if street.parking_m > 1.0:
        paint += _line(np.abs(aside - np.float32(lanes_m)), 0.06, blur) * clear * np.float32(0.7)
    paint += _line(np.abs(aside - np.float32(street.kerb_m)), 0.12, blur) * np.float32(0.4)
    yellow = _line(np.abs(aside - np.float32(0.14)), 0.06, blur) * clear
    return np.minimum(paint, 1), yellow
