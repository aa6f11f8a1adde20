"""sensor_msgs/PointCloud2 of any layout to a PointCloud.

Reads attributes only, so that it works with messages of rclpy and of bag readers alike. One
structured NumPy view over the message's bytes; no loop over points.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.scratch import Scratch
from edge_perception.core.types import PointCloud
from edge_perception.encoders.lidar.native import native

# sensor_msgs/PointField.datatype -> NumPy type without byte order
_DATATYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_INTENSITY = ("intensity", "intensities", "i", "reflectivity")
_RING = ("ring", "channel", "line", "laser_id")
_TIME = ("time", "t", "timestamp", "time_offset", "time_stamp", "offset_time")
MAX_POINTS = 2**24
MAX_POINT_STEP = 4096  # bytes; the largest drivers use below 100
_MAX_OFFSET_S = 10.0  # a point farther from the stamp was timed by another clock
_ABSOLUTE_S = 1e8  # later than 1973: seconds since the epoch
_ABSOLUTE_NS = 1e16  # nanoseconds since the epoch


def cloud_from_msg(
    message: Any, *, with_ring_and_time: bool = True, scratch: Scratch | None = None
) -> PointCloud:
    """Convert a message; points with NaN or Inf coordinates are dropped, whatever is_dense says.

    Intensity is scaled to 0..1: 8- and 16-bit integers by their range, other types as they are
    where nothing exceeds 1, else from 0..255. Point times may be nanoseconds (integers), seconds
    (floats) or absolute; where they lie more than 10 s from the stamp they belong to another
    clock, and `time_offset_s` is None.

    Args:
        message: of rclpy or of a bag reader.
        with_ring_and_time: read them; who does not use them saves the time.
        scratch: holds coordinates and intensity, until it is used again; None: new arrays.

    Raises:
        InvalidFrameError: no x, y, z, no point, or layout and length of the data do not fit.
    """
    scratch = scratch or Scratch()
    points = cloud_view(message)
    xyz, keep = _finite_xyz(points, scratch)
    if keep is not None and not keep.any():
        raise InvalidFrameError(f"point cloud: all {len(xyz)} points are NaN or Inf")
    stamp = message.header.stamp
    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
    intensity = _field(points, _INTENSITY, keep)
    ring = _field(points, _RING, keep) if with_ring_and_time else None
    times = _field(points, _TIME, keep) if with_ring_and_time else None
    return PointCloud(
        stamp_ns=stamp_ns,
        frame_id=message.header.frame_id,
        xyz_m=xyz if keep is None else xyz[keep],
        intensity=None if intensity is None else _unit_intensity(intensity, scratch),
        ring=None if ring is None else ring.astype(np.uint16),
        time_offset_s=None if times is None else _offsets(times, stamp_ns),
    )


def cloud_view(message: Any) -> NDArray[np.void]:
    """View the message as one structured array, (N,); copied only where rows are padded.

    Raises:
        InvalidFrameError: as in `cloud_from_msg`.
    """
    width, height = int(message.width), int(message.height)
    point_step, row_step = int(message.point_step), int(message.row_step)
    if width * height == 0:
        raise InvalidFrameError(f"point cloud: expected points, got {width} x {height}")
    if width * height > MAX_POINTS:
        raise InvalidFrameError(
            f"point cloud: expected at most {MAX_POINTS} points, got {width} x {height}"
        )
    if point_step > MAX_POINT_STEP:
        raise InvalidFrameError(
            f"point cloud: point_step expects at most {MAX_POINT_STEP} bytes, got {point_step}"
        )
    dtype = _dtype(message, point_step)
    if row_step < width * point_step:
        raise InvalidFrameError(
            f"point cloud: row_step expects at least {width * point_step} bytes, got {row_step}"
        )
    try:
        data = np.frombuffer(message.data, dtype=np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise InvalidFrameError(
            f"point cloud: data expects a buffer of bytes, got {type(message.data).__name__}"
        ) from error
    needed = row_step * (height - 1) + width * point_step
    if data.size < needed:
        raise InvalidFrameError(
            f"point cloud: data expects at least {needed} bytes for {width} x {height} points of "
            f"{point_step} bytes, got {data.size}"
        )
    view: NDArray[np.void] = np.ndarray(
        (height, width), dtype, data, strides=(row_step, point_step)
    )
    return view.reshape(-1)


def _dtype(message: Any, point_step: int) -> np.dtype:
    order = ">" if message.is_bigendian else "<"
    fields: dict[str, tuple[str, int]] = {}
    for field in message.fields:
        kind = _DATATYPES.get(int(field.datatype))
        if field.name not in (*"xyz", *_INTENSITY, *_RING, *_TIME) or field.name in fields:
            continue
        if kind is None:
            raise InvalidFrameError(
                f"point cloud: field '{field.name}' expects a datatype 1 to 8, got {field.datatype}"
            )
        offset = int(field.offset)
        if offset + int(kind[1]) > point_step:
            raise InvalidFrameError(
                f"point cloud: field '{field.name}' ends at byte {offset + int(kind[1])}, "
                f"a point has {point_step}"
            )
        fields[field.name] = (order + kind, offset)
    missing = [axis for axis in "xyz" if axis not in fields]
    if missing:
        got = ", ".join(field.name for field in message.fields) or "none"
        raise InvalidFrameError(
            f"point cloud: expected fields x, y, z; {', '.join(missing)} missing, got {got}"
        )
    return np.dtype(
        {
            "names": list(fields),
            "formats": [kind for kind, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": point_step,
        }
    )


def _finite_xyz(
    points: NDArray[np.void], scratch: Scratch
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Return the coordinates, (N, 3), and which points are finite; None: all are."""
    compiled = native()
    gathered = None if compiled is None else compiled.gather_xyz(points, scratch)
    if gathered is not None:
        xyz, finite_points = gathered
        if finite_points == len(points):
            return xyz, None
    else:
        xyz = _xyz(points)
    finite = np.asarray(np.isfinite(xyz).all(axis=1))
    return xyz, (None if bool(finite.all()) else finite)


