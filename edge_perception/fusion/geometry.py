"""Boxes in space and in the image: corners, projection, overlap.

``T_base_sensor`` of a camera maps its optical frame (z forward, x right, y down) to the base frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject, Geometry

NEAR_M = 0.3  # what is nearer to the image plane is cut off

_SIGNS = np.array(
    [[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
)  # (8, 3)
_STARTS, _ENDS = np.array(
    [[a, b] for a in range(8) for b in range(a + 1, 8) if a ^ b in (1, 2, 4)]
).T  # corners of the edges, (12,) each


def box_corners(objects: Sequence[DetectedObject]) -> NDArray[np.float64]:
    """Return the corners of oriented boxes, (N, 8, 3), m, base frame."""
    if not objects:
        return np.empty((0, 8, 3))
    center = np.array([box.center_m for box in objects])
    local = np.array([box.size_m for box in objects])[:, None, :] * _SIGNS
    yaw = np.array([box.yaw_rad for box in objects])[:, None]
    cos, sin = np.cos(yaw), np.sin(yaw)
    x = cos * local[..., 0] - sin * local[..., 1]
    y = sin * local[..., 0] + cos * local[..., 1]
    return np.stack([x, y, local[..., 2]], axis=-1) + center[:, None, :]


def to_sensor(points_base: NDArray, geometry: Geometry) -> NDArray[np.float64]:
    """Transform points (..., 3) from the base frame to the sensor frame."""
    T = geometry.T_base_sensor
    return (points_base - T[:3, 3]) @ T[:3, :3]


def project(points_base: NDArray, geometry: Geometry) -> tuple[NDArray, NDArray]:
    """Return pixels (..., 2) and depths (...), m; pixels of points behind NEAR_M are NaN."""
    points = to_sensor(points_base, geometry)
    return _pixels(points, geometry), points[..., 2]


def rays_base(pixels: NDArray, geometry: Geometry) -> NDArray[np.float64]:
    """Return the directions (N, 3) of pixels (N, 2) in the base frame, depth 1."""
    K = _intrinsics(geometry)
    x = (pixels[:, 0] - K[0, 2]) / K[0, 0]
    y = (pixels[:, 1] - K[1, 2]) / K[1, 1]
    return np.stack([x, y, np.ones_like(x)], axis=-1) @ geometry.T_base_sensor[:3, :3].T


def image_rectangles(
    corners: NDArray[np.float64], geometry: Geometry
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the boxes' outlines in the image.

    Args:
        corners: (N, 8, 3), m, base frame.
        geometry: of a camera, with intrinsics and image size.

    Returns:
        x_min, y_min, x_max, y_max clipped to the image, (N, 4), px, and the share of the outline
        that is inside the image, (N,), 0 to 1; 0: not visible.
    """
    if not len(corners):
        return np.empty((0, 4)), np.empty(0)
    points = to_sensor(corners, geometry)  # (N, 8, 3)
    start, end = points.take(_STARTS, axis=1), points.take(_ENDS, axis=1)  # (N, 12, 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (NEAR_M - start[..., 2]) / (end[..., 2] - start[..., 2])
    crosses = (along > 0.0) & (along < 1.0)
    crossing = start + np.where(crosses, along, 0.0)[..., None] * (end - start)
    crossing[..., 2] = np.where(crosses, NEAR_M, -1.0)
    pixels = _pixels(np.concatenate([points, crossing], axis=1), geometry)  # (N, 20, 2)
    visible = ~np.isnan(pixels[..., 0]).all(axis=1)
    rectangles = np.zeros((len(corners), 4))
    rectangles[visible, :2] = np.fmin.reduce(pixels[visible], axis=1)  # NaN is passed over
    rectangles[visible, 2:] = np.fmax.reduce(pixels[visible], axis=1)
    full = _area(rectangles)
    width, height = image_size(geometry)
    last = np.array([width - 1.0, height - 1.0, width - 1.0, height - 1.0])
    rectangles = np.minimum(np.maximum(rectangles, 0.0), last)
    return rectangles, np.where(visible, _area(rectangles) / np.maximum(full, 1e-9), 0.0)


def rectangle_iou(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Return intersection over union of rectangles (N, 4) and (M, 4) as (N, M)."""
    inside = intersection(a, b)
    union = _area(a)[:, None] + _area(b)[None, :] - inside
    return inside / np.maximum(union, 1e-9)


def intersection(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Return the common areas of rectangles (N, 4) and (M, 4) as (N, M), px squared."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.prod(np.clip(high - low, 0.0, None), axis=-1)


def bev_iou(a: DetectedObject, b: DetectedObject) -> float:
    """Return intersection over union of two footprints."""
    shared = shared_area(a, b)
    total = a.size_m[0] * a.size_m[1] + b.size_m[0] * b.size_m[1] - shared
    return shared / total if total > 0 else 0.0


def shared_area(a: DetectedObject, b: DetectedObject) -> float:
    """Return the common ground of two footprints, m2, by clipping one with the other's sides."""
    polygon, clip = _footprint(a), _footprint(b)
    for (x1, y1), (x2, y2) in zip(clip, clip[1:] + clip[:1], strict=True):
        sides = [(x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) for x, y in polygon]
        cut = []
        for index, point in enumerate(polygon):
            before = index - 1
            if (sides[index] >= 0) != (sides[before] >= 0):
                share = sides[before] / (sides[before] - sides[index])
                cut.append(
                    (
                        polygon[before][0] + share * (point[0] - polygon[before][0]),
                        polygon[before][1] + share * (point[1] - polygon[before][1]),
                    )
                )
            if sides[index] >= 0:
                cut.append(point)
        polygon = cut
        if not polygon:
            return 0.0
    return _shoelace(polygon)


def image_size(geometry: Geometry) -> tuple[int, int]:
    """Return width and height, px; without a size, twice the principal point."""
    if geometry.image_size is not None:
        return geometry.image_size
    K = _intrinsics(geometry)
    return round(2 * K[0, 2]), round(2 * K[1, 2])


def _intrinsics(geometry: Geometry) -> NDArray[np.float64]:
    assert geometry.intrinsics is not None
    return geometry.intrinsics


def _pixels(points: NDArray, geometry: Geometry) -> NDArray[np.float64]:
    K = _intrinsics(geometry)
    depth = np.where(points[..., 2] >= NEAR_M - 1e-9, points[..., 2], np.nan)
    return np.stack(
        [K[0, 0] * points[..., 0] / depth + K[0, 2], K[1, 1] * points[..., 1] / depth + K[1, 2]],
        axis=-1,
    )


def _area(rectangles: NDArray) -> NDArray[np.float64]:
    sides = np.maximum(rectangles[:, 2:] - rectangles[:, :2], 0.0)
    area: NDArray[np.float64] = sides[:, 0] * sides[:, 1]
    return area


def _footprint(box: DetectedObject) -> list[tuple[float, float]]:
    cos, sin = math.cos(box.yaw_rad), math.sin(box.yaw_rad)
    half_l, half_w = box.size_m[0] / 2, box.size_m[1] / 2
    return [
        (
            box.center_m[0] + x * half_l * cos - y * half_w * sin,
            box.center_m[1] + x * half_l * sin + y * half_w * cos,
        )
        for x, y in ((1, 1), (-1, 1), (-1, -1), (1, -1))  # counter-clockwise
    ]


def _shoelace(polygon: list[tuple[float, float]]) -> float:
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2
