"""PandaSet frames in the short form of the shared data: a .jpg and an .npz each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_perception.core.errors import ConfigurationError
from edge_perception.samples.datasets import (
    CameraStream,
    LabelledMoment,
    LidarStream,
    Log,
    Sweep,
    Wanted,
)
from edge_perception.samples.datasets._files import ahead_s, odometry, part, size_of
from edge_perception.samples.pandaset import boxes_of, mean_transform
from edge_perception.samples.truth import inverse

ORIGIN = "PandaSet, © Hesai and Scale AI, CC BY 4.0 with the PandaSet terms"


def sequences(path: Path) -> list[str]:
    """Return the sequences of a folder."""
    return sorted({file.parent.name for file in path.glob("*/*.npz")})


def load(path: Path, name: str, wanted: Wanted) -> Log:
    """Read a sequence."""
    if wanted.cameras and wanted.cameras != ("front_camera",):
        raise ConfigurationError(f"{path}: has the front_camera only, wanted {wanted.cameras}")
    files = sorted((path / name).glob("*.npz"))
    files = [files[index] for index in part(len(files), wanted, path / name)]
    try:
        frames = [_arrays(file) for file in files]
        sweeps = [_sweep(frame) for frame in frames]
        lidar_ns = [int(frame["lidar_stamp_ns"]) for frame in frames]
        image_ns = [int(frame["camera_stamp_ns"]) for frame in frames]
        labels = [boxes_of(f, s.xyz_m) for f, s in zip(frames, sweeps, strict=True)]
        T_world = [np.asarray(frame["T_world_lidar"], np.float64) for frame in frames]
        T_camera = mean_transform([frame["T_camera_lidar"] for frame in frames])
        K = np.asarray(frames[0]["camera_K"], np.float64)
    except (OSError, KeyError, ValueError) as error:
        raise ConfigurationError(f"{path / name}: expected PandaSet frames: {error!r}") from error
    images = [file.with_suffix(".jpg") for file in files]
    return Log(
        name=name,
        origin=ORIGIN,
        lidars=(
            LidarStream(T_base_sensor=np.eye(4), stamps_ns=lidar_ns, load=lambda i: sweeps[i]),
        ),
        cameras=(
            CameraStream(
                T_base_sensor=inverse(T_camera),
                K=K,
                image_size=size_of(images[0]),
                stamps_ns=image_ns,
                files=images,
            ),
        ),
        labels=tuple(
            LabelledMoment(
                name=f"{name}/{file.stem}", lidar_stamp_ns=sweep, image_stamp_ns=image, boxes=boxes
            )
            for file, sweep, image, boxes in zip(files, lidar_ns, image_ns, labels, strict=True)
        ),
        poses=tuple(
            odometry(stamp_ns, T, T_world[0]) for stamp_ns, T in zip(lidar_ns, T_world, strict=True)
        ),
        lidar_ahead_s=ahead_s(sweeps[0]),
    )


def _arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as data:
        return {name: data[name] for name in data.files}


def _sweep(frame: dict[str, Any]) -> Sweep:
    return Sweep(
        xyz_m=frame["xyz_cm"].astype(np.float32) * np.float32(0.01),
        intensity=frame["intensity"].astype(np.float32),
        time_offset_s=frame["time_offset_us"].astype(np.float32) * np.float32(1e-6),
    )
