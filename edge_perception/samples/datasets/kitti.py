"""KITTI (Geiger, Lenz, Urtasun, CVPR 2012): the object benchmark and the raw drives.

Base frame: on the ground below the Velodyne, whose height above it is published (1.73 m).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_perception.core.errors import ConfigurationError
from edge_perception.samples.datasets import (
    CameraStream,
    DatasetSpec,
    LabelledMoment,
    LidarStream,
    Log,
    Wanted,
)
from edge_perception.samples.datasets import _kitti_raw as raw
from edge_perception.samples.datasets._files import NS, chosen, folder, part, size_of
from edge_perception.samples.datasets._kitti_files import (
    CAMERA,
    ORIGIN,
    T_BASE_VELO,
    Calibration,
    boxes_of_labels,
    camera_folder,
    read_calibration,
    reflectance_sweep,
)

_START_NS = 1_317_000_000 * NS  # of the object benchmark, which has no stamps
_PERIOD_NS = NS // 10
_OBJECT = "object"


def sequences(path: Path) -> list[str]:
    """Return the drives of a folder; the object benchmark is one."""
    if _object_folder(path) is not None:
        return [_OBJECT]
    found = raw.drives(path)
    if not found:
        raise ConfigurationError(f"{path}: expected KITTI: {SPEC.layout}")
    return sorted(found)


def load(path: Path, wanted: Wanted) -> Log:
    """Read a drive."""
    name = chosen(sequences(path), wanted.sequence, path)
    objects = _object_folder(path)
    return _load_object(objects, wanted) if objects is not None else raw.load(path, name, wanted)


def _object_folder(path: Path) -> Path | None:
    for candidate in (path, path / "training", path / "testing"):
        if (candidate / "velodyne").is_dir() and (candidate / "calib").is_dir():
            return candidate
    return None


def _load_object(path: Path, wanted: Wanted) -> Log:
    velodyne = folder(path, "velodyne")
    names = sorted(file.stem for file in velodyne.glob("*.bin"))
    names = [names[index] for index in part(len(names), wanted, velodyne)]
    stamps = [_START_NS + index * _PERIOD_NS for index in range(len(names))]
    calibrations = [read_calibration(path / "calib" / f"{name}.txt") for name in names]
    cameras = tuple(
        _camera(path, number, names, stamps, calibrations, first=index == 0)
        for index, number in enumerate(wanted.cameras or (CAMERA,))
    )
    labels = path / "label_2"
    moments = tuple(
        LabelledMoment(
            name=name,
            lidar_stamp_ns=stamp_ns,
            image_stamp_ns=stamp_ns,
            boxes=boxes_of_labels(labels / f"{name}.txt", calibration),
        )
        for name, stamp_ns, calibration in zip(names, stamps, calibrations, strict=True)
        if (labels / f"{name}.txt").is_file()
    )
    notes = ["the frames of the object benchmark are no drive: 10 Hz is made up, so velocities and "
             "the way from frame to frame mean nothing"]  # fmt: skip
    spread_m = max(
        float(np.abs(c.T_base_camera(CAMERA) - calibrations[0].T_base_camera(CAMERA)).max())
        for c in calibrations
    )
    if spread_m > 0.01:
        notes.append(
            f"poses of the camera differ from frame to frame by up to {spread_m:.3f}; that of "
            f"{names[0]} is used for all, labels are placed with their own"
        )
    if 0 < len(moments) < len(names):
        notes.append(f"{len(names) - len(moments)} of {len(names)} frames have no labels")
    return Log(
        name=path.name,
        origin=ORIGIN,
        cameras=cameras,
        lidars=(
            LidarStream(
                T_base_sensor=T_BASE_VELO,
                stamps_ns=stamps,
                load=lambda index: reflectance_sweep(velodyne / f"{names[index]}.bin"),
            ),
        ),
        labels=moments,
        notes=tuple(notes),
    )


def _camera(
    path: Path,
    number: str,
    names: list[str],
    stamps: list[int],
    calibrations: list[Calibration],
    *,
    first: bool,
) -> CameraStream:
    """Return the images of a camera, each with the calibration and the size of its own day."""
    images = camera_folder(path, number, "image_{}")
    files = [_image(images, name) for name in names]
    each = [(c.K(number), size_of(file)) for c, file in zip(calibrations, files, strict=True)]
    return CameraStream(
        source="camera" if first else f"camera_{int(number)}",
        T_base_sensor=calibrations[0].T_base_camera(number),
        K=each[0][0],
        image_size=each[0][1],
        of_each=each,
        stamps_ns=stamps,
        files=files,
    )


def _image(images: Path, name: str) -> Path:
    for suffix in (".png", ".jpg"):
        if (images / (name + suffix)).is_file():
            return images / (name + suffix)
    raise ConfigurationError(f"{images / name}: expected a .png or .jpg image, there is none")


SPEC = DatasetSpec(
    name="kitti",
    layout="training/{image_2,velodyne,calib,label_2} of the object benchmark, or a day of raw "
    "data: calib_*.txt beside <day>_drive_<number>_sync/{image_02,velodyne_points,oxts,"
    "tracklet_labels.xml}",
    sequences=sequences,
    load=load,
)
