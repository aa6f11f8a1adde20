"""Statistics of a sweep for drift and conditions, from 256 runs of 16 points."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import Geometry, PointCloud
from edge_perception.monitoring.scores import falling, rising

RUNS, RUN = 256, 16
_STEP_M = 1.0  # m; further apart than this, two points are not of one surface
_DIM_DROP = 0.015  # intensity of a drop, at most
_LEAST_TOP = 0.03  # 95 % quantile of intensities: below it their scale is another, or there is none
NAN = float("nan")


class SweepStatistics:
    """Follows the sweeps of one LiDAR; keeps nothing between them."""

    def of(self, frame: PointCloud, geometry: Geometry) -> Mapping[str, float]:
        """Return the statistics of a sweep by name; NaN: not known."""
        return sweep_statistics(frame, geometry)

    def scores(self, seen: Mapping[str, float]) -> Mapping[str, float]:
        """Return the score of each condition that a LiDAR tells; NaN: not known."""
        return sweep_scores(seen)


def sweep_statistics(cloud: PointCloud, geometry: Geometry) -> Mapping[str, float]:
    """Return the statistics of a sweep by name; NaN: not known."""
    total = len(cloud.xyz_m)
    if total < RUN:
        return {"points": float(total)}
    runs = min(RUNS, total // RUN)
    starts = np.linspace(0, total - RUN, runs).astype(np.intp)
    index = (starts[:, None] + np.arange(RUN)).reshape(-1)
    xyz = cloud.xyz_m[index]
    ranges = np.sqrt(np.einsum("ij,ij->i", xyz, xyz))
    rotation, offset = geometry.T_base_sensor[:3, :3], geometry.T_base_sensor[:3, 3]
    base = xyz @ rotation.T.astype(np.float32) + offset.astype(np.float32)
    x, y, z = base.T
    dim = intensity = NAN
    picked = _told(cloud.intensity, index)
    if picked is not None:
        intensity = float(picked.mean())
        dim = float(((ranges < 20.0) & (picked < 0.03)).mean())
    # Above the road ahead and behind there is air, but in a tunnel and below a bridge.
    above_m = z - float(geometry.T_base_sensor[2, 3])
    along = (np.abs(y) < 3.0) & (np.abs(x) > 4.0)
    over = along & (np.abs(x) < 40.0) & (above_m > 1.5)
    lone, ordered = _lone(ranges.reshape(runs, RUN))
    drops = NAN  # a branch or a wire is hit by single beams too, but echoes more
    if ordered and picked is not None:
        drops = float((lone & (picked.reshape(runs, RUN)[:, 2:-2] < _DIM_DROP)).mean())
    return {
        "points": float(total),
        "range": float(np.median(ranges)),
        "far_share": float((ranges > 50.0).mean()),
        "intensity": intensity,
        "dim_share": dim,
        "lone_share": float(lone.mean()) if ordered else NAN,
        "drop_share": drops,
        "overhead_share": float(over.sum()) / max(float(along.sum()), 1.0),
        "ceiling_share": _level(above_m[over]),
    }


def _told(
    intensity: NDArray[np.float32] | None, index: NDArray[np.intp]
) -> NDArray[np.float32] | None:
    """Return intensities that tell dim from bright; None: the sensor has none, or fills in one."""
    if intensity is None:
        return None
    picked = intensity[index]
    top = float(np.quantile(picked, 0.95))
    return picked if top >= _LEAST_TOP and float(picked.min()) < top else None


def _level(heights_m: NDArray[np.float32]) -> float:
    """Return the share of points within 0.6 m of their median height; of fewer than ten NaN.

    The ceiling of a tunnel is level over 6 m; branches above a road are at any height.
    """
    if len(heights_m) < 10:
        return NAN
    return float((np.abs(heights_m - np.median(heights_m)) < 0.6).mean())


def _lone(ranges: NDArray[np.float32]) -> tuple[NDArray[np.bool_], bool]:
    """Return which points are before the surface that their four neighbours are on.

    Drops and flakes are hit by single beams. The points must come in the order of the beams: of
    others the neighbours do not agree, and nothing is known.
    """
    point = ranges[:, 2:-2]
    beside = np.stack([ranges[:, :-4], ranges[:, 1:-3], ranges[:, 3:-1], ranges[:, 4:]])
    surface = beside.min(axis=0)
    agree = beside.max(axis=0) - surface < 0.1 * surface
    lone = agree & (point < 0.7 * surface) & (surface - point > _STEP_M)
    return lone, float(agree.mean()) > 0.1


def sweep_scores(seen: Mapping[str, float]) -> dict[str, float]:
    """Return the score of each condition that a LiDAR tells; NaN: not known."""
    drops, far = seen.get("drop_share", NAN), seen.get("far_share", NAN)
    dim = seen.get("dim_share", NAN)
    # Fog takes the distance, leaves dim echoes near by, and its droplets return some themselves;
    # snow leaves the distance. Where droplets are not told (the LiDAR does not see them, or its
    # points have no order), next to everything near must be dim: a courtyard of dark walls is
    # near and dim too.
    near = falling(far, 0.012, 0.012)
    fog = near * rising(dim, 0.7, 0.2)
    if drops == drops:
        fog = max(fog, near * rising(dim, 0.2, 0.1) * rising(drops, 0.009, 0.008))
    many = rising(drops, 0.016, 0.012)
    ceiling, overhead = seen.get("ceiling_share", NAN), seen.get("overhead_share", NAN)
    level = rising(ceiling, 0.8, 0.15) if ceiling == ceiling else 0.0
    return {
        "fog": fog,
        "snow": many * (1.0 - fog),
        "rain": rising(drops, 0.0024, 0.002) * (1.0 - many) * (1.0 - fog),
        "tunnel": level * rising(overhead, 0.12, 0.1),
    }
