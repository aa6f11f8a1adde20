"""nuScenes (Caesar et al., CVPR 2020): the JSON tables of v1.0-*, samples and sweeps.

Base frame: the data set's ego frame, on the ground below the rear axle. A sweep's stamp is its end;
a camera is exposed when the LiDAR passes its middle.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.json_file import read_json
from edge_perception.core.transforms import matrix, orientation_of
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
from edge_perception.samples.datasets._files import (
    box,
    check_columns,
    chosen,
    odometry,
    part,
    read_floats,
    size_of,
)
from edge_perception.samples.datasets._files import transform as transform_of
from edge_perception.samples.truth import LabelledBox, inverse

ORIGIN = "nuScenes, © Motional, CC BY-NC-SA 4.0 with the nuScenes terms"
LIDAR, CAMERA = "LIDAR_TOP", "CAM_FRONT"
_MOVED_M = 0.1  # from sweep to sweep, that tells where the vehicle drives
_ASTRAY, _AHEAD = 0.5, 0.95  # cosines: of where it looks to where it drives, of its z axis
Row = Mapping[str, Any]


def _tables_folder(path: Path) -> Path:
    """Return the folder of the tables: given itself, or the one v1.0-* inside."""
    if (path / "scene.json").is_file():
        return path
    found = sorted(p for p in path.glob("v1.0-*") if (p / "scene.json").is_file())
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise ConfigurationError(f"{path}: expected one folder v1.0-* with tables, got {names}")
    return found[0]


def _read(tables: Path, name: str) -> list[Row]:
    rows = read_json(tables / f"{name}.json")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigurationError(f"{tables / name}.json: expected a list of rows")
    return rows


def _by_token(tables: Path, name: str) -> dict[str, Row]:
    return {row["token"]: row for row in _read(tables, name)}


def sequences(path: Path) -> list[str]:
    """Return the names of the scenes."""
    try:
        return [str(row["name"]) for row in _read(_tables_folder(path), "scene")]
    except KeyError as error:
        raise ConfigurationError(f"{path}: scene.json: expected a field {error}") from error


def load(path: Path, wanted: Wanted) -> Log:
    """Read a scene."""
    tables = _tables_folder(path)
    root = path if tables != path else path.parent
    name = chosen(sequences(path), wanted.sequence, tables)
    try:
        return _Scene(root, tables, name).log(wanted)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{tables}: a table lacks what is needed: {error!r}") from error


@dataclass(frozen=True, kw_only=True)
class _Shot:
    """One file of a sensor."""

    stamp_ns: int
    file: Path
    sensor: Row  # calibrated_sensor
    T_global_base: NDArray[np.float64]
    sample: str
    key: bool
    size: tuple[int, int]


class _Scene:
    """One scene of the tables."""

    def __init__(self, root: Path, tables: Path, name: str) -> None:
        self._root, self._tables, self._name = root, tables, name
        scene = next(row for row in _read(tables, "scene") if row["name"] == name)
        self._samples = {
            row["token"] for row in _read(tables, "sample") if row["scene_token"] == scene["token"]
        }
        self._calibrated = _by_token(tables, "calibrated_sensor")
        self._channel = {
            token: row["channel"] for token, row in _by_token(tables, "sensor").items()
        }
        self._ego = _by_token(tables, "ego_pose")
        self._notes: list[str] = []

    def log(self, wanted: Wanted) -> Log:
        channels = wanted.cameras or (CAMERA,)
        shots = self._shots({LIDAR, *channels})
        missing = [channel for channel in (LIDAR, *channels) if not shots.get(channel)]
        if missing:
            raise ConfigurationError(
                f"{self._root}: scene {self._name} has no files of {', '.join(missing)}"
            )
        sweeps = shots[LIDAR]
        sweeps = [sweeps[index] for index in part(len(sweeps), wanted, self._root)]
        _check_order([shot.T_global_base for shot in sweeps], self._tables)
        low_ns, high_ns = sweeps[0].stamp_ns - 10**8, sweeps[-1].stamp_ns + 10**8
        cameras = []
        for index, channel in enumerate(channels):
            images = [s for s in shots[channel] if low_ns <= s.stamp_ns <= high_ns]
            cameras.append(_camera(channel, images, first=index == 0, root=self._root))
        labels = tuple(self._labels(sweeps, shots[channels[0]]))
        if not labels:
            self._notes.append(f"scene {self._name} has no annotations: no labels")
        stamps = np.array(cameras[0].stamps_ns, np.int64)
        ahead_ns = [int(stamps[np.abs(stamps - s.stamp_ns).argmin()]) - s.stamp_ns for s in sweeps]
        return Log(
            name=self._name,
            origin=ORIGIN,
            lidars=(
                LidarStream(
                    T_base_sensor=_pose(sweeps[0].sensor),
                    stamps_ns=[s.stamp_ns for s in sweeps],
                    load=lambda index: _sweep(sweeps[index].file),
                    duration_s=0.0,
                ),
            ),
            cameras=tuple(cameras),
            labels=labels,
            poses=tuple(
                odometry(s.stamp_ns, s.T_global_base, sweeps[0].T_global_base) for s in sweeps
            ),
            lidar_ahead_s=round(float(np.median(ahead_ns)) / 1e9, 4),
            notes=tuple(self._notes),
        )

    def _shots(self, channels: set[str]) -> dict[str, list[_Shot]]:
        found: dict[str, list[_Shot]] = defaultdict(list)
        missing: Counter[str] = Counter()
        for row in _read(self._tables, "sample_data"):
            if row["sample_token"] not in self._samples:
                continue
            sensor = self._calibrated[row["calibrated_sensor_token"]]
            channel = self._channel[sensor["sensor_token"]]
            file = self._root / row["filename"]
            if channel not in channels:
                continue
            if not file.is_file():
                missing[channel] += 1
                continue
            ego = self._ego[row["ego_pose_token"]]
            found[channel].append(
                _Shot(
                    stamp_ns=int(row["timestamp"]) * 1000,
                    file=file,
                    sensor=sensor,
                    T_global_base=transform_of(ego["translation"], ego["rotation"]),
                    sample=row["sample_token"],
                    key=bool(row["is_key_frame"]),
                    size=(int(row.get("width") or 0), int(row.get("height") or 0)),
                )
            )
        self._notes += [
            f"{count} files of {channel} are in the tables and not there: left out"
            for channel, count in sorted(missing.items())
        ]
        return {
            channel: sorted(shots, key=lambda s: s.stamp_ns) for channel, shots in found.items()
        }

    def _labels(self, sweeps: list[_Shot], images: list[_Shot]) -> list[LabelledMoment]:
        categories = _by_token(self._tables, "category")
        instances = _by_token(self._tables, "instance")
        rows: dict[str, list[Row]] = defaultdict(list)
        for row in _read(self._tables, "sample_annotation"):
            rows[row["sample_token"]].append(row)
        if not any(rows[sample] for sample in self._samples):
            return []  # of the test set nobody knows what is there, which is not "nothing"
        image_of = {s.sample: s.stamp_ns for s in images if s.key}
        moments = []
        for sweep in sweeps:
            if not sweep.key:
                continue
            T = inverse(sweep.T_global_base)
            boxes = tuple(
                _box(row, categories[instances[row["instance_token"]]["category_token"]]["name"], T)
                for row in rows[sweep.sample]
            )
            moments.append(
                LabelledMoment(
                    name=sweep.sample,
                    lidar_stamp_ns=sweep.stamp_ns,
                    image_stamp_ns=image_of.get(sweep.sample, 0),
                    boxes=boxes,
                )
            )
        return moments


def _check_order(poses: list[NDArray[np.float64]], tables: Path) -> None:
    """Refuse rotations that are given as x, y, z, w.

    Raises:
        ConfigurationError: they are: read so the vehicle is upright, or drives where it looks.
    """
    others = [_other_order(T) for T in poses]
    upright, other_upright = (float(np.mean([T[2, 2] for T in each])) for each in (poses, others))
    odd = upright < _ASTRAY and other_upright > _AHEAD
    along = np.array([b[:3, 3] - a[:3, 3] for a, b in pairwise(poses)]).reshape(-1, 3)
    length = np.linalg.norm(along, axis=1)
    moved = np.flatnonzero(length > _MOVED_M)
    if len(moved):
        ahead, other_ahead = (
            float(np.mean([each[k][:3, 0] @ along[k] / length[k] for k in moved]))
            for each in (poses, others)
        )
        odd = odd or (ahead < _ASTRAY and other_ahead > _AHEAD)
    if odd:
        raise ConfigurationError(
            f"{tables / 'ego_pose'}.json: rotation expects w, x, y, z: read as x, y, z, w the "
            "vehicle is upright and drives where it looks"
        )


def _other_order(T: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a transform whose quaternion, read as w, x, y, z, was x, y, z, w."""
    x, y, z, w = orientation_of(T)
    return matrix((0.0, 0.0, 0.0), (w, x, y, z))


