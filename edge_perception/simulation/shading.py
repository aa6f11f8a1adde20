"""The look of every pixel: sky, road and solids under day, dusk and night."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.noise import lookup, noise_tile
from edge_perception.simulation.paint import actor_colours, facade_colours
from edge_perception.simulation.pavement import road_colours
from edge_perception.simulation.raster import SKY, Pinhole, Raster
from edge_perception.simulation.seeding import stream
from edge_perception.simulation.solids import Material
from edge_perception.simulation.world import Scene

FOG_PER_M = {"clear": 0.0008, "rain": 0.006, "fog": 0.028}


@dataclass(frozen=True, kw_only=True)
class Light:
    """Illumination of a scene; colours are BGR, linear, 1 is white in daylight."""

    sun: NDArray[np.float32]  # (3,), unit vector towards the sun, base axes
    direct: NDArray[np.float32]  # (3,), BGR
    ambient: NDArray[np.float32]  # (3,), BGR
    zenith: NDArray[np.float32]  # (3,), BGR of the sky above
    horizon: NDArray[np.float32]  # (3,), BGR of the sky at the horizon and of fog
    headlights: float  # strength of the lamps of the ego vehicle
    lit: float  # strength of lamps and windows, 0 in daylight


def light_of(light: str, weather: str, rng: np.random.Generator) -> Light:
    """Return the illumination; the direction of the sun is drawn."""
    azimuth = rng.uniform(-np.pi, np.pi)
    elevation = np.radians(rng.uniform(25, 65) if light == "day" else rng.uniform(4, 12))
    sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation),
                    np.sin(elevation)])  # fmt: skip
    table = {
        "day": ((0.62, 0.70, 0.75), (0.50, 0.44, 0.40), (0.85, 0.62, 0.42), (0.92, 0.86, 0.80),
                0.0, 0.0),
        "dusk": ((0.12, 0.22, 0.40), (0.26, 0.21, 0.20), (0.38, 0.24, 0.20), (0.42, 0.52, 0.75),
                 0.2, 0.6),
        "night": ((0.0, 0.0, 0.0), (0.055, 0.045, 0.042), (0.035, 0.02, 0.015),
                  (0.07, 0.06, 0.06), 0.8, 1.0),
    }[light]  # fmt: skip
    direct, ambient, zenith, horizon = (np.array(v, np.float32) for v in table[:4])
    if weather != "clear":
        grey = np.float32(0.75 if light == "day" else 1.0)
        ambient = ambient + 0.35 * direct
        direct = 0.05 * direct
        zenith = grey * horizon * np.float32(0.9)
        horizon = horizon * grey
    return Light(
        sun=sun.astype(np.float32), direct=direct, ambient=ambient, zenith=zenith,
        horizon=horizon, headlights=table[4], lit=table[5],
    )  # fmt: skip


def shade(
    scene: Scene, pinhole: Pinhole, raster: Raster, *, weather: str, light: str, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the light of each pixel and what of it glows, (H, W, 3) BGR, linear, 0 to about 1."""
    rng = stream(seed, "look")
    lamp = light_of(light, weather, rng)
    tile = noise_tile(seed)
    rays = pinhole.rays()
    colour = _sky(rays, raster, lamp, tile)
    glow = np.zeros_like(colour)
    range_m = np.linalg.norm(rays, axis=2) / np.maximum(raster.inverse_depth, 1e-6)
    _draw_road(colour, scene, pinhole, raster, rays, lamp, weather, tile)
    _draw_solids(colour, glow, scene, pinhole, raster, rays, lamp, tile, seed)
    density = FOG_PER_M[weather]
    seen = raster.face != SKY
    clear = np.exp(-density * range_m, where=seen, out=np.zeros_like(range_m))[..., None]
    if weather == "clear":
        clear = np.where(seen[..., None], clear, np.float32(1.0))
    colour = colour * clear + lamp.horizon * (1 - clear)
    return colour, glow * clear


def _sky(rays: NDArray, raster: Raster, lamp: Light, tile: NDArray) -> NDArray[np.float32]:
    norm = np.linalg.norm(rays, axis=2)
    up = np.clip(rays[..., 2] / norm * 2.2, 0, 1)[..., None]
    colour = lamp.horizon * (1 - up) + lamp.zenith * up
    rise = np.maximum(rays[..., 2] / norm, 0.03)
    cloud = lookup(tile, rays[..., 0] / rise * 8.0, rays[..., 1] / rise * 8.0)
    cover = np.clip(cloud * 2.4 - 1.1, 0, 1)[..., None] * np.float32(0.6) * up
    return (colour * (1 - cover) + lamp.horizon * cover).astype(np.float32)


def _points(pinhole: Pinhole, rays: NDArray, inverse_depth: NDArray, where: NDArray) -> NDArray:
    """Return base coordinates of the chosen pixels, (M, 3)."""
    origin = pinhole.T_base_camera[:3, 3].astype(np.float32)
    return rays[where] / inverse_depth[where][:, None] + origin


