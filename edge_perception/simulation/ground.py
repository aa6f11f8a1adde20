"""The road surface: gentle waves, a kerb, and where a ray meets it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RANGES_M = np.geomspace(1.5, 170.0, 56).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Height of the road over the map plane as a sum of sines, relative to a tangent plane."""

    wave: NDArray[np.float32]  # (W, 2), rad/m
    phase: NDArray[np.float32]  # (W,)
    amplitude_m: NDArray[np.float32]  # (W,)
    slope: tuple[float, float] = (0.0, 0.0)  # what the suspension leaves between base and road
    origin_m: tuple[float, float] = (0.0, 0.0)  # where height and gradient vanish, map frame
    yaw_rad: float = 0.0  # of the base frame in the map frame

    def seen_from(self, x_m: float, y_m: float, yaw_rad: float) -> Ground:
        """Return the same road in a base frame placed on it."""
        return Ground(
            wave=self.wave,
            phase=self.phase,
            amplitude_m=self.amplitude_m,
            slope=self.slope,
            origin_m=(x_m, y_m),
            yaw_rad=yaw_rad,
        )

    def height(self, x_m: NDArray, y_m: NDArray) -> NDArray[np.float32]:
        """Return the height over z = 0 of the base frame at base coordinates, metres."""
        c, s = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        base_wave = self.wave @ np.array([[c, -s], [s, c]], np.float32)
        start = self.wave @ np.array(self.origin_m, np.float32) + self.phase
        slope = np.array(self.slope) - (self.amplitude_m * np.cos(start)) @ base_wave
        total = np.asarray(np.float32(slope[0]) * x_m + np.float32(slope[1]) * y_m)
        for (kx, ky), p, a in zip(base_wave, start, self.amplitude_m, strict=True):
            total = total + np.float32(a) * (np.sin(kx * x_m + ky * y_m + p) - np.sin(p))
        # Far away the tangent plane says nothing any more.
        return np.clip(total, -6.0, 6.0).astype(np.float32)

    def cast(
        self,
        origin_m: NDArray,
        direction_xy: tuple[NDArray, NDArray],
        slope_z: NDArray,
    ) -> NDArray[np.float32]:
        """Return the horizontal distance at which rays meet the road, inf where they do not.

        Args:
            origin_m: (3,), base frame.
            direction_xy: Unit horizontal direction, arrays that broadcast to `slope_z`; with
                shape (C, 1) the road is sampled once a column.
            slope_z: Rise per metre of horizontal distance, (C, B) or (1, B).
        """
        cos, sin = direction_xy
        ranges = _RANGES_M
        heights = self.height(
            origin_m[0] + cos[..., None] * ranges, origin_m[1] + sin[..., None] * ranges
        )
        # A ray meets the road where the running maximum of its slope passes that of the ray.
        seen = np.maximum.accumulate((heights - np.float32(origin_m[2])) / ranges, axis=-1)
        shape = np.broadcast_shapes(cos.shape, slope_z.shape)
        seen = np.broadcast_to(seen, (*shape, len(ranges)))
        ray = np.broadcast_to(slope_z, shape)
        index = np.zeros(shape, np.int16)
        for k in range(len(ranges)):
            index += seen[..., k] < ray
        inside = (index > 0) & (index < len(ranges))
        upper = np.clip(index, 1, len(ranges) - 1).astype(np.intp)
        a = np.take_along_axis(seen, upper[..., None] - 1, axis=-1)[..., 0]
        b = np.take_along_axis(seen, upper[..., None], axis=-1)[..., 0]
        share = np.clip((ray - a) / np.maximum(b - a, np.float32(1e-9)), 0, 1)
        inverse = 1.0 / ranges
        distance = 1.0 / (inverse[upper - 1] * (1 - share) + inverse[upper] * share)
        distance = np.where(inside, distance, np.float32(np.inf))
        # Nearer than the first sample the road is taken as flat.
        steep = (index == 0) & (ray < -1e-6)
        close = ranges[0] * seen[..., 0] / np.where(steep, ray, np.float32(-1.0))
        return np.where(steep, close, distance).astype(np.float32)


def draw_ground(rng: np.random.Generator, *, roughness: float = 1.0) -> Ground:
    """Return a seeded road surface; `roughness` scales its waves, 0 gives a plane."""
    length_m = np.array([220.0, 140.0, 80.0, 25.0]) * rng.uniform(0.7, 1.3, 4)
    heading = rng.uniform(0, 2 * np.pi, 4)
    wave = np.stack([np.cos(heading), np.sin(heading)], 1) * (2 * np.pi / length_m)[:, None]
    amplitude = np.array([2.0, 0.6, 0.15, 0.015]) * rng.uniform(0.0, 1.0, 4) * roughness
    slope = rng.normal(0, 0.012, 2) * min(roughness, 1.0)
    return Ground(
        wave=wave.astype(np.float32),
        phase=rng.uniform(0, 2 * np.pi, 4).astype(np.float32),
        amplitude_m=amplitude.astype(np.float32),
        slope=(float(slope[0]), float(slope[1])),
    )
