"""The look of every pixel: sky, road and solids under day, dusk and night.

Colours and points are kept as planes (3, M), which NumPy works through several times faster than
(M, 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.noise import lookup, lookup_smooth, noise_tile
from edge_perception.simulation.paint import actor_colours, facade_colours
from edge_perception.simulation.pavement import road_colours
from edge_perception.simulation.raster import ROAD, Pinhole, Raster
from edge_perception.simulation.seeding import stream
from edge_perception.simulation.shadows import shadow_mask
from edge_perception.simulation.solids import Material
from edge_perception.simulation.world import Scene

_Plane = NDArray[np.float32]
FOG_PER_M = {"clear": 0.0008, "rain": 0.006, "fog": 0.028}
_SKY_STEP = 4  # the sky is smooth: it is found on every fourth pixel


@dataclass(frozen=True, kw_only=True)
class Light:
    """Illumination of a scene; colours are BGR, linear, 1 is white in daylight."""

    sun: _Plane  # (3,), unit vector towards the sun, base axes
    direct: _Plane  # (3, 1), BGR
    ambient: _Plane  # (3, 1), BGR
    zenith: _Plane  # (3, 1), BGR of the sky above
    horizon: _Plane  # (3, 1), BGR of the sky at the horizon and of fog
    headlights: float  # strength of the lamps of the ego vehicle
    lit: float  # strength of lamps and windows, 0 in daylight


def light_of(light: str, weather: str, rng: np.random.Generator) -> Light:
    """Return the illumination; the direction of the sun is drawn."""
    azimuth = rng.uniform(-np.pi, np.pi)
    elevation = np.radians(rng.uniform(25, 65) if light == "day" else rng.uniform(4, 12))
    sun = np.array(
        [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    table = {
        "day": ((0.62, 0.70, 0.75), (0.50, 0.44, 0.40), (0.85, 0.62, 0.42), (0.92, 0.86, 0.80),
                0.0, 0.0),
        "dusk": ((0.12, 0.22, 0.40), (0.26, 0.21, 0.20), (0.38, 0.24, 0.20), (0.42, 0.52, 0.75),
                 0.2, 0.6),
        "night": ((0.0, 0.0, 0.0), (0.055, 0.045, 0.042), (0.035, 0.02, 0.015),
                  (0.07, 0.06, 0.06), 0.8, 1.0),
    }[light]  # fmt: skip
    direct, ambient, zenith, horizon = (np.array(v, np.float32)[:, None] for v in table[:4])
    if weather != "clear":
        grey = np.float32({"day": 0.75, "dusk": 0.42, "night": 1.0}[light])
        ambient = ambient + np.float32(0.35) * direct
        direct = np.float32(0.05) * direct
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
    lamp = light_of(light, weather, stream(seed, "look"))
    tile = noise_tile(seed)
    colour = _sky(pinhole, lamp, tile)
    glow = np.zeros_like(colour)
    for where, paint in (
        (np.flatnonzero(raster.face == ROAD), _road),
        (np.flatnonzero(raster.face >= 0), _solids),
    ):
        if not len(where):
            continue
        points, distance = _points(pinhole, raster, where)
        lit, emission = paint(scene, pinhole, raster, lamp, tile, where, points, weather)
        clear = np.exp(distance * np.float32(-FOG_PER_M[weather]))
        for channel in range(3):
            haze = lamp.horizon[channel] * (1 - clear)
            colour[channel].reshape(-1)[where] = lit[channel] * clear + haze
            if emission is not None:
                glow[channel].reshape(-1)[where] = emission[channel] * clear
    return cv2.merge(list(colour)), cv2.merge(list(glow))


def _sky(pinhole: Pinhole, lamp: Light, tile: NDArray) -> _Plane:
    """Return the sky at every pixel, (3, H, W)."""
    x, y, z = np.moveaxis(pinhole.rays(_SKY_STEP), -1, 0)
    up = z / np.sqrt(x * x + y * y + z * z)
    share = np.clip(up * np.float32(2.2), 0, 1)
    rise = np.maximum(up, 0.03)
    cloud = lookup_smooth(tile, x / rise * 8, y / rise * 8)
    cover = np.clip(cloud * 2.4 - 1.1, 0, 1) * np.float32(0.6) * share
    share = share * (1 - cover)
    small = lamp.horizon[..., None] * (1 - share) + lamp.zenith[..., None] * share
    size = (small.shape[2] * _SKY_STEP, small.shape[1] * _SKY_STEP)
    large = [cv2.resize(plane, size) for plane in small.astype(np.float32)]
    return np.stack([plane[: pinhole.height, : pinhole.width] for plane in large])


def _points(pinhole: Pinhole, raster: Raster, where: NDArray) -> tuple[_Plane, _Plane]:
    """Return base coordinates of the chosen pixels, (3, M), and their distances, (M,)."""
    v, u = np.divmod(where.astype(np.int32), np.int32(pinhole.width))
    K, T = pinhole.intrinsics.astype(np.float32), pinhole.T_base_camera.astype(np.float32)
    right = (u.astype(np.float32) - K[0, 2]) / K[0, 0]
    down = (v.astype(np.float32) - K[1, 2]) / K[1, 1]
    depth = 1 / raster.inverse_depth.reshape(-1)[where]
    points = np.stack(
        [(right * T[k, 0] + down * T[k, 1] + T[k, 2]) * depth + T[k, 3] for k in range(3)]
    )
    return points, depth * np.sqrt(1 + right * right + down * down)


def _headlight(points: _Plane, lamp: Light) -> _Plane:
    """Return how much the lamps of the ego vehicle add at points of the base frame, (M,)."""
    x, y, z = points
    bearing = np.arctan2(y, np.maximum(x, 0.01))
    fall = np.square(bearing / np.float32(0.42)) + np.hypot(x, y) / np.float32(22.0)
    fall += np.maximum(z - np.float32(0.9), 0) * np.float32(1.2)
    return np.float32(lamp.headlights) * np.exp(-fall) * (x > 0)


def _road(
    scene: Scene, pinhole: Pinhole, raster: Raster, lamp: Light, tile: NDArray, where: NDArray,
    points: _Plane, weather: str,
) -> tuple[_Plane, None]:  # fmt: skip
    del raster
    albedo = road_colours(points, scene, pinhole, tile, wet=weather == "rain")
    sun = lamp.sun if float(lamp.direct.max()) > 0.1 and lamp.sun[2] > 0.2 else None
    shadow = shadow_mask(scene, pinhole, sun).reshape(-1)[where]
    extra = np.zeros_like(shadow)
    if lamp.headlights > 0:
        extra = _headlight(points, lamp)
    if lamp.lit > 0.5:  # pools of light under street lamps
        along = (points[0] + np.float32(scene.T_map_base[0, 3])) * np.float32(0.25)
        extra = extra + np.float32(0.13 * lamp.lit) * np.square(np.maximum(np.cos(along), 0))
    strength = np.float32(max(float(lamp.sun[2]), 0.15))
    light = lamp.direct * strength + lamp.ambient
    taken = lamp.direct * strength + lamp.ambient * np.float32(0.35)
    return albedo * (light - taken * shadow + extra), None


def _solids(
    scene: Scene, pinhole: Pinhole, raster: Raster, lamp: Light, tile: NDArray, where: NDArray,
    points: _Plane, weather: str,
) -> tuple[_Plane, _Plane]:  # fmt: skip
    del pinhole, weather
    face = raster.face.reshape(-1)[where]
    solid, side = np.divmod(face, np.int32(6))
    solids = scene.solids
    material = solids.material[solid]
    normals = solids.planes()[0].reshape(-1, 3)
    albedo = np.stack([solids.bgr[:, k][solid] for k in range(3)])
    shine = np.zeros(len(face), np.float32)
    emission = np.zeros_like(albedo)
    shift = scene.T_map_base[:3, 3].astype(np.float32)[:, None]
    facade_colours(albedo, emission, points, shift, normals, face, material, lamp.lit, tile)
    actor_colours(albedo, emission, shine, scene, points, solid, side, lamp.lit)
    leaves = np.flatnonzero(material == Material.FOLIAGE)
    x, y, z = points[:, leaves]
    spots = lookup(tile, x * 60 + z * 50, y * 60 + z * 30)
    albedo[:, leaves] *= np.float32(0.3) + np.float32(1.4) * spots
    # Light depends on the face only, so it is found once a face and then looked up.
    facing = np.maximum(normals @ lamp.sun, 0)
    per_face = lamp.ambient * (0.7 + 0.3 * normals[:, 2]) + lamp.direct * facing
    mirror = (lamp.horizon * 0.5 + lamp.zenith * 0.2) * np.clip(0.4 + normals[:, 2], 0.15, 1)
    light = np.stack([plane[face] for plane in per_face.astype(np.float32)])
    if lamp.headlights > 0:
        light += _headlight(points, lamp)
    result = albedo * light + emission
    glossy = np.flatnonzero(shine)
    result[:, glossy] += shine[glossy] * mirror.astype(np.float32)[:, face[glossy]]
    return result, emission
