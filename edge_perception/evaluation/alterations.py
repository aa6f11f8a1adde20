"""One sweep as other sensors, mountings and roads would have given it, by kind.

What is altered is what the encoder is given; the truth stays. Mountings are altered by telling the
encoder a pose that is not the sensor's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.scratch import Scratch
from edge_perception.core.types import Geometry, PointCloud
from edge_perception.encoders.lidar.intensity import unit_intensity
from edge_perception.encoders.lidar.obstacles import to_base

HALF_VIEW_RAD = np.deg2rad(35.0)  # of a solid-state LiDAR, to each side
_HALF_HEIGHT_RAD = np.deg2rad(12.5)
_BEAM_DEG = 1.0 / 6.0  # between the close beams of the sensors that are simulated
_ROAD_CELL_M = 3.2

Altered = tuple[PointCloud, Geometry]
Alteration = Callable[[PointCloud, Geometry, np.random.Generator], Altered]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Alterations of one kind, and what they may cost."""

    bound_points: float | None  # of car AP; None: nothing is promised
    alterations: Mapping[str, Alteration]


def intensity(factor: float, *, clipped: bool) -> Alteration:
    """Brightness of another gain: whole numbers up to 255, or floats without a limit."""

    def alter(cloud: PointCloud, pose: Geometry, _: np.random.Generator) -> Altered:
        if cloud.intensity is None:
            return cloud, pose
        raw = cloud.intensity * np.float32(255.0 * factor)
        kind = np.dtype([("intensity", "u1" if clipped else "f4")])
        field = np.empty(len(raw), kind)
        field["intensity"] = np.minimum(np.round(raw), 255) if clipped else raw
        # As a driver's message would be read: what a scale means is found from the values.
        return replace(cloud, intensity=unit_intensity(field, None, Scratch(), [])), pose

    return alter


def without_intensity(cloud: PointCloud, pose: Geometry, _: np.random.Generator) -> Altered:
    """No brightness at all."""
    return replace(cloud, intensity=None), pose


def below_the_road(share: float) -> Alteration:
    """Multipath: a share of the returns lies 0.5 to 3 m below the road."""

    def alter(cloud: PointCloud, pose: Geometry, rng: np.random.Generator) -> Altered:
        base = to_base(cloud.xyz_m, pose).astype(np.float32)
        thrown = np.flatnonzero(rng.random(len(base)) < share)
        base[thrown, 2] = _lowest_near(base)[thrown] - rng.uniform(0.5, 3.0, len(thrown))
        return replace(cloud, xyz_m=_to_sensor(base, pose)), pose

    return alter


def told(
    *, height_m: float = 0.0, pitch_deg: float = 0.0, roll_deg: float = 0.0, yaw_deg: float = 0.0
) -> Alteration:
    """The pose that the encoder is told is another than the true one."""

    def alter(cloud: PointCloud, pose: Geometry, _: np.random.Generator) -> Altered:
        T = pose.T_base_sensor.copy()
        T[:3, :3] = _turn(np.deg2rad([roll_deg, pitch_deg, yaw_deg])) @ T[:3, :3]
        T[2, 3] += height_m
        return cloud, replace(pose, T_base_sensor=T)

    return alter


def every_beam(nth: int) -> Alteration:
    """Fewer beams: one of `nth`, by elevation."""

    def alter(cloud: PointCloud, pose: Geometry, _: np.random.Generator) -> Altered:
        beam = np.floor(np.rad2deg(_elevation(cloud.xyz_m)) / _BEAM_DEG).astype(np.int64)
        return _chosen(cloud, beam % nth == 0), pose

    return alter


def doubled_beams(cloud: PointCloud, pose: Geometry, _: np.random.Generator) -> Altered:
    """Twice the beams: each has another half a step above it that sees the same distance."""
    xyz = cloud.xyz_m
    flat = np.hypot(xyz[:, 0], xyz[:, 1])
    up = _elevation(xyz) + np.deg2rad(_BEAM_DEG / 2)
    second = xyz.copy()
    second[:, 2] = flat * np.tan(up)
    both = None if cloud.intensity is None else np.concatenate([cloud.intensity, cloud.intensity])
    return _plain(cloud, np.concatenate([xyz, second]), both), pose


def narrow_view(cloud: PointCloud, pose: Geometry, _: np.random.Generator) -> Altered:
    """A solid-state LiDAR: 70 degrees ahead, 25 degrees high."""
    base = to_base(cloud.xyz_m, pose) - pose.T_base_sensor[:3, 3].astype(np.float32)
    inside = np.abs(np.arctan2(base[:, 1], base[:, 0])) < HALF_VIEW_RAD
    inside &= np.abs(_elevation(base)) < _HALF_HEIGHT_RAD
    return _chosen(cloud, inside), pose


