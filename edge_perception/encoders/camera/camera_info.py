"""sensor_msgs/CameraInfo to a Geometry: what drivers write into it, and what it can mean.

Where the message contradicts itself and one reading is left, that one is taken and noted in
`Geometry.notes`; where several are left it is refused by the name of the field.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import Geometry
from edge_perception.encoders.camera.calibration import rescaled, undistort_pixels

_SIZES = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
# The coefficients of plumb_bob are the first ones of rational_polynomial.
_BROWN = (
    ("plumb_bob", 5),
    ("rational_polynomial", 8),
    ("rational_polynomial", 12),
    ("rational_polynomial", 14),
)
_FEWEST, _FISHEYE_SIZE = 4, 4
# Names in the field, without case, blanks and marks.
_BROWN_NAMES = {
    "plumbbob",
    "rationalpolynomial",
    "radtan",  # Kalibr, and radtan4, radtan5, radtan8 of others
    "radialtangential",
    "brownconrady",  # RealSense
    "brown",
    "rational",
    "opencv",
    "pinhole",
    "opencvpinhole",  # Isaac Sim
}
_FISHEYE_NAMES = {
    "equidistant",
    "equi",  # Kalibr
    "fisheye",  # OpenCV, Autoware, ZED
    "opencvfisheye",  # Isaac Sim
    "kannalabrandt",
    "kannalabrandt4",  # RealSense
    "kannalabrandt8",  # ORB-SLAM, which counts the focal lengths too
}
# Parts of the names of other lenses: without coefficients they are no pinhole either.
_WIDE = re.compile(
    "fisheye|omni|^mei|^ucm|eucm|unified|doublesphere|^ds|theta|scaramuzza|ocam|equirect|spheric"
    "|panoram|cylindr|stereograph|orthograph|equisolid|equidist|equiang|kannala|fov|catadioptric"
)
_NO_NAMES = {"", "none", "nodistortion", "unknown", "perspective", "rectilinear"}
_OFF_CENTRE = (0.3, 0.7)  # of the image; both axes alike beyond it: K is of another size
_ALIKE = 0.1
_ODD_PIXELS = 4.0  # times as high as wide: fields of a video have 2
_LEAST_FOCAL = 0.05  # of the width: 168 degrees, wider than any pinhole or fisheye image of use


def geometry_from_camera_info(
    message: Any, T_base_sensor: NDArray[np.float64] | None = None
) -> Geometry:
    """Return how a camera projects, in pixels of the image that the driver publishes.

    K and D belong to the raw image, so K is used where it is set (neither zeros nor the identity),
    and P (of a driver that gives rectified images only, without D) otherwise. Region of interest
    and binning are applied; what K is where a driver did not apply them is kept in `other_sizes`.

    Raises:
        InvalidFrameError: uncalibrated, no size, K of another size, or a distortion model that is
            not known or has coefficients that it cannot have.
    """
    K = np.asarray(message.k, dtype=np.float64).reshape(3, 3).copy()
    D = np.asarray(message.d, dtype=np.float64).reshape(-1)
    P = _rectified_K(message)
    # The identity is what a program puts there that knows nothing of the camera.
    if K[0, 0] == 0 or (np.array_equal(K, np.eye(3)) and P[0, 0] > 1 and not D.any()):
        return _geometry(message, P, np.empty(0), "", T_base_sensor)
    return _geometry(message, K, D, str(message.distortion_model), T_base_sensor)


def geometry_of_rectified(message: Any) -> Geometry:
    """Return how a camera projects whose images are rectified: P counts, and no distortion.

    Raises:
        InvalidFrameError: as `geometry_from_camera_info`; no P though the lens bends.
    """
    raw_K = np.asarray(message.k, dtype=np.float64).reshape(3, 3)
    D, K = np.asarray(message.d, dtype=np.float64), _rectified_K(message)
    if K[0, 0] == 0:
        if D.any():
            raise InvalidFrameError(
                "camera_info: p expects the calibration of the rectified images, got zeros"
            )
        return geometry_from_camera_info(message)
    geometry = _geometry(message, K, np.empty(0), "", None)
    if not D.any() and np.allclose(K, raw_K):
        return geometry
    note = "the topic is of rectified images: p of camera_info counts, without distortion"
    return replace(geometry, notes=(*geometry.notes, note))


def _rectified_K(message: Any) -> NDArray[np.float64]:
    return np.asarray(message.p, dtype=np.float64).reshape(3, 4)[:, :3].copy()


def _geometry(
    message: Any,
    K: NDArray[np.float64],
    D: NDArray[np.float64],
    name: str,
    T_base_sensor: NDArray[np.float64] | None,
) -> Geometry:
    notes: list[str] = []
    sizes = _checked_sizes(K, message, notes)
    model, D = _distortion(name, D, notes)
    size = next(iter(sizes))
    geometry = Geometry(
        T_base_sensor=np.eye(4) if T_base_sensor is None else T_base_sensor,
        intrinsics=sizes.pop(size),
        image_size=size,
        other_sizes=sizes,
        distortion_model=model,
        distortion=D if model else None,
        notes=tuple(notes),
    )
    _check_lens(geometry)
    return geometry


def _check_lens(geometry: Geometry) -> None:
    """Refuse coefficients that map no light to the middle of the image: nothing could be placed.

    Real lenses may leave the corners without a ray, and never half of the way to the edges.
    """
    K, size = geometry.intrinsics, geometry.image_size
    if geometry.distortion is None or K is None or size is None:
        return
    x, y = K[0, 2], K[1, 2]
    (width, height) = size
    half = np.array([(x / 2, y), ((x + width) / 2, y), (x, y / 2), (x, (y + height) / 2)])
    with np.errstate(all="ignore"):
        lost = np.isnan(undistort_pixels(half, geometry)).any(axis=1)
    if 2 * lost.sum() >= len(half):
        raise InvalidFrameError(
            f"camera_info: d expects coefficients of a lens, got {geometry.distortion.tolist()}: "
            "no ray comes to pixels half of the way from the principal point to the edges"
        )


def _checked_sizes(
    K: NDArray[np.float64], message: Any, notes: list[str]
) -> dict[tuple[int, int], NDArray[np.float64]]:
    """Return K by image size, after looking whether it can be of such an image.

    A camera that was calibrated with binning tells K of the binned image, and width and height of
    the full one (astuff/avt_vimba_camera#82).
    """
    full = (int(message.width), int(message.height))
    by = (max(int(message.binning_x), 1), max(int(message.binning_y), 1))
    binned = (full[0] // by[0], full[1] // by[1])
    try:
        _check(K, full)
    except InvalidFrameError:
        if binned == full:
            raise
        try:
            _check(K, binned)
        except InvalidFrameError:
            pass
        else:
            notes.append("k of camera_info is that of the binned image, not of the full one")
            return {binned: K}
        raise
    return _sizes(K, message, notes)


def _sizes(
    K: NDArray[np.float64], message: Any, notes: list[str]
) -> dict[tuple[int, int], NDArray[np.float64]]:
    """Return K by image size, that with region of interest and binning first.

    Drivers differ in whether they apply them to the image: its size tells. Where the region is not
    inside the full image, width and height are those of the region already, and so is K, whose
    principal point is inside them.
    """
    full = (int(message.width), int(message.height))
    roi = message.roi
    binning = (max(int(message.binning_x), 1), max(int(message.binning_y), 1))
    cropped, cropped_K = full, K
    inside = roi.x_offset + roi.width <= full[0] and roi.y_offset + roi.height <= full[1]
    if roi.width and roi.height and not inside:
        notes.append("roi of camera_info is not inside its image: k is that of the image as it is")
    elif roi.width and roi.height:
        cropped, cropped_K = (int(roi.width), int(roi.height)), K.copy()
        cropped_K[0, 2] -= roi.x_offset
        cropped_K[1, 2] -= roi.y_offset
    found: dict[tuple[int, int], NDArray[np.float64]] = {}
    for size, matrix, by in (
        (cropped, cropped_K, binning),
        (cropped, cropped_K, (1, 1)),
        (full, K, binning),
        (full, K, (1, 1)),
    ):
        binned = (size[0] // by[0], size[1] // by[1])
        if min(binned) > 0:
            found.setdefault(binned, rescaled(matrix, (1 / by[0], 1 / by[1])))
    return found


def _check(K: NDArray[np.float64], size: tuple[int, int]) -> None:
    width, height = size
    if not (np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0):
        raise InvalidFrameError(
            f"camera_info: uncalibrated, expected positive focal lengths in k or p, "
            f"got {K[0, 0]:g} and {K[1, 1]:g}"
        )
    if width <= 0 or height <= 0:
        raise InvalidFrameError(f"camera_info: expected the image size, got {width} x {height}")
    if not 1 / _ODD_PIXELS < K[0, 0] / K[1, 1] < _ODD_PIXELS:
        raise InvalidFrameError(
            f"camera_info: k expects focal lengths alike in x and y, got {K[0, 0]:g} and "
            f"{K[1, 1]:g}: no camera has such pixels"
        )
    if K[2, :2].any() and not K[:2, 2].any():
        raise InvalidFrameError(
            f"camera_info: k expects its rows one after the other, the last (0, 0, 1), got a last "
            f"row of ({', '.join(f'{value:.6g}' for value in K[2])}): written column by column?"
        )
    x_px, y_px = float(K[0, 2]), float(K[1, 2])
    x, y = x_px / width, y_px / height
    low, high = _OFF_CENTRE
    if K[0, 0] < _LEAST_FOCAL * width:
        raise InvalidFrameError(
            f"camera_info: k expects pixels of an image of {width} x {height}, got a focal length "
            f"of {K[0, 0]:g}: of another size, or not in pixels?"
        )
    if not (0 < x < 1 and 0 < y < 1) or (abs(x - y) < _ALIKE and not low < (x + y) / 2 < high):
        raise InvalidFrameError(
            f"camera_info: k expects a principal point inside the image of {width} x {height}, got "
            f"({x_px:.6g}, {y_px:.6g}): a calibration of about {2 * x_px:.6g} x {2 * y_px:.6g}?"
        )


def _distortion(
    name: str, D: NDArray[np.float64], notes: list[str]
) -> tuple[str, NDArray[np.float64]]:
    """Return one of our three models and its coefficients; "": the lens bends nothing.

    Names that nobody knows, and no coefficient that is not zero: a pinhole, unless the name is that
    of a wide lens.
    """
    if not np.isfinite(D).all():
        raise InvalidFrameError(f"camera_info: d expects finite coefficients, got {D.tolist()}")
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain in _FISHEYE_NAMES:
        model, size = "equidistant", _FISHEYE_SIZE
        # A fisheye with zeros is still no pinhole.
        fits = D.size >= size and not D[size:].any()
    elif not D.any() and not _WIDE.search(plain):
        return "", D
    else:
        model, size = _brown(name, plain, D)
        fits = D.size >= _FEWEST
    if not fits:
        wanted = "4" if model == "equidistant" else "4 or 5, 8, 12 or 14"
        raise InvalidFrameError(
            f"camera_info: {name} expects {wanted} finite coefficients, got {D.tolist()}"
        )
    if D.size in _SIZES.get(name, ()):
        return name, D
    notes.append(
        f"distortion_model '{name}' with {D.size} coefficients is read as {model} with {size}"
    )
    return model, np.pad(D[:size], (0, max(0, size - D.size)))


def _brown(name: str, plain: str, D: NDArray[np.float64]) -> tuple[str, int]:
    """Return the model with the fewest coefficients that has all of D that are not zero."""
    if plain in _NO_NAMES and D.size <= _FISHEYE_SIZE:
        raise InvalidFrameError(
            f"camera_info: distortion_model '{name}' with {D.size} coefficients: expected a name, "
            "plumb_bob or equidistant"
        )
    if plain not in _NO_NAMES and re.sub(r"\d+$", "", plain) not in _BROWN_NAMES:
        raise InvalidFrameError(
            f"camera_info: unknown distortion_model '{name}'; known: {', '.join(_SIZES)}, and as "
            f"other names {', '.join(sorted(_BROWN_NAMES | _FISHEYE_NAMES))}"
        )
    used = int(np.flatnonzero(D)[-1]) + 1
    for model, size in _BROWN:
        if used <= size:
            return model, size
    raise InvalidFrameError(
        f"camera_info: {name} expects at most {_BROWN[-1][1]} coefficients, got {D.tolist()}"
    )
