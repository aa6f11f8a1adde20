"""Puts a camera's 2-D boxes into space: by the LiDAR points behind them, or on the road."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject, Geometry, ImageObject
from edge_perception.fusion.classes import USUAL_SIZE_M, VEHICLE, group_of
from edge_perception.fusion.config import DecisionConfig
from edge_perception.fusion.geometry import image_size, project, rays_base

_CLUSTER_M = 1.5  # depth of one object's surface
_CLUSTER_SHARE = 0.3  # of the points of the densest cluster: a nearer one of this share is in front
_CENTRAL_WIDTH = 0.6  # share of the 2-D box that is surely the object
_TOP_SHARE = 0.15
_BORDER_PX = 2.0
_HEIGHT_RATIO = 2.5  # seen and usual height may differ by this factor


@dataclass(frozen=True, kw_only=True)
class Sight:
    """One camera's view of the LiDAR points."""

    source: str
    geometry: Geometry
    points_m: NDArray[np.float64]  # (K, 3), base frame, in front of the camera
    pixels: NDArray[np.float64]  # (K, 2)

    @classmethod
    def of(cls, source: str, geometry: Geometry, points_m: NDArray) -> Sight:
        """Project points (K, 3) of the base frame into a camera."""
        pixels, _ = project(points_m, geometry)
        seen = ~np.isnan(pixels[:, 0])
        return cls(source=source, geometry=geometry, points_m=points_m[seen], pixels=pixels[seen])


def place(
    item: ImageObject, class_name: str, sight: Sight, config: DecisionConfig
) -> DetectedObject | None:
    """Return a 2-D box as an object of usual size in the base frame; None: it cannot be placed.

    Args:
        item: the 2-D box.
        class_name: its common name, one with a usual size.
        sight: the camera, and the LiDAR points in front of it.
        config: thresholds.
    """
    surface_m = _range_by_points(item, class_name, sight, config)
    factor = config.points_factor
    if surface_m is None:
        surface_m = _range_by_road(item, class_name, sight.geometry, config)
        factor = config.ground_factor
    if surface_m is None:
        return None
    return _object_behind(item, class_name, sight.geometry, surface_m, item.score * factor)


def _range_by_points(
    item: ImageObject, class_name: str, sight: Sight, config: DecisionConfig
) -> float | None:
    """Return the horizontal range of the nearest dense cluster inside the box, m."""
    width, height = item.x_max - item.x_min, item.y_max - item.y_min
    margin = width * (1.0 - _CENTRAL_WIDTH) / 2
    u, v = sight.pixels[:, 0], sight.pixels[:, 1]
    inside = (u > item.x_min + margin) & (u < item.x_max - margin)
    inside &= (v > item.y_min + _TOP_SHARE * height) & (v < item.y_max)
    if np.count_nonzero(inside) < config.min_points:
        return None
    camera_m = sight.geometry.T_base_sensor[:2, 3]
    ranges = np.sort(np.linalg.norm(sight.points_m[inside, :2] - camera_m, axis=1))
    count = np.searchsorted(ranges, ranges + _CLUSTER_M, side="right") - np.arange(len(ranges))
    enough = max(config.min_points, _CLUSTER_SHARE * float(count.max()))
    first = int(np.argmax(count >= enough))
    if count[first] < enough:
        return None
    cluster = ranges[first : first + count[first]]
    range_m = float(np.quantile(cluster, 0.2))
    if not _plausible(item, class_name, sight.geometry, range_m):
        return None
    return range_m


def _range_by_road(
    item: ImageObject, class_name: str, geometry: Geometry, config: DecisionConfig
) -> float | None:
    """Return the horizontal range at which the lower edge of the box meets the road, m.

    The road is z = 0 of the base frame.
    """
    pixel = np.array([[(item.x_min + item.x_max) / 2, item.y_max]])
    ray = rays_base(pixel, geometry)[0]
    if ray[2] >= -1e-3:  # on or above the horizon
        return None
    scale = -geometry.T_base_sensor[2, 3] / ray[2]
    range_m = float(scale * math.hypot(ray[0], ray[1]))
    if not 0.0 < range_m <= config.ground_range_m:
        return None
    return range_m if _plausible(item, class_name, geometry, range_m) else None


def _plausible(item: ImageObject, class_name: str, geometry: Geometry, range_m: float) -> bool:
    """Whether the box would have about the usual height at this range; cut boxes tell nothing."""
    _, height = image_size(geometry)
    if item.y_min <= _BORDER_PX or item.y_max >= height - 1 - _BORDER_PX:
        return True
    assert geometry.intrinsics is not None
    seen_m = (item.y_max - item.y_min) * range_m / geometry.intrinsics[1, 1]
    usual_m = USUAL_SIZE_M[class_name][2]
    return usual_m / _HEIGHT_RATIO <= seen_m <= usual_m * _HEIGHT_RATIO


def _object_behind(
    item: ImageObject, class_name: str, geometry: Geometry, surface_m: float, score: float
) -> DetectedObject:
    """Return a box of usual size whose near side is at this range along the box's centre ray."""
    size = USUAL_SIZE_M[class_name]
    pixel = np.array([[(item.x_min + item.x_max) / 2, (item.y_min + item.y_max) / 2]])
    ray = rays_base(pixel, geometry)[0]
    bearing = math.atan2(ray[1], ray[0])
    yaw = _yaw(item, size, bearing, geometry, surface_m) if group_of(class_name) == VEHICLE else 0.0
    cos, sin = abs(math.cos(yaw - bearing)), abs(math.sin(yaw - bearing))
    half_m = min(size[0] / 2 / max(cos, 1e-6), size[1] / 2 / max(sin, 1e-6))
    range_m = surface_m + half_m
    x, y, z = geometry.T_base_sensor[:3, 3]
    return DetectedObject(
        class_name=class_name,
        score=score,
        center_m=(
            float(x + range_m * math.cos(bearing)),
            float(y + range_m * math.sin(bearing)),
            float(z + range_m * ray[2] / math.hypot(ray[0], ray[1])),
        ),
        size_m=size,
        yaw_rad=yaw,
    )


def _yaw(
    item: ImageObject,
    size: tuple[float, float, float],
    bearing: float,
    geometry: Geometry,
    range_m: float,
) -> float:
    """Return along or across +x, whichever explains the width in the image better.

    Roads run along +x or cross it; a box cut by the image border tells nothing of its width.
    """
    width, _ = image_size(geometry)
    if item.x_min <= _BORDER_PX or item.x_max >= width - 1 - _BORDER_PX:
        return 0.0
    assert geometry.intrinsics is not None
    seen_m = (item.x_max - item.x_min) * range_m / geometry.intrinsics[0, 0]
    misfit = {
        yaw: abs(
            math.log(
                (size[0] * abs(math.sin(yaw - bearing)) + size[1] * abs(math.cos(yaw - bearing)))
                / seen_m
            )
        )
        for yaw in (0.0, math.pi / 2)
    }
    return math.pi / 2 if misfit[math.pi / 2] + 0.2 < misfit[0.0] else 0.0
