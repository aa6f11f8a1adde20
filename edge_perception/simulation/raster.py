"""Depth buffer of a perspective camera: which face is seen at each pixel, and how far."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.ground import Ground
from edge_perception.simulation.solids import FACES, Solids

SKY = -2  # values of Raster.face that are no face
ROAD = -1
_NEAR_M = 0.3
_GROUND_STEP = 8  # the road is smooth: its depth is found on every eighth pixel
_SHIFT = 4  # fractional bits of polygon corners


@dataclass(frozen=True, kw_only=True)
class Pinhole:
    """An ideal camera in the base frame."""

    width: int
    height: int
    intrinsics: NDArray[np.float64]  # (3, 3), px
    T_base_camera: NDArray[np.float64]  # (4, 4), optical frame

    def rays(self, step: int = 1) -> NDArray[np.float32]:
        """Return directions of the pixel centres in base axes with unit optical depth, (h, w, 3)."""
        fx, fy, cx, cy = (self.intrinsics[i] for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
        u = (np.arange(0, self.width + step - 1, step) - cx) / fx
        v = (np.arange(0, self.height + step - 1, step) - cy) / fy
        R = self.T_base_camera[:3, :3].astype(np.float32)
        u, v = u.astype(np.float32), v.astype(np.float32)
        return u[None, :, None] * R[:, 0] + v[:, None, None] * R[:, 1] + R[:, 2]


@dataclass(frozen=True, kw_only=True)
class Raster:
    """What each pixel shows."""

    inverse_depth: NDArray[np.float32]  # (H, W), 1/m along the optical axis, 0: sky
    face: NDArray[np.int32]  # (H, W), solid index * 6 + face, ROAD or SKY


def rasterise(solids: Solids, ground: Ground, camera: Pinhole) -> Raster:
    """Return what is nearest at each pixel."""
    inverse_depth = _ground_depth(ground, camera)
    face = np.where(inverse_depth > 0, np.int32(ROAD), np.int32(SKY))
    for polygon, plane, index in visible_faces(solids, camera):
        _fill(inverse_depth, face, polygon, plane, index)
    return Raster(inverse_depth=inverse_depth, face=face)


def _ground_depth(ground: Ground, camera: Pinhole) -> NDArray[np.float32]:
    rays = camera.rays(_GROUND_STEP)
    horizontal = np.maximum(np.hypot(rays[..., 0], rays[..., 1]), 1e-4)
    distance = ground.cast(
        camera.T_base_camera[:3, 3],
        (rays[..., 0] / horizontal, rays[..., 1] / horizontal),
        rays[..., 2] / horizontal,
    )
    coarse = (horizontal / distance).astype(np.float32)
    height, width = coarse.shape
    # Corner-aligned enlargement, so that a coarse sample stays at its pixel.
    u = np.arange(camera.width, dtype=np.float32) / _GROUND_STEP
    v = np.arange(camera.height, dtype=np.float32) / _GROUND_STEP
    return cv2.remap(
        coarse,
        np.ascontiguousarray(np.broadcast_to(u, (camera.height, camera.width))),
        np.ascontiguousarray(np.broadcast_to(v[:, None], (camera.height, camera.width))),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def visible_faces(
    solids: Solids, camera: Pinhole
) -> list[tuple[NDArray[np.float64], NDArray[np.float64], int]]:
    """Return polygons (P, 2) in px, planes and face numbers of what faces the camera.

    A plane (a, b, c) gives the inverse depth a u + b v + c at pixel (u, v).
    """
    R, origin = camera.T_base_camera[:3, :3], camera.T_base_camera[:3, 3]
    normals, offsets = solids.planes()
    reach = offsets - normals @ origin.astype(np.float32)
    points = (solids.vertices_m - origin.astype(np.float32)) @ R.astype(np.float32)
    solid, number = np.nonzero((reach < -1e-3) & (points[..., 2].max(axis=1) > _NEAR_M)[:, None])
    quads = points[solid[:, None], FACES[number]].astype(np.float64)  # (M, 4, 3)
    fx, fy, cx, cy = (camera.intrinsics[i] for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    normal = normals[solid, number] @ R / reach[solid, number, None]
    planes = np.stack(
        [normal[:, 0] / fx, normal[:, 1] / fy,
         normal[:, 2] - normal[:, 0] * cx / fx - normal[:, 1] * cy / fy], axis=1
    )  # fmt: skip
    depth = quads[..., 2]
    pixels = quads[..., :2] / np.maximum(depth, _NEAR_M)[..., None] * (fx, fy) + (cx, cy)
    whole = depth.min(axis=1) > _NEAR_M
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    inside = (high > -0.5).all(1) & (low[:, 0] < camera.width) & (low[:, 1] < camera.height)
    keep = np.nonzero((whole & inside) | (~whole & (depth.max(axis=1) > _NEAR_M)))[0]
    keep = keep[np.argsort(depth[keep].min(axis=1))]
    result = []
    for i in keep:
        polygon = pixels[i] if whole[i] else _clip_near(quads[i]) * (fx, fy) + (cx, cy)
        result.append((polygon, planes[i], int(solid[i] * 6 + number[i])))
    return result


def _clip_near(quad: NDArray) -> NDArray:
    """Cut a polygon at the near plane and return it divided by depth, (P, 2)."""
    kept = []
    for a, b in zip(quad, np.roll(quad, -1, axis=0), strict=True):
        if a[2] >= _NEAR_M:
            kept.append(a)
        if (a[2] >= _NEAR_M) != (b[2] >= _NEAR_M):
            kept.append(a + (b - a) * ((_NEAR_M - a[2]) / (b[2] - a[2])))
    points = np.array(kept)
    return points[:, :2] / points[:, 2:]


def _fill(
    inverse_depth: NDArray, face: NDArray, polygon: NDArray, plane: NDArray, index: int
) -> None:
    height, width = face.shape
    u0, v0 = np.maximum(np.floor(polygon.min(axis=0)), 0).astype(int)
    u1 = min(int(polygon[:, 0].max()) + 2, width)
    v1 = min(int(polygon[:, 1].max()) + 2, height)
    if u1 <= u0 or v1 <= v0:
        return
    mask = np.zeros((v1 - v0, u1 - u0), np.uint8)
    corners = np.clip((polygon - (u0, v0)) * (1 << _SHIFT), -2e7, 2e7)
    cv2.fillConvexPoly(mask, np.rint(corners).astype(np.int32), 1, shift=_SHIFT)
    u = np.arange(u0, u1, dtype=np.float32) * np.float32(plane[0]) + np.float32(plane[2])
    v = np.arange(v0, v1, dtype=np.float32) * np.float32(plane[1])
    new = u[None, :] + v[:, None]
    view = inverse_depth[v0:v1, u0:u1]
    nearer = (new > view) & mask.view(bool)
    np.copyto(view, new, where=nearer)
    np.copyto(face[v0:v1, u0:u1], np.int32(index), where=nearer)
