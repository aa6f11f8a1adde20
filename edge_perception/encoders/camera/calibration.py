"""sensor_msgs/CameraInfo to a Geometry, and points through its lens.

Boxes and grids elsewhere in the package use the pinhole image of `intrinsics`. A camera with lens
distortion keeps its image as it is: only points are mapped, here, between the real (distorted)
image and the pinhole image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import Geometry

# Number of coefficients each model of CameraInfo may have.
_COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
_EDGE_POINTS = 5  # a side of a box is undistorted at that many points
_FIELD_MARGIN = 1.05  # of the widest ray in the image; past it the calibration saw nothing
_WIDEST = np.tan(np.radians(80.0))  # ray, x / z; wider ones have no useful pinhole image
_MAX_RESIDUAL_PX = 0.5  # of a pixel undistorted and distorted again
_NEWTON_STEPS = 4


def geometry_from_camera_info(
    message: Any, T_base_sensor: NDArray[np.float64] | None = None
) -> Geometry:
    """Return how a camera projects, in pixels of the image that the driver publishes.

    K and D belong to the raw image, so K is used where it is set, and P (of a driver that gives
    rectified images only, without D) otherwise. Region of interest and binning are applied.

    Raises:
        InvalidFrameError: uncalibrated, no size, or a distortion model that is not known.
    """
    K = np.asarray(message.k, dtype=np.float64).reshape(3, 3).copy()
    D = np.asarray(message.d, dtype=np.float64).reshape(-1)
    if K[0, 0] == 0:
        K = np.asarray(message.p, dtype=np.float64).reshape(3, 4)[:, :3].copy()
        D = np.empty(0)
    _check(K, message)
    width, height = int(message.width), int(message.height)
    roi = message.roi
    if roi.width and roi.height:
        K[0, 2] -= roi.x_offset
        K[1, 2] -= roi.y_offset
        width, height = int(roi.width), int(roi.height)
    binning = (max(int(message.binning_x), 1), max(int(message.binning_y), 1))
    size = (width // binning[0], height // binning[1])
    distorted = bool(np.any(D))
    return Geometry(
        T_base_sensor=np.eye(4) if T_base_sensor is None else T_base_sensor,
        intrinsics=_rescale(K, (1 / binning[0], 1 / binning[1])),
        image_size=size,
        distortion_model=_model(message.distortion_model, D) if distorted else "",
        distortion=D if distorted else None,
    )


def geometry_of_image(geometry: Geometry, image_size: tuple[int, int]) -> Geometry:
    """Return `geometry` in the pixels of an image of another size (resized, not cropped)."""
    if geometry.image_size in (None, image_size) or geometry.intrinsics is None:
        return geometry
    assert geometry.image_size is not None
    scale = (image_size[0] / geometry.image_size[0], image_size[1] / geometry.image_size[1])
    return replace(geometry, intrinsics=_rescale(geometry.intrinsics, scale), image_size=image_size)


def project(points_m: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float64]:
    """Return the pixels of points in the optical frame, lens distortion included.

    Args:
        points_m: (..., 3), z forward.
        geometry: with intrinsics and image_size.

    Returns:
        (..., 2), px, pixel centres at integers; NaN behind the camera and outside the field of
        view of the lens.
    """
    flat = np.asarray(points_m, dtype=np.float64).reshape(-1, 3)
    depth = flat[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        rays = np.where(depth[:, None] > 1e-6, flat[:, :2] / depth[:, None], np.nan)
    if geometry.distortion is not None:
        widest = min(_FIELD_MARGIN * _widest_ray(geometry), _fold(geometry))
        rays[~(np.hypot(rays[:, 0], rays[:, 1]) <= widest)] = np.nan
        rays = _distort(rays, geometry)
    K = geometry.intrinsics
    assert K is not None
    pixels = rays @ K[:2, :2].T + K[:2, 2]
    return pixels.reshape(*np.shape(points_m)[:-1], 2)


def undistort_pixels(pixels: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float64]:
    """Map pixels of the real image to the pinhole image of the intrinsics, (N, 2) to (N, 2).

    NaN where no pinhole image reaches (more than 80 degrees off the axis) and where the lens
    model cannot be inverted (past the field that the calibration covered).
    """
    if geometry.distortion is None or len(pixels) == 0:
        return pixels
    K, D = geometry.intrinsics, geometry.distortion
    assert K is not None
    points = np.ascontiguousarray(pixels, dtype=np.float64)[:, None]
    if geometry.distortion_model == "equidistant":
        rays = np.asarray(cv2.fisheye.undistortPoints(points, K, D)[:, 0], np.float64)
    else:
        rays = np.asarray(cv2.undistortPoints(points, K, D)[:, 0], np.float64)
    seen = (pixels - K[:2, 2]) @ np.linalg.inv(K[:2, :2]).T
    for _ in range(_NEWTON_STEPS):  # OpenCV 4 stops after five fixed-point steps
        rays = _newton_step(rays, seen, geometry)
    rays[~(np.hypot(rays[:, 0], rays[:, 1]) < _fold(geometry))] = np.nan
    back = _distort(rays, geometry) @ K[:2, :2].T + K[:2, 2]
    rays[~(np.abs(back - pixels).max(axis=1) < _MAX_RESIDUAL_PX)] = np.nan
    return np.asarray(rays @ K[:2, :2].T + K[:2, 2], dtype=np.float64)


def undistort_boxes(boxes: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float64]:
    """Return the boxes around undistorted boxes, (N, 4) x_min, y_min, x_max, y_max, px.

    Straight sides become curves, so each side counts with several points. A box of which the
    pinhole image holds nothing is NaN.
    """
    if geometry.distortion is None or len(boxes) == 0:
        return boxes
    share = np.linspace(0.0, 1.0, _EDGE_POINTS)
    x = boxes[:, [0]] * (1 - share) + boxes[:, [2]] * share  # (N, P)
    y = boxes[:, [1]] * (1 - share) + boxes[:, [3]] * share
    low, high = boxes[:, :2, None], boxes[:, 2:, None]
    sides = [
        np.stack([x, np.broadcast_to(low[:, 1], x.shape)], axis=-1),
        np.stack([x, np.broadcast_to(high[:, 1], x.shape)], axis=-1),
        np.stack([np.broadcast_to(low[:, 0], y.shape), y], axis=-1),
        np.stack([np.broadcast_to(high[:, 0], y.shape), y], axis=-1),
    ]
    outline = np.concatenate(sides, axis=1)  # (N, 4 * P, 2)
    mapped = undistort_pixels(outline.reshape(-1, 2), geometry).reshape(outline.shape)
    # fmin and fmax ignore NaN unless all are.
    return np.concatenate([np.fmin.reduce(mapped, axis=1), np.fmax.reduce(mapped, axis=1)], axis=1)


def _distort(rays: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float64]:
    """Rays (x / z, y / z) through the lens, (N, 2) to (N, 2)."""
    inside = np.isfinite(rays).all(axis=1)
    bent = np.full_like(rays, np.nan)
    if not inside.any():
        return bent
    points = np.pad(rays[inside], ((0, 0), (0, 1)), constant_values=1.0)[:, None]
    zero, D = np.zeros(3), geometry.distortion
    lens = cv2.fisheye if geometry.distortion_model == "equidistant" else cv2
    bent[inside] = lens.projectPoints(points, zero, zero, np.eye(3), D)[0][:, 0]
    return bent


def _newton_step(
    rays: NDArray[np.float64], seen: NDArray[np.float64], geometry: Geometry
) -> NDArray[np.float64]:
    """Improve rays so that the lens maps them to `seen`; both (N, 2), x / z and y / z."""
    step = 1e-6
    bent = _distort(rays, geometry)
    along_x = (_distort(rays + np.array([step, 0.0]), geometry) - bent) / step
    along_y = (_distort(rays + np.array([0.0, step]), geometry) - bent) / step
    error = seen - bent
    determinant = along_x[:, 0] * along_y[:, 1] - along_x[:, 1] * along_y[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        dx = (error[:, 0] * along_y[:, 1] - error[:, 1] * along_y[:, 0]) / determinant
        dy = (error[:, 1] * along_x[:, 0] - error[:, 0] * along_x[:, 1]) / determinant
    return np.asarray(rays + np.stack([dx, dy], axis=1))


def _fold(geometry: Geometry) -> float:
    """Length of ray (tangent of the angle) up to which the model is one to one.

    Past the place where the distorted radius stops growing, the polynomials bring wide rays back
    into the image.
    """
    lengths = np.linspace(0.0, _WIDEST, 2000)
    radius = _distort(np.stack([lengths, np.zeros_like(lengths)], axis=1), geometry)[:, 0]
    falling = np.flatnonzero(~(np.diff(radius) > 0))
    return float(lengths[falling[0]] if falling.size else _WIDEST)


def _widest_ray(geometry: Geometry) -> float:
    """Tangent of the angle between the axis and the farthest pixel of the image."""
    K = geometry.intrinsics
    assert K is not None
    assert geometry.image_size is not None
    width, height = geometry.image_size
    x, y = np.meshgrid(np.linspace(-0.5, width - 0.5, 17), np.linspace(-0.5, height - 0.5, 17))
    pixels = undistort_pixels(np.stack([x.ravel(), y.ravel()], axis=1), geometry)
    rays = (pixels - K[:2, 2]) / K[[0, 1], [0, 1]]
    return float(np.fmax.reduce(np.hypot(rays[:, 0], rays[:, 1]), initial=0.0))


def _rescale(K: NDArray[np.float64], scale: tuple[float, float]) -> NDArray[np.float64]:
    """Resize the image of K: continuous coordinates scale, pixel centres lie half a pixel in."""
    scaled = K.copy()
    for axis in (0, 1):
        scaled[axis] *= scale[axis]
        scaled[axis, 2] += 0.5 * (scale[axis] - 1)
    return scaled


def _check(K: NDArray[np.float64], message: Any) -> None:
    if not (np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0):
        raise InvalidFrameError(
            f"camera_info: uncalibrated, expected positive focal lengths in k or p, "
            f"got {K[0, 0]:g} and {K[1, 1]:g}"
        )
    if message.width <= 0 or message.height <= 0:
        raise InvalidFrameError(
            f"camera_info: expected the image size, got {message.width} x {message.height}"
        )


def _model(name: str, D: NDArray[np.float64]) -> str:
    if name not in _COEFFICIENTS:
        raise InvalidFrameError(
            f"camera_info: unknown distortion_model '{name}'; known: {', '.join(_COEFFICIENTS)}"
        )
    if D.size not in _COEFFICIENTS[name] or not np.isfinite(D).all():
        raise InvalidFrameError(
            f"camera_info: {name} expects {' or '.join(map(str, _COEFFICIENTS[name]))} finite "
            f"coefficients, got {D.tolist()}"
        )
    return name