def range_noise(sigma_m: float) -> Alteration:
    """Ranges that scatter."""

    def alter(cloud: PointCloud, pose: Geometry, rng: np.random.Generator) -> Altered:
        far = np.maximum(np.linalg.norm(cloud.xyz_m, axis=1), 1e-3)
        stretch = 1.0 + rng.normal(0.0, sigma_m, len(far)) / far
        return replace(cloud, xyz_m=(cloud.xyz_m * stretch[:, None]).astype(np.float32)), pose

    return alter


def lost_returns(share: float) -> Alteration:
    """A weaker sensor: a share of the returns is missing."""

    def alter(cloud: PointCloud, pose: Geometry, rng: np.random.Generator) -> Altered:
        return _chosen(cloud, rng.random(len(cloud.xyz_m)) >= share), pose

    return alter


def dust(share: float) -> Alteration:
    """A share of the returns comes from the air before what the beam would have met."""

    def alter(cloud: PointCloud, pose: Geometry, rng: np.random.Generator) -> Altered:
        xyz = cloud.xyz_m.copy()
        hit = np.flatnonzero(rng.random(len(xyz)) < share)
        xyz[hit] *= rng.uniform(0.1, 1.0, (len(hit), 1)).astype(np.float32)
        return replace(cloud, xyz_m=xyz), pose

    return alter


KINDS: Mapping[str, Kind] = {
    "intensity": Kind(
        bound_points=3.0,
        alterations={
            "times 0.25": intensity(0.25, clipped=False),
            "times 4": intensity(4.0, clipped=False),
            "times 4, clipped at 255": intensity(4.0, clipped=True),
            "times 16, clipped at 255": intensity(16.0, clipped=True),
            "absent": without_intensity,
        },
    ),
    "returns below the road": Kind(
        bound_points=2.0,
        alterations={f"{s:.1%}": below_the_road(s) for s in (0.005, 0.02, 0.05)},
    ),
    "mounting": Kind(
        bound_points=5.0,
        alterations={
            "0.5 m lower than told": told(height_m=0.5),
            "0.5 m higher than told": told(height_m=-0.5),
            "pitch 3 degrees": told(pitch_deg=3.0),
            "pitch -3 degrees": told(pitch_deg=-3.0),
            "roll 3 degrees": told(roll_deg=3.0),
            "roll -3 degrees": told(roll_deg=-3.0),
        },
    ),
    "beams": Kind(
        bound_points=None,
        alterations={
            "a quarter (16)": every_beam(4),
            "half (32)": every_beam(2),
            "twice (128)": doubled_beams,
        },
    ),
    "view": Kind(bound_points=None, alterations={"70 degrees, solid state": narrow_view}),
    "noise": Kind(
        bound_points=None,
        alterations={
            "range 0.03 m": range_noise(0.03),
            "range 0.1 m": range_noise(0.1),
            "30% of the returns lost": lost_returns(0.3),
            "dust, 3% of the returns": dust(0.03),
        },
    ),
}


def _elevation(xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.arctan2(xyz[:, 2], np.hypot(xyz[:, 0], xyz[:, 1])))


def _turn(angles_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return roll, then pitch, then yaw, as (3, 3)."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(angles_rad), np.sin(angles_rad)
    roll = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    pitch = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return np.asarray(yaw @ pitch @ roll)


def _lowest_near(base: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return for each return the lowest height of its cell, (N,), m."""
    cell = np.floor(base[:, :2] / _ROAD_CELL_M).astype(np.int64)
    _, inverse = np.unique(cell, axis=0, return_inverse=True)
    lowest = np.full(int(inverse.max(initial=0)) + 1, np.inf, np.float32)
    np.minimum.at(lowest, inverse.ravel(), base[:, 2])
    return np.asarray(lowest[inverse.ravel()])


def _to_sensor(base: NDArray[np.float32], pose: Geometry) -> NDArray[np.float32]:
    rotation, offset = pose.T_base_sensor[:3, :3], pose.T_base_sensor[:3, 3]
    return np.ascontiguousarray((base - offset) @ rotation, dtype=np.float32)


def _chosen(cloud: PointCloud, kept: NDArray[np.bool_]) -> PointCloud:
    dimmed = None if cloud.intensity is None else cloud.intensity[kept]
    return _plain(cloud, cloud.xyz_m[kept], dimmed)


def _plain(cloud: PointCloud, xyz_m: NDArray, brightness: NDArray | None) -> PointCloud:
    return replace(
        cloud,
        xyz_m=np.ascontiguousarray(xyz_m, np.float32),
        intensity=brightness,
        ring=None,
        time_offset_s=None,
    )
