"""Things beside and on the road that are no road users, in training scenes alone.

Real streets are full of what the simulator's own furniture is not: windows through which rays pass
into rooms, posts of a person's size, bushes of a car's size. A network that has not seen them calls
them pedestrians and cars.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.solids import (
    STATIC,
    Material,
    Part,
    Solids,
    box,
    concatenate,
    from_parts,
)
from edge_perception.simulation.world import Scene

_GREY, _GREEN, _BROWN = (0.4, 0.4, 0.4), (0.1, 0.3, 0.15), (0.2, 0.25, 0.3)
_MARGIN_M = 0.6  # from a road user
_REACH_M = (-40.0, 60.0, 30.0)  # x from, x to, |y| to
_EGO_M = 3.5
_HOUSE_M = 2.0  # nothing narrower is a house


def with_obstacles(scene: Scene, rng: np.random.Generator) -> Scene:
    """Return the scene with obstacles where no road user is, standing on its ground."""
    result = scene.solids
    for maker, most in _MAKERS:
        for _ in range(int(rng.integers(0, most + 1))):
            parts = maker(rng)
            x, y, yaw = _stand(scene, rng, at_houses=maker is _front_with_windows)
            z = float(scene.ground.height(np.float32(x), np.float32(y)))
            solids = _placed(parts, x, y, yaw, z)
            if not _is_free(solids.vertices_m, scene):
                continue
            if maker is _front_with_windows:  # in the place of the house that it would stand in
                result = result.select(~_houses_at(result, solids.vertices_m))
            result = concatenate(result, solids)
    return replace(scene, solids=result)


def _stand(
    scene: Scene, rng: np.random.Generator, *, at_houses: bool
) -> tuple[float, float, float]:
    """Return x, y and yaw: on a pavement, before the houses (back to them), or anywhere."""
    street, pavement = scene.layout.main, scene.layout.sidewalk_m
    side = float(rng.choice([-1.0, 1.0]))
    x = float(rng.uniform(*_REACH_M[:2]))
    if at_houses:
        left = side * (street.kerb_m + pavement * rng.uniform(0.4, 0.9))
        return x, street.centre_m + left, 0.0 if side > 0 else np.pi
    yaw = float(rng.choice([0.0, 0.5 * np.pi]) + rng.normal(0, 0.15))
    if rng.random() < 0.75:
        left = side * (street.kerb_m + rng.uniform(-1.0, pavement + 1.0))
        return x, street.centre_m + left, yaw
    return x, float(side * rng.uniform(2.0, _REACH_M[2])), yaw


def _placed(parts: tuple[Part, ...], x: float, y: float, yaw: float, z: float) -> Solids:
    solids = from_parts(list(parts), [STATIC] * len(parts))
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)
    vertices = solids.vertices_m @ turn.T + np.array([x, y, z], np.float32)
    return replace(solids, vertices_m=vertices.astype(np.float32))


def _houses_at(solids: Solids, vertices: NDArray) -> NDArray[np.bool_]:
    low, high = vertices[..., :2].min((0, 1)), vertices[..., :2].max((0, 1))
    first, last = solids.vertices_m[..., :2].min(1), solids.vertices_m[..., :2].max(1)
    meets = ((first < high) & (last > low)).all(axis=1)
    wide = (last - first).min(axis=1) > _HOUSE_M
    return meets & wide & (solids.material == Material.FACADE) & (solids.actor == STATIC)


def _is_free(vertices: NDArray, scene: Scene) -> bool:
    low, high = vertices[..., :2].min((0, 1)), vertices[..., :2].max((0, 1))
    if (low < _EGO_M).all() and (high > -_EGO_M).all():
        return False
    for actor in scene.actors:
        b = actor.box
        reach = 0.5 * float(np.hypot(b.size_m[0], b.size_m[1])) + _MARGIN_M
        place = np.array(b.center_m[:2])
        if (low < place + reach).all() and (high > place - reach).all():
            return False
    return True


def _post(rng: np.random.Generator) -> tuple[Part, ...]:
    """A bollard, a meter, a hydrant, a trunk: as high and thick as a person, or thinner."""
    r, height = rng.uniform(0.04, 0.3), rng.uniform(0.6, 2.6)
    t = float(rng.uniform(0.0, 0.6) * r)
    material = Material.METAL if rng.random() < 0.6 else Material.WALL
    post = box((-r, r), (-r, r), (-0.5, height), material, _BROWN, taper=(t, t, t, t))
    if rng.random() < 0.4:  # a meter, a sign, a lamp on top
        h = rng.uniform(0.1, 0.4)
        head = box((-h / 2, h / 2), (-h, h), (height - 0.1, height + h), Material.SIGN, _GREY)
        return post, head
    return (post,)


def _cabinet(rng: np.random.Generator) -> tuple[Part, ...]:
    """A bin, a cabinet, a bench, a container, a stall: up to the size of a car."""
    hx, hy = rng.uniform(0.15, 2.2), rng.uniform(0.15, 0.9)
    low = rng.uniform(-0.3, 0.5)
    material = Material.METAL if rng.random() < 0.3 else Material.WALL
    return (box((-hx, hx), (-hy, hy), (low, low + rng.uniform(0.3, 2.2)), material, _GREY),)


def _bush(rng: np.random.Generator) -> tuple[Part, ...]:
    """Leaves from the size of a person to that of two cars."""
    length, width, height = rng.uniform(0.4, 6.0), rng.uniform(0.4, 2.5), rng.uniform(0.5, 3.0)
    parts = []
    for _ in range(int(rng.integers(1, 6))):
        x, y = rng.uniform(-0.5, 0.5, 2) * (length, width)
        hx, hy = rng.uniform(0.2, 0.5) * length, rng.uniform(0.2, 0.5) * width
        t = float(min(hx, hy) * rng.uniform(0.2, 0.9))
        parts.append(
            box((x - hx, x + hx), (y - hy, y + hy), (-0.3, height * rng.uniform(0.5, 1.0)),
                Material.FOLIAGE, _GREEN, taper=(t, t, t, t))
        )  # fmt: skip
    return tuple(parts)


def _front_with_windows(rng: np.random.Generator) -> tuple[Part, ...]:
    """A house front of pillars; through its openings rays meet what stands in the room."""
    length, height, depth = rng.uniform(6, 25), rng.uniform(2.5, 6), rng.uniform(1.5, 7)
    sill = rng.uniform(0.0, 1.1)
    parts = [
        box((-length / 2, length / 2), (depth, depth + 0.3), (-1, height), Material.WALL, _GREY),
        box((-length / 2, length / 2), (0, 0.25), (height - 0.6, height), Material.FACADE, _GREY),
    ]
    if sill > 0.2:
        parts.append(box((-length / 2, length / 2), (0, 0.2), (-1, sill), Material.FACADE, _GREY))
    x = -length / 2
    while x < length / 2:
        w = rng.uniform(0.1, 1.5)
        parts.append(box((x, x + w), (0, 0.25), (-1, height), Material.FACADE, _GREY))
        x += w + rng.uniform(0.8, 3.5)
    for _ in range(int(rng.integers(0, 12))):
        cx, cy = rng.uniform(-0.5, 0.5) * length, rng.uniform(0.5, max(depth, 0.6))
        hx, hy, top = rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.6), rng.uniform(0.5, 2.2)
        parts.append(
            box((cx - hx, cx + hx), (cy - hy, cy + hy), (-0.3, top), Material.CLOTH, _BROWN)
        )
    return tuple(parts)


def _barrier(rng: np.random.Generator) -> tuple[Part, ...]:
    """A fence, a guard rail, a row of concrete blocks or of posts."""
    length, height = rng.uniform(2, 20), rng.uniform(0.5, 2.0)
    kind = rng.random()
    if kind < 0.4:
        return (box((0, length), (-0.1, 0.1), (-0.3, height), Material.WALL, _GREY),)
    step, r = rng.uniform(0.5, 3.0), rng.uniform(0.03, 0.2)
    posts = [
        box((x - r, x + r), (-r, r), (-0.3, height), Material.METAL, _GREY)
        for x in np.arange(0.0, length, step)[:16]
    ]
    if kind < 0.7:
        z = height * rng.uniform(0.4, 0.9)
        posts.append(box((0, length), (-0.04, 0.04), (z, z + 0.3), Material.METAL, _GREY))
    return tuple(posts)


_MAKERS = ((_front_with_windows, 4), (_post, 25), (_cabinet, 12), (_bush, 12), (_barrier, 4))
