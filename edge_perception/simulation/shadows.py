"""Shadows of road users on the road, as an image mask."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.raster import Pinhole
from edge_perception.simulation.world import Scene

_REACH_M = 60.0


def shadow_mask(
    scene: Scene, pinhole: Pinhole, sun: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Return the share of light that road users take from the road, (H, W), 0 to 0.85.

    Args:
        scene: Who casts shadows.
        pinhole: The camera.
        sun: Unit vector towards the sun, base axes; None: only the dark below each body.
    """
    mask = np.zeros((pinhole.height, pinhole.width), np.uint8)
    R, origin = pinhole.T_base_camera[:3, :3], pinhole.T_base_camera[:3, 3]
    K = pinhole.intrinsics
    order = np.argsort(scene.solids.actor, kind="stable")
    owners = scene.solids.actor[order]
    for index, state in enumerate(scene.actors):
        x, y, z = state.box.center_m
        if np.hypot(x - origin[0], y - origin[1]) > _REACH_M:
            continue
        first, last = np.searchsorted(owners, (index, index + 1))
        body = scene.solids.vertices_m[order[first:last]].reshape(-1, 3)
        if not len(body):
            continue
        foot = z - 0.5 * state.box.size_m[2]
        flat = body.copy()
        flat[:, 2] = foot
        if sun is not None:
            cast = flat.copy()
            cast[:, :2] -= sun[:2] / sun[2] * (body[:, 2:] - foot)
            flat = np.concatenate([flat, cast])
        seen = (flat - origin) @ R
        if seen[:, 2].min() < 0.5:
            continue
        pixels = (seen[:, :2] / seen[:, 2:]) @ K[:2, :2].T + K[:2, 2]
        outline = cv2.convexHull(np.clip(pixels, -30000, 30000).astype(np.int32))
        cv2.fillConvexPoly(mask, outline, 255)
    return cv2.blur(mask, (5, 5)).astype(np.float32) * np.float32(0.85 / 255.0)
