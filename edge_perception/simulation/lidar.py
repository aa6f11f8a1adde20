"""A spinning LiDAR: every beam of a sweep against the road and all solids, in NumPy.

Rays are described by their horizontal direction (one an azimuth column) and their slope (one a
beam), so that the ray at horizontal distance s is at ``origin + s (cos, sin, slope)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import PointCloud
from edge_perception.simulation.ground import Ground
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
_BEAMS_DEG = {
    "pandar64": _PANDAR64,
    "spinning32": tuple(10.67 - 1.3333 * k for k in range(32)),
}
_COLUMNS = 1800

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


@dataclass(frozen=True, kw_only=True)
class _Hits:
    """The nearest thing along every ray."""

    distance_m: NDArray[np.float32]  # (C, B), horizontal, inf: nothing
    solid: NDArray[np.int32]  # (C, B), index of the solid, -1: road or nothing
    facing: NDArray[np.float32]  # (C, B), cosine of the angle of incidence, 0 to 1


def cast_rays(
    solids: Solids, ground: Ground, origin_m: NDArray, azimuth_rad: NDArray, slope: NDArray,
    rng: np.random.Generator,
) -> _Hits:  # fmt: skip
    """Return the nearest hit of every ray.

    Args:
        solids: What stands on the road, base frame.
        ground: The road, base frame.
        origin_m: (3,), base frame.
        azimuth_rad: (C,), evenly spaced over a full turn from -pi, ascending.
        slope: (B,), rise per metre, descending.
        rng: Decides which rays pass through foliage.
    """
    cos, sin = np.cos(azimuth_rad).astype(np.float32), np.sin(azimuth_rad).astype(np.float32)
    slope = slope.astype(np.float32)
    level = np.sqrt(1.0 + slope**2)
    distance = ground.cast(origin_m, (cos[:, None], sin[:, None]), slope[None, :])
    facing = np.broadcast_to(np.abs(slope) / level, distance.shape).copy()
    solid = np.full(distance.shape, -1, np.int32)
    normals, offsets = solids.planes()
    reach = offsets - normals @ origin_m.astype(np.float32)  # > 0: origin on the inner side
    relative = solids.vertices_m - origin_m.astype(np.float32)
    windows = _windows(relative, slope, len(azimuth_rad))
    for index in windows.order:
        first, last, top, bottom, nearest = windows.of(index)
        for a, b in _wrap(first, last, len(azimuth_rad)):
            view = (slice(a, b), slice(top, bottom))
            if distance[view].max() <= nearest:
                continue
            _hit_one(
                normals[index], reach[index], cos[a:b], sin[a:b], slope[top:bottom],
                level[top:bottom], int(index), solids.material[index] == Material.FOLIAGE, rng,
                distance[view], solid[view], facing[view],
            )  # fmt: skip
    return _Hits(distance_m=distance, solid=solid, facing=facing)


def _hit_one(
    normals: NDArray, reach: NDArray, cos: NDArray, sin: NDArray, slope: NDArray, level: NDArray,
    index: int, porous: bool, rng: np.random.Generator,
    distance: NDArray, solid: NDArray, facing: NDArray,
) -> None:  # fmt: skip
    """Intersect one tapered box with a window of rays and keep what is nearer."""
    # A zero is added so that -0.0 becomes 0.0: rays along a face then stay inside or outside of it.
    side = normals[:, 0, None] * cos + normals[:, 1, None] * sin + np.float32(0.0)  # (6, C)
    closing = side[:, :, None] + (normals[:, 2, None] * slope)[:, None, :]  # (6, C, B)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = reach[:, None, None] / closing
    entering = closing < 0
    enter = np.where(entering, s, -np.inf)
    start = enter.max(axis=0)
    end = np.where(entering, np.inf, s).min(axis=0)
    hit = (start < end) & (start > 0.0)
    if porous:
        # Leaves: a ray enters the crown by a random depth, or passes through it.
        start = start + rng.exponential(0.7, start.shape).astype(np.float32)
        hit &= start < end
    hit &= start < distance
    column, beam = np.nonzero(hit)
    if not len(column):
        return
    face = enter[:, column, beam].argmax(axis=0)
    distance[column, beam] = start[column, beam]
    facing[column, beam] = -closing[face, column, beam] / level[beam]
    solid[column, beam] = index


class _Windows:
    """Which columns and beams can meet each solid, and the order near to far."""

    def __init__(self, first: NDArray, last: NDArray, top: NDArray, bottom: NDArray,
                 nearest: NDArray) -> None:  # fmt: skip
        self._table = (first, last, top, bottom, nearest)
        useful = (last > first) & (bottom > top)
        order = np.argsort(nearest, kind="stable")
        self.order = order[useful[order]]

    def of(self, index: int) -> tuple[int, int, int, int, float]:
        """Return first and last column, first and last beam, and the nearest distance."""
        first, last, top, bottom, nearest = self._table
        spans = int(first[index]), int(last[index]), int(top[index]), int(bottom[index])
        return *spans, float(nearest[index])


def _windows(relative: NDArray, slope: NDArray, columns: int) -> _Windows:
    horizontal = np.hypot(relative[..., 0], relative[..., 1])
    azimuth = np.arctan2(relative[..., 1], relative[..., 0])
    centre = relative[..., :2].mean(axis=1)
    middle = np.arctan2(centre[:, 1], centre[:, 0])[:, None]
    spread = np.mod(azimuth - middle + np.pi, 2 * np.pi) - np.pi
    step = 2 * np.pi / columns
    around = np.ptp(spread, axis=1) > np.pi * 0.95  # the sensor is beside or inside
    first = np.floor((spread.min(axis=1) + middle[:, 0] + np.pi) / step).astype(int)
    last = np.ceil((spread.max(axis=1) + middle[:, 0] + np.pi) / step).astype(int) + 1
    first, last = np.where(around, 0, first), np.where(around, columns, last)
    nearest = _nearest(relative)
    high, low = relative[..., 2].max(axis=1), relative[..., 2].min(axis=1)
    far = horizontal.max(axis=1)
    close = np.maximum(nearest, 0.1)
    steepest = np.where(high > 0, high / close, high / far)
    lowest = np.where(low < 0, low / close, low / far)
    top = np.searchsorted(-slope, -steepest, side="left")
    bottom = np.searchsorted(-slope, -lowest, side="right")
    return _Windows(first, last, top, bottom, nearest)


def _nearest(relative: NDArray) -> NDArray:
    """Return the horizontal distance from the origin to the outline of each solid."""
    best = np.full(len(relative), np.inf, np.float32)
    for ring in ((0, 1, 2, 3), (4, 5, 6, 7)):
        for i, j in zip(ring, ring[1:] + ring[:1], strict=True):
            a, d = relative[:, i, :2], relative[:, j, :2] - relative[:, i, :2]
            share = -(a * d).sum(1) / np.maximum((d * d).sum(1), 1e-9)
            nearest = a + np.clip(share, 0, 1)[:, None] * d
            best = np.minimum(best, np.hypot(nearest[:, 0], nearest[:, 1]))
    return best


def _wrap(first: int, last: int, columns: int) -> list[tuple[int, int]]:
    """Split a range of columns that passes the seam."""
    if last - first >= columns:
        return [(0, columns)]
    first, last = first % columns, first % columns + (last - first)
    return [(first, min(last, columns))] + ([(0, last - columns)] if last > columns else [])


def sweep(
    scene: Scene, *, model: str, T_base_lidar: NDArray, weather: str, dropout: float,
    rng: np.random.Generator, stamp_ns: int, frame_id: str = "lidar",
) -> LidarSweep:  # fmt: skip
    """Return one sweep around the moment of `scene`, motion-compensated to that moment.

    Args:
        scene: What is there, base frame.
        model: ``pandar64`` (64 beams, 1,800 columns) or ``spinning32``.
        T_base_lidar: (4, 4) pose of the sensor; a yaw and a position, level.
        weather: ``clear``, ``fog`` or ``rain``.
        dropout: Extra share of returns lost, 0 to 1.
        rng: Noise of this sweep.
        stamp_ns: Stamp of the cloud.
        frame_id: Frame of the cloud.
    """
    elevation = np.radians(np.array(_BEAMS_DEG[model], np.float64))
    azimuth = -np.pi + (np.arange(_COLUMNS) + 0.5) * (2 * np.pi / _COLUMNS)
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
    hits: _Hits, solids: Solids, azimuth: NDArray, slope: NDArray, time_s: NDArray,
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
