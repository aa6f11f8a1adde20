"""A perspective camera: depth buffer first, then the look of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import ImageFrame
from edge_perception.simulation.lens import apply_lens
from edge_perception.simulation.raster import Pinhole, Raster, rasterise, visible_faces
from edge_perception.simulation.scenario import Camera
from edge_perception.simulation.shading import shade
from edge_perception.simulation.world import Scene

# Columns: axes of an optical frame (right, down, forward) in base axes, REP-103.
_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True, kw_only=True)
class Visibility:
    """How much of one road user a camera sees."""

    pixels: int  # px that show it
    visible_fraction: float  # of its outline inside the image, 0 to 1
    truncation: float  # share of its outline outside the image, 0 to 1


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A rendered image with what it shows."""

    image: ImageFrame
    visibility: dict[int, Visibility]  # by index into Scene.actors, those with any outline in view
    actor: NDArray[np.int32]  # (H, W), index into Scene.actors, -1 for the rest
    depth_m: NDArray[np.float32]  # (H, W), along the optical axis, inf: sky


def pinhole_of(camera: Camera) -> Pinhole:
    """Return the ideal camera of a configured one: looks along +x, principal point central."""
    focal = 0.5 * camera.width / np.tan(0.5 * np.radians(camera.horizontal_fov_deg))
    T_base_camera = np.eye(4)
    T_base_camera[:3, :3] = _OPTICAL
    T_base_camera[:3, 3] = camera.position_m
    return Pinhole(
        width=camera.width,
        height=camera.height,
        intrinsics=np.array(
            [[focal, 0, 0.5 * (camera.width - 1)], [0, focal, 0.5 * (camera.height - 1)], [0, 0, 1]]
        ),
        T_base_camera=T_base_camera,
    )


def render(
    scene: Scene, pinhole: Pinhole, *, weather: str, light: str, look_seed: int,
    rng: np.random.Generator, stamp_ns: int, dirty_lens: float = 0.0,
    frame_id: str = "camera_optical",
) -> Picture:  # fmt: skip
    """Return the image of a scene.

    Args:
        scene: What is there, base frame.
        pinhole: Intrinsics, size and pose of the camera.
        weather: ``clear``, ``fog`` or ``rain``.
        light: ``day``, ``dusk`` or ``night``.
        look_seed: Fixes what belongs to the place: sun, sky, textures, lit windows.
        rng: Noise of this image.
        stamp_ns: Stamp of the image.
        dirty_lens: Share of the lens covered, 0 to 1.
        frame_id: Frame of the image.
    """
    raster = rasterise(scene.solids, scene.ground, pinhole)
    colour, glow = shade(scene, pinhole, raster, weather=weather, light=light, seed=look_seed)
    bgr = apply_lens(
        colour, glow, weather=weather, light=light, dirty_lens=dirty_lens,
        seed=look_seed, rng=rng,
    )  # fmt: skip
    owner = np.append(scene.solids.actor, np.int32(-1))
    actor = owner[np.where(raster.face >= 0, raster.face // 6, -1)]
    with np.errstate(divide="ignore"):
        depth = np.float32(1.0) / raster.inverse_depth
    return Picture(
        image=ImageFrame(
            stamp_ns=stamp_ns, frame_id=frame_id, bgr=bgr, intrinsics=pinhole.intrinsics.copy()
        ),
        visibility=_visibility(scene, pinhole, actor),
        actor=actor,
        depth_m=depth,
    )


def _visibility(scene: Scene, pinhole: Pinhole, actor: NDArray) -> dict[int, Visibility]:
    """Compare what is seen of each road user with its outline if nothing stood before it."""
    solids = scene.solids
    mine = np.nonzero(solids.actor >= 0)[0]
    outlines: dict[int, list[NDArray]] = {}
    for polygon, _, face in visible_faces(solids.select(mine), pinhole):
        outlines.setdefault(int(solids.actor[mine[face // 6]]), []).append(polygon)
    counts = np.bincount(actor[actor >= 0], minlength=len(scene.actors))
    size = np.array([pinhole.width, pinhole.height])
    result = {}
    for index, polygons in outlines.items():
        corners = np.concatenate(polygons).astype(np.float32)
        low, high = corners.min(axis=0), corners.max(axis=0)
        area = float(np.prod(high - low))
        overlap = np.clip(np.minimum(high, size) - np.maximum(low, 0), 0, None)
        inside = float(np.prod(overlap))
        alone = _outline_pixels(polygons, low, high, size)
        if alone == 0:
            continue
        result[index] = Visibility(
            pixels=int(counts[index]),
            visible_fraction=min(1.0, float(counts[index]) / alone),
            truncation=1.0 - inside / max(area, 1e-9),
        )
    return result


def _outline_pixels(polygons: list[NDArray], low: NDArray, high: NDArray, size: NDArray) -> int:
    first = np.maximum(np.floor(low), 0).astype(int)
    last = np.minimum(np.ceil(high) + 1, size).astype(int)
    if (last <= first).any():
        return 0
    mask = np.zeros((last[1] - first[1], last[0] - first[0]), np.uint8)
    for polygon in polygons:
        corners = np.rint(np.clip((polygon - first) * 16, -2e7, 2e7)).astype(np.int32)
        cv2.fillConvexPoly(mask, corners, 1, shift=4)
    return int(np.count_nonzero(mask))


def raster_only(scene: Scene, pinhole: Pinhole) -> Raster:
    """Return the depth buffer without the look, for tests of geometry."""
    return rasterise(scene.solids, scene.ground, pinhole)
