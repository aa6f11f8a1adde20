"""What is known about a recording beside its messages: labels, calibration, sound clip.

It travels inside the recording as a JSON attachment, so that the file explains itself.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.recordings.reader import Recording

ATTACHMENT = "ground_truth.json"
Pose = tuple[float, float, float, float, float, float, float]  # x, y, z (m), qx, qy, qz, qw
STRAIGHT: Pose = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class LabelledBox:
    """One labelled road user, base frame."""

    label: str  # as in the data set
    class_name: str  # ours: car, truck, bus, pedestrian, cyclist; other: none of them
    center_m: tuple[float, float, float]
    size_m: tuple[float, float, float]  # length, width, height
    yaw_rad: float
    points: int  # LiDAR returns inside


@dataclass(frozen=True, kw_only=True)
class LabelledFrame:
    """One distinct frame; a looped recording shows it many times."""

    name: str
    boxes: tuple[LabelledBox, ...]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One message that shows a frame."""

    stamp_ns: int
    frame: int  # index into frames


@dataclass(frozen=True, kw_only=True)
class LabelledSound:
    """A sound that is known to be in the clip, seconds since its start."""

    class_name: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class SoundClip:
    """The clip that the microphone hears again and again."""

    name: str
    start_ns: int  # stamp of its first sample
    length_s: float = parameter(unit="s", low=0.01, high=1e5)
    sounds: tuple[LabelledSound, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MountedCamera:
    """Where a further camera of a rig sits, and how it projects."""

    source: str  # its topics begin with it
    T_base_camera: Pose
    intrinsics: tuple[tuple[float, float, float], ...]  # (3, 3), px
    image_size: tuple[int, int]  # width, height


@dataclass(frozen=True, kw_only=True)
class MountedLidar:
    """Where a further LiDAR of a rig sits."""

    source: str  # its topic begins with it
    T_base_lidar: Pose


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """Everything about a recording that its topics do not say."""

    origin: str
    base_frame: str
    T_base_camera: Pose
    T_base_lidar: Pose
    T_base_audio: Pose = STRAIGHT
    lidar_ahead_s: float  # when a sweep passes straight ahead, against its stamp
    intrinsics: tuple[tuple[float, float, float], ...]  # (3, 3), px
    image_size: tuple[int, int]  # width, height; 0, 0: no camera is known
    frames: tuple[LabelledFrame, ...]
    sweeps: tuple[Shown, ...]  # LiDAR
    images: tuple[Shown, ...]
    clip: SoundClip = field(default_factory=lambda: SoundClip(name="", start_ns=0, length_s=1.0))
    microphones_m: tuple[tuple[float, float, float], ...] = ()  # of each channel, sensor frame
    more_cameras: tuple[MountedCamera, ...] = ()  # their images have the stamps of `images`
    more_lidars: tuple[MountedLidar, ...] = ()  # their sweeps have the stamps of `sweeps`

    def to_json(self) -> bytes:
        """Return the text of the attachment."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @property
    def K(self) -> NDArray[np.float64]:
        """Intrinsics as an array, (3, 3)."""
        return np.array(self.intrinsics, np.float64)


def read_ground_truth(recording: Recording) -> GroundTruth:
    """Return what a recording carries about itself.

    Raises:
        ConfigurationError: the recording was not made by `edge-perception record-demo`.
    """
    return ground_truth_of(recording.attachment(ATTACHMENT), f"{recording.path}: {ATTACHMENT}")


def ground_truth_of(text: bytes, where: str) -> GroundTruth:
    """Read the text of the attachment.

    Raises:
        ConfigurationError: it is no ground truth; a field that does not fit is named.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    return decode(GroundTruth, data, where)


def pose_of(T: NDArray) -> Pose:
    """Return a (4, 4) transform as x, y, z, qx, qy, qz, qw."""
    x, y, z = (float(value) for value in T[:3, 3])
    qx, qy, qz, qw = (float(value) for value in Rotation.from_matrix(T[:3, :3]).as_quat())
    return (x, y, z, qx, qy, qz, qw)


def inverse(T: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a (4, 4) transform the other way round."""
    return np.asarray(np.linalg.inv(T), np.float64)


def matrix_of(pose: Pose) -> NDArray[np.float64]:
    """Return a pose as a (4, 4) transform."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat(pose[3:]).as_matrix()
    T[:3, 3] = pose[:3]
    return T


def points_in_box(
    xyz_m: NDArray,
    center_m: tuple[float, float, float],
    size_m: tuple[float, float, float],
    yaw_rad: float,
) -> NDArray[np.bool_]:
    """Return which points, (N, 3), lie inside an oriented box; (N,)."""
    local = np.asarray(xyz_m, np.float64) - center_m
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    along = local[:, 0] * cos + local[:, 1] * sin
    across = -local[:, 0] * sin + local[:, 1] * cos
    half = np.asarray(size_m) / 2
    inside: NDArray[np.bool_] = (
        (np.abs(along) <= half[0]) & (np.abs(across) <= half[1]) & (np.abs(local[:, 2]) <= half[2])
    )
    return inside


def footprint(
    center_m: Sequence[float], size_m: Sequence[float], yaw_rad: float
) -> NDArray[np.float64]:
    """Return the corners of a box on the ground, (4, 2)."""
    x = np.array([1, 1, -1, -1]) * size_m[0] / 2
    y = np.array([1, -1, -1, 1]) * size_m[1] / 2
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.stack([x * cos - y * sin + center_m[0], x * sin + y * cos + center_m[1]], axis=1)
