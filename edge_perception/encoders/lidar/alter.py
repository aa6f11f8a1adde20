"""What-if of a replay: the same sweep from a LiDAR in fog, or a noisy one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edge_perception.encoders.lidar.conversion import cloud_from_msg
from edge_perception.encoders.weather import FOG_BETA


def in_fog_with_noise(message: Any, fog: float, noise: float, rng: np.random.Generator) -> Any:
    """Drop returns as the two-way extinction of fog does, and jitter the ranges, noise in m."""
    cloud = cloud_from_msg(message)
    xyz = cloud.xyz_m.astype(np.float32)
    range_m = np.maximum(np.linalg.norm(xyz, axis=1), 1e-3)
    intensity = cloud.intensity if cloud.intensity is not None else np.zeros(len(xyz), np.float32)
    if fog:
        echo = np.exp(-2.0 * FOG_BETA * fog * range_m)
        kept = rng.random(len(xyz)) < echo
        kept[:1] = True  # a cloud without any point would be refused for that
        xyz, range_m, intensity = xyz[kept], range_m[kept], intensity[kept] * echo[kept]
    if noise:
        xyz = xyz * (1.0 + rng.normal(0.0, noise, len(xyz)) / range_m)[:, None]
    points = np.empty((len(xyz), 4), "<f4")
    points[:, :3], points[:, 3] = xyz, intensity
    field = type(message.fields[0])
    return replace(
        message,
        height=1,
        width=len(points),
        is_bigendian=False,
        point_step=16,
        row_step=16 * len(points),
        fields=[
            field(name=name, offset=4 * index, datatype=7, count=1)
            for index, name in enumerate(("x", "y", "z", "intensity"))
        ],
        data=points.view(np.uint8).reshape(-1),
    )
