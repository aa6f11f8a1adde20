"""Reading what data sets are made of; every fault is named with its file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError, InvalidFrameError
from edge_perception.core.transforms import matrix
from edge_perception.encoders.camera.compressed import compressed_file
from edge_perception.fusion.odometry_watch import Pose
from edge_perception.samples.datasets import Sweep, Wanted
from edge_perception.samples.truth import LabelledBox, points_in_box, pose_of

NS = 1_000_000_000
MAX_INTENSITY = 255.0
_AHEAD_RAD = 0.1


def read_text(path: Path) -> str:
    """Return the content of a text file."""
    try:
        return path.read_text(encoding="utf-8-sig")  # a mark in front is no part of a name
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: expected a text file: {error}") from error


def read_floats(path: Path, columns: int) -> NDArray[np.float32]:
    """Return a file of raw float32 as (N, columns)."""
    try:
        values = np.fromfile(path, "<f4")
    except OSError as error:
        raise ConfigurationError(f"{path}: expected points: {error}") from error
    if len(values) % columns:
        raise ConfigurationError(
            f"{path}: expected {columns} float32 a point, got {len(values)} numbers"
        )
    return values.reshape(-1, columns)


def check_columns(
    path: Path,
    intensity: NDArray[np.float32],
    ring: NDArray[np.float32] | None = None,
) -> None:
    """Refuse points of another layout: the columns behind x, y, z tell, and nothing else does.

    Args:
        path: of the file.
        intensity: what is read as it, (N,).
        ring: what is read as numbers of lasers, (N,).

    Raises:
        ConfigurationError: they are no such thing.
    """
    shown = intensity[np.isfinite(intensity)]
    if len(shown) and not 0.0 <= shown.min() <= shown.max() <= MAX_INTENSITY:
        raise ConfigurationError(
            f"{path}: expected an intensity of 0 to {MAX_INTENSITY:g} behind x, y, z (float32), "
            f"got {shown.min():g} to {shown.max():g}: points of another layout?"
        )
    if ring is not None and not (np.mod(ring, 1) == 0).all():
        raise ConfigurationError(
            f"{path}: expected numbers of lasers as the fifth float32 of a point, got others: "
            "points of another layout?"
        )


def size_of(path: Path) -> tuple[int, int]:
    """Return width and height of a JPEG or PNG file."""
    try:
        file = compressed_file(np.frombuffer(path.read_bytes(), np.uint8), [])
    except (OSError, InvalidFrameError, struct.error) as error:
        raise ConfigurationError(f"{path}: expected a JPEG or PNG image: {error}") from error
    return file.size


def transform(translation: Sequence[float], wxyz: Sequence[float]) -> NDArray[np.float64]:
    """Return a (4, 4) transform of a place and a quaternion w, x, y, z of any length but zero.

    Raises:
        ValueError: it is none.
    """
    length = float(np.linalg.norm(np.asarray(wxyz, np.float64)))
    if not (np.isfinite(np.asarray(translation, np.float64)).all() and 1e-6 < length < np.inf):
        raise ValueError(
            f"expected a place and a quaternion, got {list(translation)} and {list(wxyz)}"
        )
    w, x, y, z = np.asarray(wxyz, np.float64) / length
    px, py, pz = map(float, translation)
    return matrix((px, py, pz), (x, y, z, w))


def box(
    label: str,
    class_name: str,
    *,
    T: NDArray[np.float64],
    center_m: Sequence[float],
    heading: Sequence[float],
    size_m: Sequence[float],
    points: int = -1,
) -> LabelledBox:
    """Return a box given in another frame.

    Args:
        label: as in the data set.
        class_name: ours.
        T: (4, 4), that frame to the base frame.
        center_m: centre, (3,).
        heading: direction along the length, (3,).
        size_m: length, width, height.
        points: LiDAR returns inside, where the data set counts them.
    """
    center = T[:3, :3] @ np.asarray(center_m, np.float64) + T[:3, 3]
    ahead = T[:3, :3] @ np.asarray(heading, np.float64)
    length, width, height = map(float, size_m)
    return LabelledBox(
        label=label,
        class_name=class_name,
        center_m=(float(center[0]), float(center[1]), float(center[2])),
        size_m=(length, width, height),
        yaw_rad=float(np.arctan2(ahead[1], ahead[0])),
        points=points,
    )


def counted(boxes: Sequence[LabelledBox], xyz_m: NDArray) -> tuple[LabelledBox, ...]:
    """Return boxes with the number of points inside each; points in the base frame, (N, 3)."""
    return tuple(
        replace(b, points=int(points_in_box(xyz_m, b.center_m, b.size_m, b.yaw_rad).sum()))
        for b in boxes
    )


def chosen(names: Sequence[str], wanted: str, where: Path) -> str:
    """Return the drive that is meant.

    Raises:
        ConfigurationError: there is none, or several and none is named; the text lists them.
    """
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    if not names:
        raise ConfigurationError(f"{where}: no drive is in it")
    if wanted:
        if wanted not in names:
            raise ConfigurationError(f"{where}: has no sequence '{wanted}'; it has {shown}")
        return wanted
    if len(names) > 1:
        raise ConfigurationError(
            f"{where}: holds {len(names)} sequences: name one with --sequence: {shown}"
        )
    return names[0]


def part(count: int, wanted: Wanted, where: Path) -> range:
    """Return the wanted indices of a drive.

    Raises:
        ConfigurationError: nothing is left.
    """
    last = count if wanted.count is None else min(count, wanted.first + wanted.count)
    if not 0 <= wanted.first < last:
        raise ConfigurationError(
            f"{where}: expected frames within 0 to {count - 1}, got --first {wanted.first}"
        )
    return range(wanted.first, last)


def folder(path: Path, *names: str) -> Path:
    """Return the first of some folders below a path that is there.

    Raises:
        ConfigurationError: none is.
    """
    for name in names:
        if (path / name).is_dir():
            return path / name
    raise ConfigurationError(f"{path}: expected a folder {' or '.join(names)}, there is none")


def ahead_s(sweep: Sweep) -> float:
    """Return when a sweep passes straight ahead, against its stamp."""
    if sweep.time_offset_s is None:
        return 0.0
    ahead = np.abs(np.arctan2(sweep.xyz_m[:, 1], sweep.xyz_m[:, 0])) < _AHEAD_RAD
    return round(float(np.median(sweep.time_offset_s[ahead])), 4) if ahead.any() else 0.0


def odometry(
    stamp_ns: int, T_world_base: NDArray[np.float64], T_world_first: NDArray[np.float64]
) -> Pose:
    """Return a pose of the base against its first one; numbers of a whole town lose digits."""
    x, y, z, *turn = pose_of(np.linalg.inv(T_world_first) @ T_world_base)
    return Pose(
        stamp_ns=stamp_ns,
        position_m=(x, y, z),
        orientation=(turn[0], turn[1], turn[2], turn[3]),
    )
