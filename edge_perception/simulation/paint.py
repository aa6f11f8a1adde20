"""Details that need no geometry: windows of houses, glass, lamps and wheels of vehicles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.noise import lookup
from edge_perception.simulation.solids import BACK, FRONT, TOP, Material
from edge_perception.simulation.world import Scene

_Plane = NDArray[np.float32]
_LAMP_HEIGHT_M = np.zeros(len(Material), np.float32)  # 0: no lamps
_LAMP_HEIGHT_M[[Material.PAINT, Material.BUS, Material.CARGO]] = (0.62, 0.75, 1.05)
_GLASS = np.array([0.10, 0.085, 0.075], np.float32)[:, None]


def facade_colours(
    albedo: _Plane, emission: _Plane, points: _Plane, shift: _Plane, normals: _Plane,
    face: NDArray, material: NDArray, lit: float, tile: NDArray,
) -> None:  # fmt: skip
    """Give walls grain and houses windows, some of them lit; works in place.

    Args:
        albedo: (3, M), changed.
        emission: (3, M), changed where windows are lit.
        points: (3, M), base frame.
        shift: (3, 1), from the base to the map frame.
        normals: (6 N, 3), of all faces of the scene.
        face: (M,), solid index * 6 + face; the solid draws the style of a house.
        material: (M,).
        lit: Strength of lit windows.
        tile: Noise texture.
    """
    walls = np.flatnonzero((material == Material.FACADE) | (material == Material.WALL))
    if not len(walls):
        return
    x, y, up = (points[k, walls] + shift[k] for k in range(3))
    # What depends on the face or the house only is found once each and looked up.
    n = np.abs(normals)
    faces = face[walls]
    along = np.where((n[:, 0] > n[:, 1])[faces], y, x)
    style = np.arange(len(normals), dtype=np.float32) // 6
    grain = lookup(tile, along * 24 + (style * 37)[faces], up * 24)
    value = albedo[:, walls] * (np.float32(0.82) + np.float32(0.36) * grain)
    storey = (2.9 + 0.2 * np.mod(style, 5)).astype(np.float32)[faces]
    bay = (1.8 + 0.45 * np.mod(style, 6)).astype(np.float32)[faces]
    glazed = ((n[:, 2] < 0.3) & (np.mod(style, 4) != 3))[faces]
    column, row = along / bay, up / storey
    u, v = column - np.floor(column), row - np.floor(row)
    window = (np.abs(u - 0.5) < 0.3) & (np.abs(v - 0.57) < 0.25) & (up > 0.6)
    window &= (material[walls] == Material.FACADE) & glazed
    panes = np.flatnonzero(window)
    sheen = lookup(tile, along[panes] * 5, up[panes] * 5)
    value[:, panes] = _GLASS * (1 + 3 * sheen)
    off_middle = np.abs(u[panes] - 0.5)
    framed = (off_middle < 0.02) | (off_middle > 0.27)
    value[:, panes[framed]] = 0.5
    albedo[:, walls] = value
    if lit > 0:
        room = np.floor(column[panes]) * 7 + np.floor(row[panes]) * 13 + (style * 5)[faces[panes]]
        glowing = panes[~framed & (np.mod(room, 11) < 3)]
        emission[:, walls[glowing]] = np.array([[0.25], [0.48], [0.62]], np.float32) * lit


def actor_colours(
    albedo: _Plane, emission: _Plane, shine: _Plane, scene: Scene, points: _Plane,
    solid: NDArray, side: NDArray, lit: float,
) -> None:  # fmt: skip
    """Give vehicles glass, lamps and plates; works in place on (3, M) and (M,) arrays."""
    owner = scene.solids.actor[solid]
    mine = np.flatnonzero(owner >= 0)
    if not len(mine):
        return
    boxes = [a.box for a in scene.actors]
    table = np.array([(*b.center_m, b.yaw_rad, *b.size_m) for b in boxes], np.float32)
    owner = owner[mine]
    pose = [table[:, k][owner] for k in range(7)]
    dx, dy, dz = (points[k, mine] - pose[k] for k in range(3))
    c, s = np.cos(table[:, 3])[owner], np.sin(table[:, 3])[owner]
    x = (c * dx + s * dy) / pose[4]  # -0.5 rear to 0.5 front
    y = (c * dy - s * dx) / pose[5]
    z = dz + 0.5 * pose[6]  # metres over the road
    high = z / pose[6]
    material, side = scene.solids.material[solid[mine]], side[mine]
    colour, light = albedo[:, mine], np.zeros((3, len(mine)), np.float32)
    body = (material == Material.PAINT) | (material == Material.BUS)
    gloss = np.where(body, np.float32(0.12), np.float32(0.0))
    # Paint mirrors the dark road below and the sky above the belt line.
    colour *= np.where(material == Material.PAINT, 0.75 + 0.5 * np.clip(high, 0, 0.6), 1)
    glass = np.flatnonzero(_glass(material, side, x, y, high))
    colour[:, glass] = _GLASS
    gloss[glass] = 0.3
    _wheels(colour, gloss, material, side, x * pose[4], x, z)
    ends = np.flatnonzero((side <= BACK) & (np.abs(x) > 0.4))
    _lamps(colour, light, material, side, y, z, ends, lit, scene, owner)
    albedo[:, mine], emission[:, mine], shine[mine] = colour, light, gloss


def _glass(material: NDArray, side: NDArray, x: _Plane, y: _Plane, high: _Plane) -> NDArray:
    cabin = (material == Material.CABIN) & (side != TOP)
    lengthwise = side <= BACK
    pillar = ~lengthwise & (np.abs(np.mod(x + 0.06, 0.21) - 0.105) > 0.093)
    edge = (lengthwise & (np.abs(y) > 0.42)) | (high > 0.955)
    glass = cabin & ~pillar & ~edge
    bus = (material == Material.BUS) & (high > 0.42) & (high < 0.82) & (side != TOP)
    bus &= lengthwise | (np.abs(np.mod(x, 0.125) - 0.0625) < 0.055)
    return glass | bus


def _wheels(
    colour: _Plane, gloss: _Plane, material: NDArray, side: NDArray, along_m: _Plane,
    along: _Plane, z: _Plane,
) -> None:  # fmt: skip
    """Draw tyres and rims over the sills of cars, where the axles of their bodies are."""
    flank = np.flatnonzero((material == Material.PAINT) & (side > BACK) & (side < TOP) & (z < 0.75))
    x, length = along_m[flank], along_m[flank] / np.where(along[flank] == 0, 1, along[flank])
    gap = np.minimum(np.abs(x + 0.29 * length), np.abs(x - 0.31 * length))
    radius = np.hypot(gap, z[flank] - np.float32(0.33))
    tyre, rim = flank[radius < 0.37], flank[radius < 0.21]
    colour[:, tyre] = 0.035
    colour[:, rim] = 0.3
    gloss[tyre] = 0.0


def _lamps(
    colour: _Plane, light: _Plane, material: NDArray, side: NDArray, y: _Plane, z: _Plane,
    ends: NDArray, lit: float, scene: Scene, owner: NDArray,
) -> None:  # fmt: skip
    ends = ends[_LAMP_HEIGHT_M[material[ends]] > 0]
    aside, rise = np.abs(y[ends]), z[ends]
    low = _LAMP_HEIGHT_M[material[ends]]
    front = side[ends] == FRONT
    band = (np.abs(rise - low) < 0.11) & (aside > 0.28) & (aside < 0.49)
    head, tail = ends[band & front], ends[band & ~front]
    colour[:, ends[rise < 0.36]] *= 0.35
    colour[:, ends[front & (aside < 0.26) & (np.abs(rise - low) < 0.1)]] = 0.05
    colour[:, ends[(np.abs(rise - 0.55 * low - 0.1) < 0.07) & (aside < 0.14)]] = 0.79
    colour[:, head] = 0.87
    colour[:, tail] = np.array([[0.10], [0.08], [0.55]])
    speed = np.array([np.hypot(*a.box.velocity_mps[:2]) for a in scene.actors], np.float32)
    # Of the vehicles at rest about half wait with their lamps on.
    on = (speed > 0.1) | (np.arange(len(speed)) % 2 == 0)
    strength = 0.15 + 0.85 * lit
    if lit > 0:
        light[:, head[on[owner[head]]]] = np.array([[0.9], [1.0], [1.0]]) * strength
    light[:, tail[on[owner[tail]]]] = np.array([[0.05], [0.04], [0.75]]) * strength
    beacon = np.flatnonzero(material == Material.BEACON)
    blue = (y[beacon] > 0) == (np.mod(scene.t_s * 2.0, 1.0) < 0.5)
    light[:, beacon[blue]] = np.array([[1.0], [0.35], [0.1]])
    light[:, beacon[~blue]] = np.array([[0.05], [0.05], [0.8]])