def _headlight(points: NDArray, lamp: Light) -> NDArray[np.float32]:
    """Return how much the lamps of the ego vehicle add at points of the base frame."""
    if lamp.headlights == 0.0:
        return np.zeros((len(points), 1), np.float32)
    distance = np.hypot(points[:, 0], points[:, 1])
    bearing = np.arctan2(points[:, 1], np.maximum(points[:, 0], 0.01))
    cone = np.exp(-((bearing / 0.42) ** 2)) * (points[:, 0] > 0)
    height = np.exp(-np.maximum(points[:, 2] - 0.9, 0) * 1.2)
    return (lamp.headlights * cone * height * np.exp(-distance / 22.0))[:, None].astype(np.float32)


def _draw_road(
    colour: NDArray, scene: Scene, pinhole: Pinhole, raster: Raster, rays: NDArray, lamp: Light,
    weather: str, tile: NDArray,
) -> None:  # fmt: skip
    where = raster.face == -1
    if not where.any():
        return
    points = _points(pinhole, rays, raster.inverse_depth, where)
    albedo = road_colours(points, scene, pinhole, tile, wet=weather == "rain")
    shadow = _shadows(scene, pinhole, lamp)[where][:, None]
    light = lamp.ambient * (1 - 0.35 * shadow) + lamp.direct * max(float(lamp.sun[2]), 0.15) * (
        1 - shadow
    )
    light = light + _headlight(points, lamp)
    if lamp.lit > 0.5:  # pools of light under street lamps
        pool = np.maximum(np.cos(points[:, 0:1] * 0.25 + scene.T_map_base[0, 3] * 0.25), 0) ** 2
        light = light + lamp.lit * 0.16 * pool * np.array([0.55, 0.8, 1.0], np.float32)
    colour[where] = albedo * light


def _shadows(scene: Scene, pinhole: Pinhole, lamp: Light) -> NDArray[np.float32]:
    """Return the share of light that road users and trees take from the road, (H, W)."""
    shape = (pinhole.height, pinhole.width)
    mask = np.zeros(shape, np.uint8)
    sun = lamp.sun if float(lamp.direct.max()) > 0.1 and lamp.sun[2] > 0.2 else None
    R, origin = pinhole.T_base_camera[:3, :3], pinhole.T_base_camera[:3, 3]
    K = pinhole.intrinsics
    vertices = scene.solids.vertices_m
    for index, actor in enumerate(scene.actors):
        x, y, z = actor.box.center_m
        foot = z - 0.5 * actor.box.size_m[2]
        if np.hypot(x, y) > 60 or x < -8:
            continue
        body = vertices[scene.solids.actor == index].reshape(-1, 3)
        if not len(body):
            continue
        flat = body.copy()
        if sun is not None:
            flat[:, :2] -= sun[:2] / sun[2] * (body[:, 2:] - foot)
        flat[:, 2] = foot
        hull = np.concatenate([flat, body * (1, 1, 0) + (0, 0, foot)]) if sun is not None else flat
        camera = (hull - origin) @ R
        if camera[:, 2].min() < 0.5:
            continue
        pixels = (camera[:, :2] / camera[:, 2:]) @ K[:2, :2].T + K[:2, 2]
        outline = cv2.convexHull(np.clip(pixels, -30000, 30000).astype(np.int32))
        cv2.fillConvexPoly(mask, outline, 255)
    return cv2.blur(mask, (5, 5)).astype(np.float32) * np.float32(0.85 / 255.0)


def _draw_solids(
    colour: NDArray, glow: NDArray, scene: Scene, pinhole: Pinhole, raster: Raster, rays: NDArray,
    lamp: Light, tile: NDArray, seed: int,
) -> None:  # fmt: skip
    where = raster.face >= 0
    if not where.any():
        return
    solids = scene.solids
    points = _points(pinhole, rays, raster.inverse_depth, where)
    face = raster.face[where]
    solid = face // 6
    material = solids.material[solid]
    normals = solids.planes()[0].reshape(-1, 3)[face]
    albedo = solids.bgr[solid].copy()
    shine = np.zeros(len(face), np.float32)
    emission = np.zeros((len(face), 3), np.float32)
    walls = np.isin(material, (Material.FACADE, Material.WALL))
    facade_colours(
        albedo, emission, points + scene.T_map_base[:3, 3].astype(np.float32), normals,
        solid, material, walls, lamp.lit, tile,
    )  # fmt: skip
    actor_colours(albedo, emission, shine, scene, points, normals, solid, face % 6, lamp.lit)
    leaves = material == Material.FOLIAGE
    spots = lookup(tile, points[leaves, 0] * 90 + points[leaves, 2] * 70,
                   points[leaves, 1] * 90 + points[leaves, 2] * 40)  # fmt: skip
    albedo[leaves] *= (0.35 + 1.3 * spots)[:, None]
    facing = np.maximum(normals @ lamp.sun, 0)[:, None]
    sky = 0.7 + 0.3 * normals[:, 2:3]
    light = lamp.ambient * sky + lamp.direct * facing + _headlight(points, lamp)
    result = albedo * light
    mirrored = shine[:, None] * (lamp.horizon * 0.5 + lamp.zenith * 0.2)
    colour[where] = result + mirrored * np.clip(0.4 + normals[:, 2:3], 0.15, 1) + emission
    glow[where] = emission
