"""A drive of KITTI's raw data: stamps, odometry and tracklets, as its development kit describes."""

from __future__ import annotations

import calendar
import math
import time
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from edge_perception.core.errors import ConfigurationError
from edge_perception.fusion.label_names import OTHER, class_of_label
from edge_perception.fusion.odometry_watch import Pose
from edge_perception.samples.datasets import (
    CameraStream,
    LabelledMoment,
    LidarStream,
    Log,
    Wanted,
)
from edge_perception.samples.datasets._files import (
    NS,
    box,
    counted,
    folder,
    odometry,
    part,
    read_floats,
    read_text,
    size_of,
)
from edge_perception.samples.datasets._kitti_files import (
    CAMERA,
    ORIGIN,
    T_BASE_VELO,
    Calibration,
    calibration_rows,
    camera_folder,
    reflectance_sweep,
    row,
    square,
)
from edge_perception.samples.truth import LabelledBox

_EARTH_M = 6378137.0
_MAX_XML_BYTES = 64 << 20


def drives(path: Path) -> dict[str, Path]:
    """Return the drives at or below a folder by name."""
    inside = [path, *sorted(p for p in path.glob("*") if p.is_dir())]
    inside += sorted(p for p in path.glob("*/*") if p.is_dir())
    return {p.resolve().name: p for p in inside if (p / "velodyne_points").is_dir()}


def load(path: Path, name: str, wanted: Wanted) -> Log:
    """Read a drive."""
    drive = drives(path)[name]
    day = next(
        (p for p in (drive, drive.parent, path) if (p / "calib_velo_to_cam.txt").is_file()), None
    )
    if day is None:
        raise ConfigurationError(f"{drive}: expected calib_velo_to_cam.txt in it or above it")
    calibration = _calibration(day)
    points = folder(drive, "velodyne_points")
    files = sorted(p for p in (points / "data").glob("*.bin") if p.stem.isdigit())
    numbers = [int(file.stem) for file in files]
    lidar_stamps = read_stamps(points / "timestamps.txt")
    kept = [index for index, n in enumerate(numbers) if n in lidar_stamps]
    notes = []
    if len(kept) < len(numbers):
        notes.append(f"{len(numbers) - len(kept)} sweeps of {drive.name} have no stamp: left out")
    kept = [kept[index] for index in part(len(kept), wanted, points)]
    files, numbers = [files[i] for i in kept], [numbers[i] for i in kept]
    stamps = [lidar_stamps[n] for n in numbers]
    cameras = tuple(
        _camera(drive, number, numbers, calibration, first=index == 0)
        for index, number in enumerate(wanted.cameras or (CAMERA,))
    )
    image_of = dict(zip([int(f.stem) for f in cameras[0].files], cameras[0].stamps_ns, strict=True))
    tracklets = _tracklets(drive / "tracklet_labels.xml")
    if tracklets is None:
        notes.append(f"{drive.name} has no tracklet_labels.xml: no labels")
    notes += [
        f"{camera.source}: {len(numbers) - len(camera.files)} images of {drive.name} are not "
        "there, or have no stamp"
        for camera in cameras
        if len(camera.files) < len(numbers)
    ]
    labels = tuple(
        LabelledMoment(
            name=f"{name}/{number:010d}",
            lidar_stamp_ns=stamp_ns,
            image_stamp_ns=image_of.get(number, 0),
            boxes=counted(tracklets.get(number, ()), _base(read_floats(file, 4)[:, :3])),
        )
        for number, stamp_ns, file in zip(numbers, stamps, files, strict=True)
        if tracklets is not None
    )
    return Log(
        name=name,
        origin=ORIGIN,
        lidars=(
            LidarStream(
                T_base_sensor=T_BASE_VELO,
                stamps_ns=stamps,
                load=lambda index: reflectance_sweep(files[index]),
                duration_s=0.05,  # the stamp is when it looks ahead, half a turn before its end
            ),
        ),
        cameras=cameras,
        labels=labels,
        poses=_odometry(drive, day, numbers),
        notes=tuple(notes),
    )


def _base(xyz_m: NDArray) -> NDArray:
    return xyz_m + T_BASE_VELO[:3, 3].astype(np.float32)


def _calibration(day: Path) -> Calibration:
    cameras, velo = day / "calib_cam_to_cam.txt", day / "calib_velo_to_cam.txt"
    rows, found = calibration_rows(cameras), calibration_rows(velo)
    T_cam_velo = square(row(found, velo, ("R",), 9))
    T_cam_velo[:3, 3] = row(found, velo, ("T",), 3)
    return Calibration(
        path=cameras,
        T_rect_velo=square(row(rows, cameras, ("R_rect_00",), 9)) @ T_cam_velo,
        P={str(n): row(rows, cameras, (f"P_rect_{n:02d}",), 12).reshape(3, 4)
           for n in range(4) if f"P_rect_{n:02d}" in rows},
    )  # fmt: skip


