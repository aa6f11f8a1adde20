"""Which points of a cloud are returns: drivers publish beams that met nothing in several ways.

As NaN or Inf, as exact zeros (Livox, SICK, Ouster in ROS 2, organised clouds), as 1e31 or another
number no light comes back from, as one point again and again (zeros moved to another frame), or at
the sensor's greatest range (simulators). None of them says anything about a place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.scratch import Scratch
from edge_perception.encoders.lidar.native import native

FARTHEST_M = 1e4  # no LiDAR sees so far; a coordinate beyond it is a mark
_LARGEST_MAP = 1e10  # millimetres of UTM have 4e9; marks are beyond, or all at one range
_SAMPLE = 512  # points looked at for marks that are places
_REPEATED_SHARE = 0.02  # of the sample at exactly one place
_SHELL_SHARE = 0.05  # of the sample at exactly the greatest range
_SHELL_WIDTH = 1e-4  # of the range
_SHELL_HEIGHT = 0.05  # of the range, lowest to highest: one ring on even ground is less
_LEAST = 8  # points of a sample


@dataclass(frozen=True, kw_only=True)
class Returns:
    """The points of a cloud that are returns."""

    xyz_m: NDArray[np.float32]  # (K, 3)
    index: NDArray[np.integer] | None  # (K,) into the cloud; None: all points
    notes: tuple[str, ...] = ()  # how the others were marked


def returns_of(points: NDArray[np.void], scratch: Scratch) -> Returns:
    """Return the returns among the points of a structured view."""
    compiled = native()
    gathered = None if compiled is None else compiled.gather_xyz(points, FARTHEST_M, scratch)
    xyz: NDArray[np.float32]
    index: NDArray[np.integer]
    xyz, index, counts = _gather(points) if gathered is None else gathered
    notes = [text for text, count in zip(_MARKS, counts, strict=True) if count]
    if 2 * counts[2] > len(points) and _are_places(points):
        notes[-1] = _PLACES
    marked = _marked(xyz, notes)
    if marked is not None:
        kept = np.flatnonzero(~marked)
        xyz, index = xyz[kept], index[kept]
    return Returns(
        xyz_m=xyz, index=None if len(index) == len(points) else index, notes=tuple(notes)
    )


_MARKS = (
    "points that are NaN or Inf are beams without a return",
    "points at exactly (0, 0, 0) are beams without a return",
    f"points beyond {FARTHEST_M / 1000:g} km are beams without a return",
)

_PLACES = (
    f"most points are beyond {FARTHEST_M / 1000:g} km, each at a place of its own: not in metres, "
    "or not from the sensor's place"
)


def _are_places(points: NDArray[np.void]) -> bool:
    """Whether points beyond all range differ as places do; marks have one range in common."""
    sample = points[:: max(1, len(points) // _SAMPLE)]
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.linalg.norm([sample[axis].astype(np.float64) for axis in "xyz"], axis=0)
    size = size[(size > FARTHEST_M) & (size < _LARGEST_MAP)]
    return len(size) >= _LEAST and float(np.ptp(size)) > 1.0 + 1e-6 * float(size.max())


def _gather(
    points: NDArray[np.void],
) -> tuple[NDArray[np.float32], NDArray[np.integer], tuple[int, int, int]]:
    """Return coordinates and indices of what can be returns, and how many are marked how."""
    xyz = np.empty((len(points), 3), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # float64 past float32's range becomes Inf
        for axis, name in enumerate("xyz"):
            xyz[:, axis] = points[name]
    finite = np.isfinite(xyz).all(axis=1)
    zero = (xyz == 0).all(axis=1)
    near = (np.abs(xyz) <= np.float32(FARTHEST_M)).all(axis=1)
    index = np.flatnonzero(near & ~zero)
    counts = int((~finite).sum()), int(zero.sum()), int((finite & ~near).sum())
    return xyz[index], index, counts


def _marked(xyz: NDArray[np.float32], notes: list[str]) -> NDArray[np.bool_] | None:
    """Return which points are marks although they are places; None: no sign of any."""
    sample = xyz[:: max(1, len(xyz) // _SAMPLE)]
    if len(sample) < _LEAST:
        return None
    repeated = _repeated(sample)
    marked = None
    if repeated is not None:
        notes.append("one place that many beams have exactly in common is a beam without a return")
        marked = (xyz == repeated).all(axis=1)
        sample = sample[(sample != repeated).any(axis=1)]
    range_m = _shell(sample)
    if range_m is not None:
        notes.append(f"points at exactly {range_m:.4g} m are beams without a return")
        on_shell = np.linalg.norm(xyz, axis=1) > range_m * (1.0 - _SHELL_WIDTH)
        marked = on_shell if marked is None else marked | on_shell
    return marked


def _repeated(sample: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the place that a share of the sample has to the last bit."""
    bits = np.ascontiguousarray(sample).view(np.uint32).astype(np.uint64)
    keys = bits[:, 0] ^ (bits[:, 1] << np.uint64(20)) ^ (bits[:, 2] << np.uint64(41))
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    most = int(counts.argmax())
    if counts[most] < max(_LEAST, _REPEATED_SHARE * len(sample)):
        return None
    return sample[first[most]]


def _shell(sample: NDArray[np.float32]) -> float | None:
    """Return the greatest range where many beams of several heights have exactly that one."""
    if len(sample) < _LEAST:
        return None
    range_m = np.linalg.norm(sample, axis=1)
    most_m = float(range_m.max())
    on_shell = range_m > most_m * (1.0 - _SHELL_WIDTH)
    if on_shell.sum() < max(_LEAST, _SHELL_SHARE * len(sample)):
        return None
    return most_m if float(np.ptp(sample[on_shell, 2])) > _SHELL_HEIGHT * most_m else None
