"""Details that need no geometry: windows of houses, glass, lamps and wheels of vehicles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.noise import lookup
from edge_perception.simulation.solids import BACK, FRONT, TOP, Material
from edge_perception.simulation.world import Scene

_GLASS = np.array([0.10, 0.085, 0.075], np.float32)


def facade_colours(
    albedo: NDArray, emission: NDArray, points: NDArray, normals: NDArray, solid: NDArray,
    material: NDArray, walls: NDArray, lit: float, tile: NDArray,
) -> None:  # fmt: skip
    """Give walls grain and houses windows, some of them lit; works in place on (M, 3) arrays."""
    p, n = points[walls], normals[walls]
    along = np.where(np.abs(n[:, 0]) > np.abs(n[:, 1]), p[:, 1], p[:, 0])
    key = solid[walls]
    up = p[:, 2]
    grain = lookup(tile, along * 24 + key * 37, up * 24)
    shade = 0.82 + 0.36 * grain
    storey = 2.9 + 0.2 * (key % 5)
    bay = 1.8 + 0.45 * (key % 6)
    u, v = np.mod(along, bay) / bay, np.mod(up, storey) / storey
    window = (u > 0.2) & (u < 0.8) & (v > 0.32) & (v < 0.82) & (up > 0.6)
    window &= (material[walls] == Material.FACADE) & (np.abs(n[:, 2]) < 0.3) & (key % 4 != 3)
    frame = window & ((np.abs(u - 0.5) < 0.02) | (u < 0.23) | (u > 0.77))
    value = albedo[walls] * shade[:, None]
    value[window] = _GLASS * (1.0 + 3.0 * lookup(tile, along * 5, up * 5)[window][:, None])
    value[frame] = 0.5
    albedo[walls] = value
    if lit > 0:
        room = (np.floor(along / bay) * 7 + np.floor(up / storey) * 13 + key * 5).astype(int) % 11
        glowing = window & ~frame & (room < 3)
        light = np.zeros((len(p), 3), np.float32)
        light[glowing] = np.array([0.25, 0.48, 0.62], np.float32) * lit
        emission[walls] = light


def actor_colours(
    albedo: NDArray, emission: NDArray, shine: NDArray, scene: Scene, points: NDArray,
    normals: NDArray, solid: NDArray, face: NDArray, lit: float,
) -> None:  # fmt: skip
    """Give vehicles glass, lamps, plates and doors; works in place on (M, ...) arrays."""
    owner = scene.solids.actor[solid]
    mine = np.nonzero(owner >= 0)[0]
    if not len(mine):
        return
    boxes = [a.box for a in scene.actors]
    pose = np.array([(*b.center_m, b.yaw_rad, *b.size_m) for b in boxes], np.float32)[owner[mine]]
    offset = points[mine] - pose[:, :3]
    c, s = np.cos(pose[:, 3]), np.sin(pose[:, 3])
    x = (c * offset[:, 0] + s * offset[:, 1]) / pose[:, 4]  # -0.5 rear to 0.5 front
    y = (-s * offset[:, 0] + c * offset[:, 1]) / pose[:, 5]
    z = offset[:, 2] + 0.5 * pose[:, 6]  # metres over the road
    high = z / pose[:, 6]
    material, side = scene.solids.material[solid[mine]], face[mine]
    colour, light = albedo[mine], np.zeros((len(mine), 3), np.float32)
    gloss = np.where(np.isin(material, (Material.PAINT, Material.BUS)), 0.12, 0.0)
    colour *= np.where(material == Material.PAINT, 0.75 + 0.5 * np.clip(high, 0, 0.6), 1.0)[:, None]
    glass = _glass(material, side, x, y, high)
    colour[glass] = _GLASS
    gloss[glass] = 0.3
    _lamps(colour, light, material, side, y, z, pose, lit, scene, owner[mine])
    albedo[mine], emission[mine], shine[mine] = colour, light, gloss


def _glass(material: NDArray, side: NDArray, x: NDArray, y: NDArray, high: NDArray) -> NDArray:
    cabin = (material == Material.CABIN) & (side != TOP)
    lengthwise = side <= BACK
    pillar = ~lengthwise & (np.abs(np.mod(x + 0.06, 0.21) - 0.105) > 0.093)
    edge = (lengthwise & (np.abs(y) > 0.42)) | (high > 0.955)
    glass = cabin & ~pillar & ~edge
    bus = (material == Material.BUS) & (high > 0.42) & (high < 0.82) & (side != TOP)
    bus &= lengthwise | (np.abs(np.mod(x, 0.125) - 0.0625) < 0.055)
    return glass | bus


def _lamps(
    colour: NDArray, light: NDArray, material: NDArray, side: NDArray, y: NDArray, z: NDArray,
    pose: NDArray, lit: float, scene: Scene, owner: NDArray,
) -> None:  # fmt: skip
    body = np.isin(material, (Material.PAINT, Material.BUS, Material.CARGO))
    low = np.where(pose[:, 6] > 2.4, 0.75, 0.62)
    band = body & (np.abs(z - low) < 0.11) & (np.abs(y) > 0.28) & (np.abs(y) < 0.49)
    head, tail = band & (side == FRONT), band & (side == BACK)
    colour[head] = (0.85, 0.88, 0.88)
    colour[tail] = (0.10, 0.08, 0.55)
    plate = body & (side <= BACK) & (np.abs(z - 0.55 * low - 0.1) < 0.07) & (np.abs(y) < 0.14)
    colour[plate] = (0.78, 0.8, 0.8)
    trim = body & (side <= BACK) & (z < 0.36)
    colour[trim] *= 0.35
    grille = body & (side == FRONT) & (np.abs(y) < 0.26) & (np.abs(z - low) < 0.1)
    colour[grille] = 0.05
    speed = np.array([np.hypot(*a.box.velocity_mps[:2]) for a in scene.actors], np.float32)
    # Parked vehicles keep their lamps off; waiting ones brake, which cannot be told apart here.
    on = (speed[owner] > 0.1) | (owner % 2 == 0)
    strength = 0.15 + 0.85 * lit
    light[head & on] = np.array([0.9, 1.0, 1.0], np.float32) * strength * (lit > 0)
    light[tail & on] = np.array([0.05, 0.04, 0.75], np.float32) * strength
    beacon = material == Material.BEACON
    blink = np.mod(scene.t_s * 2.0, 1.0) < 0.5
    light[beacon & ((y > 0) == blink)] = (1.0, 0.35, 0.1)
    light[beacon & ((y > 0) != blink)] = (0.05, 0.05, 0.8)