def _camera(channel: str, images: list[_Shot], *, first: bool, root: Path) -> CameraStream:
    if not images:
        raise ConfigurationError(f"{root}: no image of {channel} is near the wanted sweeps")
    sensor = images[0].sensor
    return CameraStream(
        source="camera" if first else f"camera_{channel.removeprefix('CAM_').lower()}",
        T_base_sensor=_pose(sensor),
        K=np.array(sensor["camera_intrinsic"], np.float64).reshape(3, 3),
        image_size=images[0].size if min(images[0].size) > 0 else size_of(images[0].file),
        stamps_ns=[s.stamp_ns for s in images],
        files=[s.file for s in images],
    )


def _pose(sensor: Row) -> NDArray[np.float64]:
    return transform_of(sensor["translation"], sensor["rotation"])


def _sweep(path: Path) -> Sweep:
    """Read .pcd.bin: x, y, z (m), intensity (0 to 255) and ring, float32 each."""
    values = read_floats(path, 5)
    check_columns(path, values[:, 3], values[:, 4])
    return Sweep(xyz_m=values[:, :3], intensity=values[:, 3], ring=values[:, 4].astype(np.uint16))


def _box(row: Row, category: str, T_base_global: NDArray[np.float64]) -> LabelledBox:
    width, length, height = row["size"]
    T = transform_of(row["translation"], row["rotation"])
    return box(
        category,
        class_of_label(category) or OTHER,
        T=T_base_global,
        center_m=T[:3, 3].tolist(),
        heading=T[:3, 0].tolist(),
        size_m=(length, width, height),
        points=int(row["num_lidar_pts"]),
    )


SPEC = DatasetSpec(
    name="nuscenes",
    layout="v1.0-mini (or v1.0-trainval, v1.0-test) with its tables, samples and sweeps",
    sequences=sequences,
    load=load,
)
