"""Depth buffer of a perspective camera: which face is seen at each pixel, and how far."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.ground import Ground
from edge_perception.simulation.solids import FACES, Material, Solids

SKY = -2  # values of Raster.face that are no face
ROAD = -1
_NEAR_M = 0.3
_GROUND_STEP = 16  # the road is smooth: its depth is found on a coarse grid of pixels
_SMALLEST_PX = 4  # windows this small add nothing to see
_SHIFT = 4  # fractional bits of polygon corners


@dataclass(frozen=True, kw_only=True)
class Pinhole:
    """An ideal camera in the base frame."""

    width: int
    height: int
    intrinsics: NDArray[np.float64]  # (3, 3), px
    T_base_camera: NDArray[np.float64]  # (4, 4), optical frame

    def rays(self, step: int = 1) -> NDArray[np.float32]:
        """Return directions of every `step`-th pixel in base axes, (h, w, 3), optical depth 1.

        One row and column more than fit are returned, so that the last pixels lie between rays.
        """
        fx, fy, cx, cy = (self.intrinsics[i] for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
        u = (np.arange(0, self.width + step, step) - cx) / fx
        v = (np.arange(0, self.height + step, step) - cy) / fy
        R = self.T_base_camera[:3, :3].astype(np.float32)
        u, v = u.astype(np.float32), v.astype(np.float32)
        return u[None, :, None] * R[:, 0] + v[:, None, None] * R[:, 1] + R[:, 2]


@dataclass(frozen=True, kw_only=True)
class Raster:
    """What each pixel shows."""

    inverse_depth: NDArray[np.float32]  # (H, W), 1/m along the optical axis, 0: sky
    face: NDArray[np.int32]  # (H, W), solid index * 6 + face, ROAD or SKY


def rasterise(solids: Solids, ground: Ground, camera: Pinhole, tile: NDArray) -> Raster:
    """Return what is nearest at each pixel; `tile` is the noise that leaves gaps in foliage."""
    inverse_depth = _ground_depth(ground, camera)
    face = np.where(inverse_depth > 0, np.int32(ROAD), np.int32(SKY))
    for item in visible_faces(solids, camera):
        leaves = tile if solids.material[item.face // 6] == Material.FOLIAGE else None
        _fill(inverse_depth, face, item, leaves)
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
    # Corner-aligned enlargement, so that a coarse sample stays at its pixel.
    u = np.arange(camera.width, dtype=np.float32) / _GROUND_STEP
    v = np.arange(camera.height, dtype=np.float32) / _GROUND_STEP
    depth = cv2.remap(
        coarse,
        np.ascontiguousarray(np.broadcast_to(u, (camera.height, camera.width))),
        np.ascontiguousarray(np.broadcast_to(v[:, None], (camera.height, camera.width))),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(depth, np.float32)


@dataclass(frozen=True)
class VisibleFace:
    """One face that looks at the camera."""

    polygon: NDArray[np.float64]  # (P, 2), px
    window: tuple[int, int, int, int]  # u0, v0, u1, v1: the pixels it can touch
    plane: NDArray[np.float64]  # (a, b, c): inverse depth a u + b v + c at pixel (u, v)
    face: int  # solid index * 6 + face


def visible_faces(solids: Solids, camera: Pinhole) -> list[VisibleFace]:
    """Return what faces the camera and reaches into the image, near to far."""
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
    windows = _windows(pixels, camera)
    size = windows[:, 2:] - windows[:, :2]
    touching = (size > 0).all(axis=1) & (size.prod(axis=1) > _SMALLEST_PX)
    keep = np.nonzero((whole & touching) | (~whole & (depth.max(axis=1) > _NEAR_M)))[0]
    result = []
    for i in keep[np.argsort(depth[keep].min(axis=1))]:
        polygon, window = pixels[i], windows[i]
        if not whole[i]:
            polygon = _clip_near(quads[i]) * (fx, fy) + (cx, cy)
            window = _windows(polygon[None], camera)[0]
            if window[2] <= window[0] or window[3] <= window[1]:
                continue
        face = int(solid[i] * 6 + number[i])
        result.append(VisibleFace(polygon, tuple(window.tolist()), planes[i], face))
    return result


def _windows(pixels: NDArray, camera: Pinhole) -> NDArray[np.int64]:
    """Return the pixel windows (M, 4) of polygons (M, P, 2), cut at the image."""
    size = (camera.width, camera.height)
    low = np.clip(np.floor(pixels.min(axis=1)), 0, size)
    high = np.clip(np.floor(pixels.max(axis=1)) + 2, 0, size)
    return np.concatenate([low, high], axis=1).astype(np.int64)


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


def polygon_mask(item: VisibleFace, window: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Return a mask of the window, 1 where the polygon is."""
    u0, v0, u1, v1 = window
    mask = np.zeros((v1 - v0, u1 - u0), np.uint8)
    corners = np.clip((item.polygon - (u0, v0)) * (1 << _SHIFT), -2e7, 2e7)
    cv2.fillConvexPoly(mask, np.rint(corners).astype(np.int32), 1, shift=_SHIFT)
    return mask


def _fill(inverse_depth: NDArray, face: NDArray, item: VisibleFace, leaves: NDArray | None) -> None:
    u0, v0, u1, v1 = item.window
    a, b, c = item.plane
    u = np.arange(u0, u1, dtype=np.float32) * np.float32(a) + np.float32(c)
    v = np.arange(v0, v1, dtype=np.float32) * np.float32(b)
    new = u + v[:, None]
    view = inverse_depth[v0:v1, u0:u1]
    nearer = new > view
    if not nearer.any():
        return
    nearer &= polygon_mask(item, item.window).view(bool)
    if leaves is not None:
        row, column = np.mod(np.array([v1 - v0, u1 - u0]) * item.face, 128)
        rows = min(v1 - v0, 384)
        columns = min(u1 - u0, 384)
        gap = leaves[row : row + rows, column : column + columns] < 0.36
        nearer[:rows, :columns] &= ~gap
    np.copyto(view, new, where=nearer)
    np.copyto(face[v0:v1, u0:u1], np.int32(item.face), where=nearer)
