"""PandaSet (Xiao et al., ITSC 2021): the folders of its development kit, and our short form.

Base frame: that of the Pandar64, turned to REP-103; the data set's own has x to the right and y
ahead. Its z = 0 is near the road. Points and boxes are published in the world and moved back by
the pose of their sweep.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.json_file import read_json
from edge_perception.fusion.label_names import OTHER, class_of_label
from edge_perception.samples.datasets import (
    CameraStream,
    DatasetSpec,
    LabelledMoment,
    LidarStream,
    Log,
    Sweep,
    Wanted,
)
from edge_perception.samples.datasets import _pandaset_short as short
from edge_perception.samples.datasets._files import (
    NS,
    ahead_s,
    box,
    chosen,
    counted,
    folder,
    odometry,
    part,
    size_of,
    transform,
)
from edge_perception.samples.datasets._pandas_pickle import read_table
from edge_perception.samples.pandaset import mean_transform
from edge_perception.samples.truth import LabelledBox

CAMERA = "front_camera"
# Data set's axes (x right, y ahead) of a vector in ours (x ahead, y left).
T_ITS_OURS = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
_PANDAR64 = 0


def sequences(path: Path) -> list[str]:
    """Return the sequences of a folder, or the one that it is."""
    if (path / "lidar").is_dir():
        return [path.resolve().name]
    found = sorted(p.name for p in path.glob("*") if (p / "lidar").is_dir())
    found = found or short.sequences(path)
    if not found:
        raise ConfigurationError(f"{path}: expected PandaSet: {SPEC.layout}")
    return found


def load(path: Path, wanted: Wanted) -> Log:
    """Read a sequence."""
    name = chosen(sequences(path), wanted.sequence, path)
    if (path / "lidar").is_dir():
        return _load(path, name, wanted)
    if (path / name / "lidar").is_dir():
        return _load(path / name, name, wanted)
    return short.load(path, name, wanted)


def _load(path: Path, name: str, wanted: Wanted) -> Log:
    lidar = folder(path, "lidar")
    files = _frames(lidar, (".pkl.gz", ".pkl"))
    poses = _poses(lidar / "poses.json")
    stamps = _stamps(lidar / "timestamps.json")
    kept = part(len(files), wanted, lidar)
    _check_counts(lidar, kept[-1], {"sweep": files, "pose": poses, "stamp": stamps})
    T_world_base = [poses[index] @ T_ITS_OURS for index in kept]
    chosen_files = [files[index] for index in kept]
    chosen_stamps = [stamps[index] for index in kept]
    cameras = tuple(
        _camera(path, channel, list(kept), T_world_base, first=index == 0)
        for index, channel in enumerate(wanted.cameras or (CAMERA,))
    )
    cuboids = path / "annotations" / "cuboids"
    labelled = {_stem(file): file for file in _numbered(cuboids, (".pkl.gz", ".pkl"))}
    moments = []
    for index, (file, stamp_ns, T) in enumerate(
        zip(chosen_files, chosen_stamps, T_world_base, strict=True)
    ):
        if _stem(file) in labelled:
            boxes = _boxes(labelled[_stem(file)], np.linalg.inv(T))
            xyz_m = _points(file, T, stamp_ns).xyz_m
            moments.append(
                LabelledMoment(
                    name=f"{name}/{_stem(file)}",
                    lidar_stamp_ns=stamp_ns,
                    image_stamp_ns=cameras[0].stamps_ns[index],
                    boxes=counted(boxes, xyz_m),
                )
            )
    first = _points(chosen_files[0], T_world_base[0], chosen_stamps[0])
    return Log(
        name=name,
        origin=short.ORIGIN,
        lidars=(
            LidarStream(
                T_base_sensor=np.eye(4),
                stamps_ns=chosen_stamps,
                load=lambda i: _points(chosen_files[i], T_world_base[i], chosen_stamps[i]),
            ),
        ),
        cameras=cameras,
        labels=tuple(moments),
        poses=tuple(
            odometry(stamp_ns, T, T_world_base[0])
            for stamp_ns, T in zip(chosen_stamps, T_world_base, strict=True)
        ),
        lidar_ahead_s=ahead_s(first),
        notes=() if moments else (f"{path} has no annotations/cuboids: no labels",),
    )


def _stem(path: Path) -> str:
    return path.name.split(".", 1)[0]


def _numbered(where: Path, suffixes: tuple[str, ...]) -> list[Path]:
    for suffix in suffixes:
        found = sorted(p for p in where.glob(f"*{suffix}") if _stem(p).isdigit())
        if found:
            return found
    return []


def _frames(where: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files of all frames; with one missing the next would get its pose and stamp."""
    found = _numbered(where, suffixes)
    for number, file in enumerate(found):
        if int(_stem(file)) != number:
            raise ConfigurationError(
                f"{where}: expected the file of frame {number}, the next one is {file.name}"
            )
    return found


