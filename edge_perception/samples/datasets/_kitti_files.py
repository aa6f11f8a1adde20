"""Calibration and labels of KITTI, as its object development kit describes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError
from edge_perception.fusion.label_names import OTHER, class_of_label
from edge_perception.samples.datasets import Sweep
from edge_perception.samples.datasets._files import (
    MAX_INTENSITY,
    box,
    check_columns,
    read_floats,
    read_text,
)
from edge_perception.samples.truth import LabelledBox

ORIGIN = "KITTI Vision Benchmark Suite, © Geiger, Lenz, Stiller, Urtasun, CC BY-NC-SA 3.0"
CAMERA = "2"  # left colour
VELO_HEIGHT_M = 1.73
_NO_SIDE = -1.0
_ROTATION = 0.01  # how far from orthonormal; calibrations are rounded
T_BASE_VELO = np.eye(4)
T_BASE_VELO[2, 3] = VELO_HEIGHT_M


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Where the rectified cameras are.

    Raises:
        ConfigurationError: the rotation to the cameras is none.
    """

    path: Path  # of the file that names the cameras
    T_rect_velo: NDArray[np.float64]  # (4, 4), Velodyne to the rectified frame of camera 0
    P: dict[str, NDArray[np.float64]]  # (3, 4) by camera, of that rectified frame

    def __post_init__(self) -> None:
        R = self.T_rect_velo[:3, :3]
        if np.abs(R @ R.T - np.eye(3)).max() > _ROTATION:
            raise ConfigurationError(
                f"{self.path}: expected rotations from Velodyne to camera, got {R.tolist()}"
            )

    def K(self, camera: str) -> NDArray[np.float64]:
        """Return the intrinsics of a camera."""
        return self._projection(camera)[:, :3]

    def T_base_camera(self, camera: str) -> NDArray[np.float64]:
        """Return the pose of a camera's optical frame."""
        P = self._projection(camera)
        T_camera_rect = np.eye(4)
        T_camera_rect[:3, 3] = np.linalg.solve(P[:, :3], P[:, 3])
        return T_BASE_VELO @ np.linalg.inv(T_camera_rect @ self.T_rect_velo)

    @property
    def T_base_rect(self) -> NDArray[np.float64]:
        """Pose of the frame that labels are in."""
        return T_BASE_VELO @ np.linalg.inv(self.T_rect_velo)

    def _projection(self, camera: str) -> NDArray[np.float64]:
        name = str(int(camera)) if camera.isdigit() else camera
        if name not in self.P:
            raise ConfigurationError(
                f"{self.path}: has no camera '{camera}'; it has "
                + (", ".join(sorted(self.P)) or "none")
            )
        P = self.P[name]
        if P[0, 0] <= 0 or P[1, 1] <= 0 or P[2, 2] == 0:
            raise ConfigurationError(
                f"{self.path}: P{name} expects focal lengths above 0, got {P.tolist()}"
            )
        return P


def read_calibration(path: Path) -> Calibration:
    """Read calib/<frame>.txt of the object benchmark."""
    rows = calibration_rows(path)
    return Calibration(
        path=path,
        T_rect_velo=square(row(rows, path, ("R0_rect", "R_rect"), 9))
        @ square(row(rows, path, ("Tr_velo_to_cam", "Tr_velo_cam"), 12)),
        P={key[1:]: values.reshape(3, 4) for key, values in rows.items()
           if key[:1] == "P" and key[1:].isdigit() and values.size == 12},
    )  # fmt: skip


def calibration_rows(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the rows `name: numbers` of a calibration file; other rows are left out."""
    rows = {}
    for line in read_text(path).splitlines():
        name, colon, values = line.partition(":")
        try:
            numbers = np.array(values.split(), np.float64)
        except ValueError:
            continue  # a date
        if colon and np.isfinite(numbers).all():
            rows[name.strip()] = numbers
    return rows


def reflectance_sweep(path: Path) -> Sweep:
    """Return the points of a Velodyne file: x, y, z (m) and reflectance, 0 to 1.

    That of others who use the layout is 0 to 255.
    """
    values = read_floats(path, 4)
    check_columns(path, values[:, 3])
    of_one = np.nanmax(values[:, 3], initial=0.0) <= 1.0
    return Sweep(
        xyz_m=values[:, :3], intensity=values[:, 3] * np.float32(MAX_INTENSITY if of_one else 1.0)
    )


def row(
    rows: dict[str, NDArray[np.float64]], path: Path, names: tuple[str, ...], size: int
) -> NDArray[np.float64]:
    """Return a row of a calibration by any of its names."""
    for name in names:
        if name in rows and rows[name].size == size:
            return rows[name]
    raise ConfigurationError(f"{path}: expected a row {' or '.join(names)} of {size} numbers")


def square(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 9 or 12 numbers as a (4, 4) transform."""
    T = np.eye(4)
    if values.size == 9:
        T[:3, :3] = values.reshape(3, 3)
    else:
        T[:3] = values.reshape(3, 4)
    return T


def boxes_of_labels(path: Path, calibration: Calibration) -> tuple[LabelledBox, ...]:
    """Read label_2/<frame>.txt; regions called DontCare have no box and are left out.

    So are rows of others whose sides are -1, as KITTI marks what is known in the image alone.

    A row: type, truncation, occlusion, alpha, image box (4), height, width, length, bottom centre
    in the rectified camera frame (3), rotation about its y axis.
    """
    boxes = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if not words or words[0].lower() == "dontcare":
            continue
        try:
            values = [float(word) for word in words[1:]]
            height, width, length, x, y, z, turn = values[7:14]
        except ValueError as error:
            raise ConfigurationError(f"{path}:{number}: expected a label: {error}") from error
        if height == width == length == _NO_SIDE:
            continue
        boxes.append(
            box(
                words[0],
                class_of_label(words[0]) or OTHER,
                T=calibration.T_base_rect,
                center_m=(x, y - height / 2, z),
                heading=(np.cos(turn), 0.0, -np.sin(turn)),
                size_m=(length, width, height),
            )
        )
    return tuple(boxes)


def camera_folder(path: Path, number: str, form: str) -> Path:
    """Return the folder of a camera's images."""
    for name in (form.format(number), form.format(number.zfill(2))):
        if (path / name).is_dir():
            return path / name
    raise ConfigurationError(f"{path}: expected a folder {form.format(number)}, there is none")
