"""Where decisions lie in the image that they were made of: what is hidden, and what is sent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import FleetError
from edge_perception.core.types import DetectedObject, Geometry, ImageFrame, ImageObject
from edge_perception.encoders.camera.calibration import geometry_of_image, project
from edge_perception.fusion.geometry import box_corners, to_sensor

_ALONG = 9  # points along each side of a box
_NEAR_M = 0.1  # of the image plane
_LEAST_MARGIN_PX = 2.0
Box = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max, px, continuous
Area = tuple[int, int, int, int]  # the same in whole pixels, the last ones not in it


class UnplacedError(FleetError):
    """Where a decision lies in the image cannot be told."""


def grown(box: Box, margin: float, *, least: float = _LEAST_MARGIN_PX) -> Box:
    """Return a box with so much of its size more on each side, and `least` in any case."""
    x0, y0, x1, y1 = box
    by_x, by_y = (max(side * margin, least) for side in (x1 - x0, y1 - y0))
    return x0 - by_x, y0 - by_y, x1 + by_x, y1 + by_y


def area_of(box: Box, width: int, height: int) -> Area | None:
    """Return the whole pixels that a box touches; None: it is beside the image."""
    x0, y0, x1, y1 = box
    area = (
        max(int(np.floor(x0)), 0),
        max(int(np.floor(y0)), 0),
        min(int(np.ceil(x1)), width),
        min(int(np.ceil(y1)), height),
    )
    return area if area[0] < area[2] and area[1] < area[3] else None


def image_box(item: ImageObject, frame: ImageFrame, geometry: Geometry) -> Box:
    """Return where a box of the pinhole image lies in the image itself.

    Raises:
        UnplacedError: it lies beyond what the lens maps.
    """
    size = (frame.bgr.shape[1], frame.bgr.shape[0])
    K = geometry.intrinsics
    if K is None or (geometry.distortion is None and geometry.image_size in (None, size)):
        return item.x_min, item.y_min, item.x_max + 1.0, item.y_max + 1.0
    share = np.linspace(0.0, 1.0, _ALONG)
    x, y = np.meshgrid(
        item.x_min + share * (item.x_max - item.x_min),
        item.y_min + share * (item.y_max - item.y_min),
    )
    rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], axis=-1)
    box = _around(_pixels(rays, geometry, size), size)
    if box is None:
        raise UnplacedError(f"{item.class_name}: its box is outside of what the lens maps")
    return box


def solid_box(item: DetectedObject, frame: ImageFrame, geometry: Geometry) -> Box | None:
    """Return the outline of a box in space in the image; None: it is not in it.

    Raises:
        UnplacedError: calibration or pose of the camera is not known.
    """
    if geometry.intrinsics is None or not geometry.is_placed:
        raise UnplacedError(
            f"{item.class_name}: where it lies in the image is not known without "
            f"{'calibration' if geometry.intrinsics is None else 'pose'} of the camera"
        )
    size = (frame.bgr.shape[1], frame.bgr.shape[0])
    corners, share = box_corners([item])[0], np.linspace(0.0, 1.0, _ALONG)[:, None]
    sides = [(a, b) for a in range(8) for b in range(a + 1, 8) if a ^ b in (1, 2, 4)]
    lines = [corners[a] * (1.0 - share) + corners[b] * share for a, b in sides]
    points = to_sensor(np.concatenate(lines), geometry)
    points_before = points[points[:, 2] > _NEAR_M]
    pixels = _pixels(points_before, geometry, size)
    pixels = pixels[np.isfinite(pixels[:, 0])]
    if not len(pixels):
        return None
    (x0, y0), (x1, y1) = pixels.min(axis=0), pixels.max(axis=0) + 1.0
    if len(pixels) == len(points):
        return float(x0), float(y0), float(x1), float(y1)
    # Partly beside the camera or beyond its lens: all the height, to the edge on its side.
    left = float(points[:, 0].mean()) < 0.0
    return 0.0 if left else float(x0), 0.0, float(x1) if left else float(size[0]), float(size[1])


def _pixels(rays: NDArray, geometry: Geometry, size: tuple[int, int]) -> NDArray:
    fitted = geometry_of_image(geometry, size)
    return project(rays, replace(fitted, image_size=fitted.image_size or size))


def _around(pixels: NDArray, size: tuple[int, int]) -> Box | None:
    """Return what is around pixels, (R, C, 2); sides that the lens lost reach the edge."""
    known = np.isfinite(pixels[..., 0])
    if not known.any():
        return None
    found = pixels[known]
    x0, y0 = found.min(axis=0)
    x1, y1 = found.max(axis=0) + 1.0
    if known.all():
        return float(x0), float(y0), float(x1), float(y1)
    if not known[:, 0].all():
        x0 = 0.0
    if not known[:, -1].all():
        x1 = float(size[0])
    if not known[0].all():
        y0 = 0.0
    if not known[-1].all():
        y1 = float(size[1])
    return float(x0), float(y0), float(x1), float(y1)