def _check_counts(where: Path, last: int, lists: Mapping[str, Sequence[object]]) -> None:
    if last >= min(map(len, lists.values())):
        got = ", ".join(f"{len(items)} of {name}" for name, items in lists.items())
        raise ConfigurationError(
            f"{where}: expected {last + 1} frames with {', '.join(lists)}, got {got}"
        )


def _poses(path: Path) -> list[NDArray[np.float64]]:
    try:
        return [
            transform(
                [row["position"][axis] for axis in "xyz"], [row["heading"][axis] for axis in "wxyz"]
            )
            for row in read_json(path)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{path}: expected poses with position and heading: {error!r}"
        ) from error


def _stamps(path: Path) -> list[int]:
    try:
        return [round(float(seconds) * NS) for seconds in read_json(path)]
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(f"{path}: expected seconds: {error}") from error


def _camera(
    path: Path,
    channel: str,
    kept: list[int],
    T_world_base: list[NDArray[np.float64]],
    *,
    first: bool,
) -> CameraStream:
    where = folder(path, f"camera/{channel}")
    files = _frames(where, (".jpg", ".png"))
    poses, stamps = _poses(where / "poses.json"), _stamps(where / "timestamps.json")
    _check_counts(where, kept[-1], {"image": files, "pose": poses, "stamp": stamps})
    found = read_json(where / "intrinsics.json")
    try:
        fx, fy, cx, cy = (float(found[name]) for name in ("fx", "fy", "cx", "cy"))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{where}/intrinsics.json: expected numbers: {error}") from error
    # The vehicle moves between sweep and exposure; over many frames that shifts a pose by the
    # mean of it, which the fusion takes out by the stamps.
    T = mean_transform(
        [np.linalg.inv(T_world_base[i]) @ poses[index] for i, index in enumerate(kept)]
    )
    return CameraStream(
        source="camera" if first else f"camera_{channel.removesuffix('_camera')}",
        T_base_sensor=T,
        K=np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]),
        image_size=size_of(files[kept[0]]),
        stamps_ns=[stamps[index] for index in kept],
        files=[files[index] for index in kept],
    )


def _column(table: dict[str, NDArray], name: str, path: Path) -> NDArray:
    if name not in table:
        raise ConfigurationError(
            f"{path}: expected a column {name}, there are {', '.join(sorted(table))}"
        )
    return table[name]


def _points(path: Path, T_world_base: NDArray[np.float64], stamp_ns: int) -> Sweep:
    table = read_table(path)
    world = np.stack([_column(table, axis, path) for axis in "xyz"], axis=1).astype(np.float64)
    kept = np.ones(len(world), bool)
    if "d" in table:  # 1 is the PandarGT, another sensor
        kept = table["d"].astype(np.int64) == _PANDAR64
    T = np.linalg.inv(T_world_base)
    xyz_m = world[kept] @ T[:3, :3].T + T[:3, 3]
    offset = None
    if "t" in table:
        offset = (table["t"].astype(np.float64)[kept] - stamp_ns / NS).astype(np.float32)
    return Sweep(
        xyz_m=xyz_m.astype(np.float32),
        intensity=_column(table, "i", path).astype(np.float32)[kept],
        time_offset_s=offset,
    )


def _boxes(path: Path, T_base_world: NDArray[np.float64]) -> tuple[LabelledBox, ...]:
    """Read cuboids: yaw turns the length, which is y of the dimensions, from the world's y axis."""
    table = read_table(path)
    names = ("label", "yaw", *(f"position.{a}" for a in "xyz"), *(f"dimensions.{a}" for a in "xyz"))
    columns: list[Any] = [_column(table, name, path).tolist() for name in names]
    twins = table.get("cuboids.sensor_id")
    seen_by = twins.tolist() if twins is not None else [-1] * len(columns[0])
    boxes = []
    for label, yaw, x, y, z, width, length, height, sensor in zip(*columns, seen_by, strict=True):
        if int(sensor) == 1 - _PANDAR64:  # the same object once more, as the other LiDAR saw it
            continue
        boxes.append(
            box(
                str(label),
                class_of_label(str(label)) or OTHER,
                T=T_base_world,
                center_m=(x, y, z),
                heading=(-math.sin(yaw), math.cos(yaw), 0.0),
                size_m=(length, width, height),
            )
        )
    return tuple(boxes)


SPEC = DatasetSpec(
    name="pandaset",
    layout="<sequence>/{lidar,camera/<name>,annotations/cuboids} as of its development kit, or "
    "<sequence>/<frame>.{jpg,npz}",
    sequences=sequences,
    load=load,
)
