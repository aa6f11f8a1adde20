"""Tapered boxes: the one shape that LiDAR rays hit and the camera draws.

A tapered box has a rectangle at the bottom and a (usually smaller) one at the top, which is
enough for bodies, cabins with sloped screens, buildings, limbs and foliage.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Material(IntEnum):
    """What a surface is made of; index into the tables of the sensors."""

    PAINT = 0
    CABIN = 1  # glass at the sides, paint on top
    TYRE = 2
    CARGO = 3
    BUS = 4
    CLOTH = 5
    SKIN = 6
    METAL = 7
    FACADE = 8
    WALL = 9
    FOLIAGE = 10
    SIGN = 11  # retro-reflective
    BEACON = 12
    GROUND = 13


STATIC = -1  # value of Solids.actor for what is not an actor

# Vertices 0 to 3 are the bottom rectangle, 4 to 7 the top one, both counter-clockwise from
# (x0, y0); faces are counter-clockwise seen from outside.
FACES = np.array(
    [[1, 2, 6, 5], [3, 0, 4, 7], [2, 3, 7, 6], [0, 1, 5, 4], [4, 5, 6, 7], [0, 3, 2, 1]]
)
FRONT, BACK, LEFT, RIGHT, TOP, BOTTOM = range(6)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One tapered box in the frame of its owner, metres; rectangles are (x0, x1, y0, y1)."""

    bottom: tuple[float, float, float, float]
    top: tuple[float, float, float, float]
    z0: float
    z1: float
    material: Material
    bgr: tuple[float, float, float]  # 0 to 1

    def vertices(self) -> NDArray[np.float64]:
        """Return the corners, (8, 3)."""
        corners = []
        for (x0, x1, y0, y1), z in ((self.bottom, self.z0), (self.top, self.z1)):
            corners += [(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)]
        return np.array(corners)


def box(
    x: tuple[float, float],
    y: tuple[float, float],
    z: tuple[float, float],
    material: Material,
    bgr: tuple[float, float, float],
    *,
    taper: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
) -> Part:
    """Return a box whose top is drawn in by `taper` metres at (back, front, right, left)."""
    back, front, right, left = taper
    return Part(
        bottom=(x[0], x[1], y[0], y[1]),
        top=(x[0] + back, x[1] - front, y[0] + right, y[1] - left),
        z0=z[0],
        z1=z[1],
        material=material,
        bgr=bgr,
    )


@dataclass(frozen=True, kw_only=True)
class Solids:
    """Many tapered boxes in one frame."""

    vertices_m: NDArray[np.float32]  # (N, 8, 3)
    material: NDArray[np.uint8]  # (N,)
    bgr: NDArray[np.float32]  # (N, 3), 0 to 1
    actor: NDArray[np.int32]  # (N,), index into the actors of the scene, STATIC for the rest

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.material)

    def select(self, keep: NDArray) -> Solids:
        """Return the boxes chosen by a mask or an index array."""
        return Solids(
            vertices_m=self.vertices_m[keep],
            material=self.material[keep],
            bgr=self.bgr[keep],
            actor=self.actor[keep],
        )

    def planes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return outward unit normals (N, 6, 3) and offsets (N, 6) with n·p <= offset inside."""
        quads = self.vertices_m[:, FACES]  # (N, 6, 4, 3)
        # Diagonals stay well defined when one edge has shrunk to nothing.
        normals = np.cross(quads[:, :, 2] - quads[:, :, 0], quads[:, :, 3] - quads[:, :, 1])
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
        offsets = np.einsum("nfk,nfk->nf", normals, quads.mean(axis=2))
        return normals.astype(np.float32), offsets.astype(np.float32)


def from_parts(parts: list[Part], actor: list[int]) -> Solids:
    """Return the parts as arrays, still in the frame of each owner."""
    if not parts:
        return Solids(
            vertices_m=np.zeros((0, 8, 3), np.float32),
            material=np.zeros(0, np.uint8),
            bgr=np.zeros((0, 3), np.float32),
            actor=np.zeros(0, np.int32),
        )
    return Solids(
        vertices_m=np.stack([p.vertices() for p in parts]).astype(np.float32),
        material=np.array([p.material for p in parts], np.uint8),
        bgr=np.array([p.bgr for p in parts], np.float32),
        actor=np.array(actor, np.int32),
    )


def concatenate(first: Solids, second: Solids) -> Solids:
    """Return both sets, in this order."""
    return Solids(
        vertices_m=np.concatenate([first.vertices_m, second.vertices_m]),
        material=np.concatenate([first.material, second.material]),
        bgr=np.concatenate([first.bgr, second.bgr]),
        actor=np.concatenate([first.actor, second.actor]),
    )
