"""Which sensor an encoder serves, and where that sensor sits."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.core.types import Geometry
from edge_perception.encoders.ways import AUTO

PARAMETER, TF = "parameter", "tf"  # where a pose comes from; empty: from nowhere


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Which sensor this node serves."""

    source: str = parameter(
        text="unique name of the sensor; its topics start with it", read_only=True
    )
    T_base_sensor: tuple[float, ...] = parameter(
        (),
        "pose of the sensor in the base frame: x, y, z [m], qx, qy, qz, qw; of a camera's "
        "optical frame (z forward, x right, y down); empty: from tf, by the frame_id of the "
        "messages",
        example="[1.5, 0.0, 1.6, 0.0, 0.0, 0.0, 1.0]",
    )
    base_frame: str = parameter(
        "base_link", "frame of the vehicle (REP-105): poses from tf are looked up in it"
    )
    tf_max_gap_s: float = parameter(
        0.5,
        "a moving pose from tf that is further from the stamp of a frame is doubted",
        unit="s",
        low=0.0,
        high=60.0,
    )
    cores: tuple[int, ...] = parameter((), "cores of the inference thread; empty: any")
    queue_frames: int = parameter(
        1,
        "frames that may wait for inference; a frame beyond them pushes out the oldest, so 1 keeps "
        "the newest",
        unit="frames",
        low=1,
        high=1000,
    )

    @property
    def way(self) -> str:
        """Which of several ways of the sensor is listened to; `auto` where there is no choice."""
        return str(getattr(self, "input", AUTO))

    def geometry(self) -> Geometry:
        """Return where the sensor sits; what a camera's calibration says is added later.

        Raises:
            ConfigurationError: as `transform`.
        """
        if not self.T_base_sensor:
            return Geometry()
        try:
            T = transform(self.T_base_sensor)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.source}: {error}") from error
        return Geometry(T_base_sensor=T, pose_source=PARAMETER)


def usable_cores(cores: tuple[int, ...]) -> frozenset[int]:
    """Return the cores as a set; empty: any.

    Raises:
        ConfigurationError: one of them is not there, or not for this process.
    """
    if not cores:
        return frozenset()
    if not hasattr(os, "sched_getaffinity"):
        raise ConfigurationError("cores: this system does not place threads on cores")
    present = os.sched_getaffinity(0)
    missing = sorted(set(cores) - present)
    if missing:
        raise ConfigurationError(f"cores: expected some of {sorted(present)}, got {missing} too")
    return frozenset(cores)


def transform(pose: tuple[float, ...]) -> np.ndarray:
    """Return a pose (x, y, z, qx, qy, qz, qw) as a (4, 4) float64 matrix.

    Raises:
        ConfigurationError: not seven finite numbers, or the quaternion is not of unit length.
    """
    values = np.asarray(pose, np.float64)
    if values.shape != (7,) or not np.isfinite(values).all():
        raise ConfigurationError(f"T_base_sensor: expected x, y, z, qx, qy, qz, qw, got {pose}")
    x, y, z, w = values[3:]
    norm = np.linalg.norm(values[3:])
    if abs(norm - 1.0) > 1e-3:
        raise ConfigurationError(
            f"T_base_sensor: expected a quaternion of length 1, got {norm:.4f} in {pose}"
        )
    x, y, z, w = values[3:] / norm
    T = np.eye(4)
    T[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    T[:3, 3] = values[:3]
    return T
