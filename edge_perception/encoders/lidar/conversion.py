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
from edge_perception.encoders.lidar.intensity import unit_intensity
from edge_perception.encoders.lidar.layout import RING, TIME, cloud_view, radar_told
from edge_perception.encoders.lidar.returns import returns_of

_MAX_OFFSET_S = 10.0  # a point farther from the stamp was timed by another clock
_ABSOLUTE_S = 1e8  # later than 1973: seconds since the epoch
_ABSOLUTE_NS = 1e16  # nanoseconds since the epoch


def cloud_from_msg(
    message: Any, *, with_ring_and_time: bool = True, scratch: Scratch | None = None
) -> PointCloud:
    """Convert a message; beams without a return are left out, whatever is_dense says.

    Intensity is scaled to 0..1 (`unit_intensity`). Point times may be nanoseconds (integers),
    seconds (floats) or absolute; where they lie more than 10 s from the stamp they belong to
    another clock, and `time_offset_s` is None.

    Args:
        message: of rclpy or of a bag reader.
        with_ring_and_time: read them; who does not use them saves the time.
        scratch: holds coordinates and intensity, until it is used again; None: new arrays.

    Raises:
        InvalidFrameError: no x, y, z, no return, or layout and length of the data do not fit.
    """
    scratch = scratch or Scratch()
    notes: list[str] = []
    points = cloud_view(message, notes)
    returns = returns_of(points, scratch)
    notes.extend(returns.notes)
    if not len(returns.xyz_m):
        raise InvalidFrameError(
            f"point cloud: none of {len(points)} points is a return: {'; '.join(returns.notes)}"
        )
    stamp = message.header.stamp
    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
    intensity = unit_intensity(points, returns.index, scratch, notes)
    ring = _field(points, RING, returns.index) if with_ring_and_time else None
    times = _field(points, TIME, returns.index) if with_ring_and_time else None
    return PointCloud(
        stamp_ns=stamp_ns,
        frame_id=message.header.frame_id,
        xyz_m=returns.xyz_m,
        intensity=intensity,
        ring=None if ring is None else ring.astype(np.uint16),
        time_offset_s=None if times is None else _offsets(times, stamp_ns),
        notes=tuple(notes),
        doubt=radar_told(message),
    )


def _field(
    points: NDArray[np.void], names: tuple[str, ...], index: NDArray[np.integer] | None
) -> NDArray | None:
    """Return the first field there is of `names`, of the points kept."""
    present = points.dtype.names or ()
    name = next((name for name in names if name in present), None)
    if name is None:
        return None
    return points[name] if index is None else points[name][index]


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
