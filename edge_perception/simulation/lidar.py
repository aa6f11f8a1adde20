"""A spinning LiDAR: every beam of a sweep against the road and all solids, in NumPy.

The geometry is in `raycast`; here are the beams of real sensors and what becomes of an echo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import PointCloud
from edge_perception.simulation.raycast import Hits, cast_rays
from edge_perception.simulation.solids import STATIC, Material, Solids
from edge_perception.simulation.world import Scene

PERIOD_S = 0.1

# Elevations of the Pandar64 in degrees, from the manual of its maker (Hesai): 6 beams above,
# 48 beams 0.167 degrees apart, 10 below.
_PANDAR64 = (
    15.0, 11.0, 8.0, 5.0, 3.0, 2.0,
    *(1.833 - 0.1667 * k for k in range(48)),
    -7.0, -8.0, -9.0, -10.0, -11.0, -12.0, -13.0, -14.0, -19.0, -25.0,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Beams:
    """Where a spinning head measures."""

    elevation_deg: tuple[float, ...]  # of each beam, descending
    columns: int = 1800  # a turn


MODELS = {
    "pandar64": Beams(elevation_deg=_PANDAR64),
    "spinning16": Beams(elevation_deg=tuple(15.0 - 2.0 * k for k in range(16))),  # as VLP-16
    "spinning32": Beams(elevation_deg=tuple(10.67 - 1.3333 * k for k in range(32))),  # as HDL-32E
    "spinning64": Beams(  # as HDL-64E: the upper half of its beams is closer
        elevation_deg=(
            *(2.0 - k / 3.0 for k in range(32)), *(-8.83 - 0.5 * k for k in range(32)),
        )
    ),
    "spinning128": Beams(  # as OS1-128
        elevation_deg=tuple(22.5 - 45.0 / 127.0 * k for k in range(128)), columns=1024
    ),
}  # fmt: skip

# Diffuse reflectivity at 905 nm by material, from black rubber to white paint; retro-reflectors
# saturate.
_REFLECTIVITY = np.zeros(len(Material), np.float32)
for _material, _value in {
    Material.PAINT: 0.25, Material.CABIN: 0.08, Material.TYRE: 0.04, Material.CARGO: 0.45,
    Material.BUS: 0.3, Material.CLOTH: 0.25, Material.SKIN: 0.4, Material.METAL: 0.25,
    Material.FACADE: 0.3, Material.WALL: 0.3, Material.FOLIAGE: 0.35, Material.SIGN: 3.0,
    Material.BEACON: 0.8, Material.GROUND: 0.12,
}.items():  # fmt: skip
    _REFLECTIVITY[_material] = _value


@dataclass(frozen=True, kw_only=True)
class LidarSweep:
    """One sweep and what each return came from."""

    cloud: PointCloud  # sensor frame; time offsets -0.05 to 0.05 s, straight ahead at 0
    actor: NDArray[np.int32]  # (N,), index into Scene.actors; STATIC: not an actor


def sweep(
    scene: Scene, *, beams: Beams, T_base_lidar: NDArray, weather: str, dropout: float,
    rng: np.random.Generator, stamp_ns: int, frame_id: str = "lidar",
) -> LidarSweep:  # fmt: skip
    """Return one sweep around the moment of `scene`, motion-compensated to that moment.

    Args:
        scene: What is there, base frame.
        beams: Of the sensor, such as one of `MODELS`.
        T_base_lidar: (4, 4) pose of the sensor; a yaw and a position, level.
        weather: ``clear``, ``fog`` or ``rain``.
        dropout: Extra share of returns lost, 0 to 1.
        rng: Noise of this sweep.
        stamp_ns: Stamp of the cloud.
        frame_id: Frame of the cloud.
    """
    elevation = np.radians(np.array(beams.elevation_deg, np.float64))
    azimuth = -np.pi + (np.arange(beams.columns) + 0.5) * (2 * np.pi / beams.columns)
    slope = np.tan(elevation)
    origin = np.asarray(T_base_lidar, np.float64)[:3, 3]
    # The head turns clockwise from behind, over the left, and is straight ahead at the stamp.
    time_s = (-azimuth / (2 * np.pi) * PERIOD_S).astype(np.float32)
    solids = _at_beam_time(scene, origin)
    hits = cast_rays(solids, scene.ground, origin, azimuth, slope, rng)
    return _returns(hits, solids, azimuth, slope, time_s, T_base_lidar, weather, dropout, rng,
                    stamp_ns, frame_id)  # fmt: skip


def _at_beam_time(scene: Scene, origin: NDArray) -> Solids:
    """Shift what moves to where it is when the beam passes its direction."""
    solids = scene.solids
    if not scene.actors:
        return solids
    centre = np.array([a.box.center_m for a in scene.actors], np.float32) - origin
    velocity = np.array([a.box.velocity_mps for a in scene.actors], np.float32)
    offset_s = -np.arctan2(centre[:, 1], centre[:, 0]) / (2 * np.pi) * PERIOD_S
    shift = np.concatenate([velocity * offset_s[:, None], np.zeros((1, 3), np.float32)])
    return Solids(
        vertices_m=(solids.vertices_m + shift[solids.actor][:, None]).astype(np.float32),
        material=solids.material, bgr=solids.bgr, actor=solids.actor,
    )  # fmt: skip


_ATTENUATION = {"clear": 0.0, "rain": 0.006, "fog": 0.025}  # 1/m, one way


def _returns(
    hits: Hits, solids: Solids, azimuth: NDArray, slope: NDArray, time_s: NDArray,
    T_base_lidar: NDArray, weather: str, dropout: float, rng: np.random.Generator,
    stamp_ns: int, frame_id: str,
) -> LidarSweep:  # fmt: skip
    """Turn hits into noisy returns: what is too weak is lost, drops and droplets are added."""
    shape = hits.distance_m.shape
    level = np.sqrt(1.0 + slope.astype(np.float32) ** 2)
    distance = hits.distance_m * level
    owner = np.append(solids.material, np.uint8(Material.GROUND))[hits.solid]
    lightness = np.append(solids.bgr.mean(axis=1), np.float32(0.5))[hits.solid]
    reflectivity = _REFLECTIVITY[owner] * (0.3 + 1.4 * lightness)
    haze = _ATTENUATION[weather]
    with np.errstate(over="ignore", invalid="ignore"):
        signal = reflectivity * (0.15 + 0.85 * hits.facing) * np.exp(-2 * haze * distance)
        strength = signal * (60.0 / np.maximum(distance, 8.0)) ** 2
    # Detection falls from certain to impossible around the threshold of the receiver.
    chance = np.clip((strength - 0.012) * 40.0, 0.0, 1.0) * 0.985
    chance = chance * np.where(owner == Material.CABIN, 0.55, 1.0) * (1.0 - dropout)
    kept = (rng.random(shape, np.float32) < chance) & np.isfinite(distance) & (distance < 200.0)
    distance = np.where(kept, distance, np.float32(0))
    actor = np.append(solids.actor, np.int32(STATIC))[hits.solid]
    kept, distance, signal, actor = _weather_returns(
        weather, rng, kept, distance, hits.distance_m * level, signal, actor
    )
    column, beam = np.nonzero(kept)
    r = distance[kept] + rng.normal(0, 0.015, len(column)).astype(np.float32)
    horizontal = (r / level[beam]).astype(np.float32)
    c, s = np.cos(azimuth).astype(np.float32), np.sin(azimuth).astype(np.float32)
    xyz = np.stack(
        [
            horizontal * c[column],
            horizontal * s[column],
            horizontal * slope[beam].astype(np.float32),
        ],
        axis=1,
    )
    # Rays were cast with base axes; the cloud is in the axes of the sensor.
    xyz = xyz @ np.asarray(T_base_lidar, np.float32)[:3, :3]
    speckle = rng.gamma(4.0, 0.25, len(column)).astype(np.float32)
    intensity = signal[kept] * np.float32(0.3) * speckle
    # Lamps, plates and reflective stripes on bodies saturate the receiver.
    bright = (owner[kept] == Material.PAINT) & (rng.random(len(column), np.float32) < 0.03)
    intensity = np.where(bright, np.float32(1.0), intensity)
    return LidarSweep(
        cloud=PointCloud(
            stamp_ns=stamp_ns,
            frame_id=frame_id,
            xyz_m=np.ascontiguousarray(xyz),
            intensity=np.clip(intensity, 0.0, 1.0).astype(np.float32),
            ring=beam.astype(np.uint16),
            time_offset_s=time_s[column],
        ),
        actor=actor[kept],
    )


def _weather_returns(
    weather: str, rng: np.random.Generator, kept: NDArray, distance: NDArray, true_m: NDArray,
    signal: NDArray, actor: NDArray,
) -> tuple[NDArray, NDArray, NDArray, NDArray]:  # fmt: skip
    """Replace some returns by those of droplets in front of them."""
    if weather == "clear":
        return kept, distance, signal, actor
    mean_m, share = (9.0, 0.06) if weather == "fog" else (14.0, 0.02)
    echo = rng.exponential(mean_m, kept.shape).astype(np.float32) + 1.5
    drop = (rng.random(kept.shape, np.float32) < share) & (echo < true_m)
    return (
        kept | drop,
        np.where(drop, echo, distance),
        np.where(drop, np.float32(0.02), signal),
        np.where(drop, np.int32(STATIC), actor),
    )
