"""A perspective camera: depth buffer first, then the look of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import ImageFrame
from edge_perception.simulation.lens import apply_lens
from edge_perception.simulation.noise import noise_tile
from edge_perception.simulation.raster import (
    Pinhole,
    VisibleFace,
    polygon_mask,
    rasterise,
    visible_faces,
)
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
    """Return the ideal camera of a configured one: level, principal point central."""
    focal = 0.5 * camera.width / np.tan(0.5 * np.radians(camera.horizontal_fov_deg))
    T_base_camera = np.eye(4)
    T_base_camera[:3, :3] = _turned(np.radians(camera.yaw_deg)) @ _OPTICAL
    T_base_camera[:3, 3] = camera.position_m
    return Pinhole(
        width=camera.width,
        height=camera.height,
        intrinsics=np.array(
            [[focal, 0, 0.5 * (camera.width - 1)], [0, focal, 0.5 * (camera.height - 1)], [0, 0, 1]]
        ),
        T_base_camera=T_base_camera,
    )


def _turned(yaw_rad: float) -> NDArray[np.float64]:
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def render(
    scene: Scene, pinhole: Pinhole, *, weather: str, light: str, look_seed: int,
    rng: np.random.Generator, stamp_ns: int, dirty_lens: float = 0.0,
    wet_lens: float = 0.0, frame_id: str = "camera_optical",
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
        dirty_lens: Share of the view that dirt covers, 0 to 1.
        wet_lens: Share of the view that drops cover, 0 to 1.
        frame_id: Frame of the image.
    """
    raster = rasterise(scene.solids, scene.ground, pinhole, noise_tile(look_seed))
    colour, glow = shade(scene, pinhole, raster, weather=weather, light=light, seed=look_seed)
    bgr = apply_lens(
        colour, glow, weather=weather, light=light, dirty_lens=dirty_lens, wet_lens=wet_lens,
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
    outlines: dict[int, list[VisibleFace]] = {}
    for item in visible_faces(solids.select(mine), pinhole):
        outlines.setdefault(int(solids.actor[mine[item.face // 6]]), []).append(item)
    counts = np.bincount(actor[actor >= 0], minlength=len(scene.actors))
    size = np.array([pinhole.width, pinhole.height])
    result = {}
    for index, faces in outlines.items():
        corners = np.concatenate([item.polygon for item in faces])
        low, high = corners.min(axis=0), corners.max(axis=0)
        inside = np.clip(np.minimum(high, size) - np.maximum(low, 0), 0, None)
        alone = _outline_pixels(faces)
        if alone == 0:
            continue
        result[index] = Visibility(
            pixels=int(counts[index]),
            visible_fraction=min(1.0, float(counts[index]) / alone),
            truncation=1.0 - float(np.prod(inside)) / max(float(np.prod(high - low)), 1e-9),
        )
    return result


def _outline_pixels(faces: list[VisibleFace]) -> int:
    windows = np.array([item.window for item in faces])
    (u0, v0), (u1, v1) = windows[:, :2].min(axis=0), windows[:, 2:].max(axis=0)
    mask = np.zeros((v1 - v0, u1 - u0), np.uint8)
    for item in faces:
        a, b, c, d = item.window
        mask[b - v0 : d - v0, a - u0 : c - u0] |= polygon_mask(item, item.window)
    return int(np.count_nonzero(mask))