def _camera(
    drive: Path, number: str, numbers: list[int], calibration: Calibration, *, first: bool
) -> CameraStream:
    images = camera_folder(drive, number, "image_{}")
    known = {int(file.stem): file for file in (images / "data").iterdir()
             if file.suffix in (".png", ".jpg") and file.stem.isdigit()}  # fmt: skip
    stamps = read_stamps(images / "timestamps.txt")
    here = [n for n in numbers if n in known and n in stamps]
    if not here:
        raise ConfigurationError(f"{images}: expected images of the sweeps, there are none")
    return CameraStream(
        source="camera" if first else f"camera_{int(number)}",
        T_base_sensor=calibration.T_base_camera(number),
        K=calibration.K(number),
        image_size=size_of(known[here[0]]),
        stamps_ns=[stamps[n] for n in here],
        files=[known[n] for n in here],
    )


def read_stamps(path: Path) -> dict[int, int]:
    """Read timestamps.txt: the stamps by number of their frame, taken as UTC, ns.

    Each line has `2011-09-26 13:02:25.964389445` of one frame; that of a frame which the data set
    lost (four sweeps of 2011_09_26_drive_0009) is empty.
    """
    stamps = {}
    for number, line in enumerate(read_text(path).splitlines()):
        if not line.strip():
            continue
        whole, _, part_of_s = line.strip().partition(".")
        try:
            seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%d %H:%M:%S"))
            stamps[number] = seconds * NS + int(part_of_s[:9].ljust(9, "0") or 0)
        except ValueError as error:
            raise ConfigurationError(f"{path}:{number + 1}: expected a time: {error}") from error
    return stamps


def _odometry(drive: Path, day: Path, numbers: list[int]) -> tuple[Pose, ...]:
    """Return the poses of the base from GPS and IMU: Mercator about the first latitude."""
    oxts, calibration = drive / "oxts", day / "calib_imu_to_velo.txt"
    if not (oxts / "timestamps.txt").is_file() or not calibration.is_file():
        return ()
    rows = calibration_rows(calibration)
    T_velo_imu = square(row(rows, calibration, ("R",), 9))
    T_velo_imu[:3, 3] = row(rows, calibration, ("T",), 3)
    T_imu_base = np.linalg.inv(T_BASE_VELO @ T_velo_imu)
    stamps, poses, scale = read_stamps(oxts / "timestamps.txt"), [], 0.0
    first: NDArray[np.float64] | None = None
    for number in numbers:
        file = oxts / "data" / f"{number:010d}.txt"
        if number not in stamps or not file.is_file():
            continue
        try:
            lat, lon, alt, roll, pitch, yaw = map(float, read_text(file).split()[:6])
            if not all(map(math.isfinite, (lat, lon, alt, roll, pitch, yaw))):
                raise ValueError(f"got {lat}, {lon}, {alt}, {roll}, {pitch}, {yaw}")
        except ValueError as error:
            raise ConfigurationError(f"{file}: expected numbers of oxts: {error}") from error
        scale = scale or math.cos(math.radians(lat))
        T = np.eye(4)
        T[:3, :3] = Rotation.from_euler("xyz", (roll, pitch, yaw)).as_matrix()
        T[:3, 3] = (
            scale * math.radians(lon) * _EARTH_M,
            scale * _EARTH_M * math.log(math.tan(math.radians(90.0 + lat) / 2)),
            alt,
        )
        T = T @ T_imu_base
        first = T if first is None else first
        poses.append(odometry(stamps[number], T, first))
    return tuple(poses)


def _tracklets(path: Path) -> dict[int, tuple[LabelledBox, ...]] | None:
    """Return the boxes of a drive by frame, base frame; None: there is no file.

    A tracklet is in the Velodyne's frame, its place the middle of the bottom.
    """
    if not path.is_file():
        return None
    if path.stat().st_size > _MAX_XML_BYTES:
        raise ConfigurationError(f"{path}: expected at most {_MAX_XML_BYTES} bytes")
    found: dict[int, list[LabelledBox]] = defaultdict(list)
    try:
        root = ElementTree.fromstring(read_text(path))
        for item in root.findall("./tracklets/item"):
            label = _text(item, "objectType")
            height, width, length = (float(_text(item, name)) for name in "hwl")
            first = int(_text(item, "first_frame"))
            for index, pose in enumerate(item.findall("./poses/item")):
                x, y, z, yaw = (float(_text(pose, name)) for name in ("tx", "ty", "tz", "rz"))
                found[first + index].append(
                    box(
                        label,
                        class_of_label(label) or OTHER,
                        T=T_BASE_VELO,
                        center_m=(x, y, z + height / 2),
                        heading=(math.cos(yaw), math.sin(yaw), 0.0),
                        size_m=(length, width, height),
                    )
                )
    except (ElementTree.ParseError, ValueError) as error:
        raise ConfigurationError(f"{path}: expected tracklets: {error}") from error
    return {frame: tuple(boxes) for frame, boxes in found.items()}


def _text(item: ElementTree.Element, name: str) -> str:
    text = item.findtext(name)
    if text is None:
        raise ValueError(f"no <{name}>")
    return text
