"""Points through the lens of a calibrated camera, and calibrations of images of other sizes.

Boxes and grids elsewhere in the package use the pinhole image of `intrinsics`. A camera with lens
distortion keeps its image as it is: only points are mapped, here, between the real (distorted)
image and the pinhole image.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import Geometry

_CODED_ROWS = 16  # H.264: a macroblock
_EDGE_POINTS = 5  # a side of a box is undistorted at that many points
_FIELD_MARGIN = 1.05  # of the widest ray in the image; past it the calibration saw nothing
_WIDEST = np.tan(np.radians(80.0))  # ray, x / z; wider ones have no useful pinhole image
_MAX_RESIDUAL_PX = 0.5  # of a pixel undistorted and distorted again
_NEWTON_STEPS = 4


def geometry_of_image(geometry: Geometry, image_size: tuple[int, int]) -> Geometry:
    """Return `geometry` in the pixels of an image of another size.

    An image of the same shape is taken as resized. Of another shape it is one whose driver left
    region of interest or binning out, or it is of another mode of the camera.

    Raises:
        InvalidFrameError: the calibration can mean several things for an image of this size, or
            nothing.
    """
    if geometry.image_size in (None, image_size) or geometry.intrinsics is None:
        return geometry
    assert geometry.image_size is not None
    said = "x".join(map(str, geometry.image_size))
    got = "x".join(map(str, image_size))
    if image_size in geometry.other_sizes:
        return replace(
            geometry,
            intrinsics=geometry.other_sizes[image_size],
            image_size=image_size,
            notes=(f"the image has {got}: region of interest or binning of camera_info do not"
                   " apply to it",),
        )  # fmt: skip
    sizes = {geometry.image_size: geometry.intrinsics, **geometry.other_sizes}
    alike = [size for size in sizes if _same_shape(size, image_size)]
    width, height = geometry.image_size
    if not alike and image_size == (width, -(-height // _CODED_ROWS) * _CODED_ROWS):
        note = f"the image has {got}: rows that a codec added below those of camera_info"
        return replace(geometry, image_size=image_size, notes=(note,))
    if len(alike) != 1:
        what = "of another shape" if not alike else "with several modes of this shape"
        if image_size in ((2 * width, height), (width, 2 * height)):
            what = "of half of it: two pictures in one, of a stereo camera? publish them apart"
        raise InvalidFrameError(
            f"camera_info is of images of {said}, the image has {got}: a calibration {what}"
        )
    size = alike[0]
    scale = (image_size[0] / size[0], image_size[1] / size[1])
    return replace(
        geometry,
        intrinsics=rescaled(sizes[size], scale),
        image_size=image_size,
        notes=(f"camera_info of {said} is scaled to images of {got}",),
    )


def _same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one is the other resized, but for rounding to whole pixels."""
    small, large = sorted((size, other))
    return abs(large[1] * small[0] / large[0] - small[1]) <= 1.0


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


def rescaled(K: NDArray[np.float64], scale: tuple[float, float]) -> NDArray[np.float64]:
    """Resize the image of K: continuous coordinates scale, pixel centres lie half a pixel in."""
    scaled = K.copy()
    for axis in (0, 1):
        scaled[axis] *= scale[axis]
        scaled[axis, 2] += 0.5 * (scale[axis] - 1)
    return scaled