def _xyz(points: NDArray[np.void]) -> NDArray[np.float32]:
    xyz = np.empty((len(points), 3), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # float64 past float32's range becomes Inf
        for axis, name in enumerate("xyz"):
            xyz[:, axis] = points[name]
    return xyz


def _field(
    points: NDArray[np.void], names: tuple[str, ...], keep: NDArray[np.bool_] | None
) -> NDArray | None:
    """Return the first field there is of `names`, of the points kept."""
    present = points.dtype.names or ()
    name = next((name for name in names if name in present), None)
    if name is None:
        return None
    return points[name] if keep is None else points[name][keep]


def _unit_intensity(values: NDArray, scratch: Scratch) -> NDArray[np.float32]:
    """Scale to 0..1; NaN becomes 0."""
    compiled = native()
    scaled = None if compiled is None else compiled.unit_intensity(values, scratch)
    if scaled is not None:
        return scaled
    if values.dtype.itemsize <= 2 and values.dtype.kind in "iu":
        top = float(np.iinfo(values.dtype).max)
    else:
        top = 255.0 if np.fmax.reduce(values) > 1.0 else 1.0
    scaled = scratch.empty("intensity", values.shape, np.float32)
    np.copyto(scaled, values, casting="unsafe")
    scaled *= np.float32(1.0 / top)
    np.fmax(scaled, np.float32(0.0), out=scaled)  # fmax: the one that is no NaN
    return np.minimum(scaled, np.float32(1.0), out=scaled)


def _offsets(values: NDArray, stamp_ns: int) -> NDArray[np.float32] | None:
    """Return seconds relative to the stamp, or None where the times are of another clock."""
    if values.dtype.kind == "f":
        largest = float(np.fmax.reduce(values))
        if largest > _ABSOLUTE_NS:
            offsets = (values - float(stamp_ns)) * 1e-9
        elif largest > _ABSOLUTE_S:
            offsets = values - stamp_ns * 1e-9
        else:
            offsets = values
    else:
        offsets = values * 1e-9
    if not np.abs(offsets).max() <= _MAX_OFFSET_S:  # also NaN
        return None
    return np.asarray(offsets, dtype=np.float32)
