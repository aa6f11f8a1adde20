"""What a demo recording is made of, wherever it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_perception.fusion.odometry_watch import Pose
from edge_perception.samples.truth import LabelledBox, LabelledSound, MountedCamera, MountedLidar

_AHEAD_RAD = 0.1


def roof() -> NDArray[np.float64]:
    """Return the pose of microphones whose place on the roof does not matter."""
    T = np.eye(4)
    T[2, 3] = 1.6
    return T


@dataclass(frozen=True, kw_only=True)
class SceneSweep:
    """One sweep of one LiDAR."""

    xyz_m: NDArray[np.float32]  # (N, 3), LiDAR frame
    intensity: NDArray[np.uint8]  # (N,)
    time_offset_s: NDArray[np.float32]  # (N,), against the LiDAR stamp


@dataclass(frozen=True, kw_only=True)
class SceneFrame(SceneSweep):
    """One image and one sweep of the same moment."""

    name: str
    jpeg: bytes
    camera_offset_s: float  # exposure minus LiDAR stamp
    boxes: tuple[LabelledBox, ...]  # base frame
    # Of the base while the sweep was taken, and the image, in a frame that is that of its
    # sequence, (4, 4); None: not known.
    T_world_base: NDArray[np.float64] | None = None
    T_world_base_image: NDArray[np.float64] | None = None
    more_jpegs: Mapping[str, bytes] = field(default_factory=dict)  # of the further cameras
    more_sweeps: Mapping[str, SceneSweep] = field(default_factory=dict)  # of the further LiDARs


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Short sequences of frames at 10 Hz, a sound clip and a calibration."""

    origin: str
    sequences: tuple[tuple[SceneFrame, ...], ...]
    start_ns: int  # LiDAR stamp of the first frame
    intrinsics: NDArray[np.float64]  # (3, 3), px
    image_size: tuple[int, int]  # width, height
    T_base_camera: NDArray[np.float64]  # (4, 4)
    T_base_lidar: NDArray[np.float64]  # (4, 4)
    clip_name: str
    clip: NDArray[np.int16]  # (M, C)
    sample_rate_hz: int
    sounds: tuple[LabelledSound, ...]
    T_base_audio: NDArray[np.float64] = field(default_factory=roof)  # (4, 4)
    microphones_m: tuple[tuple[float, float, float], ...] = ()  # sensor frame; empty: not known
    # Of the base over the whole recording, where odometry is known; none: those of its frames.
    poses: tuple[Pose, ...] = ()
    more_cameras: tuple[MountedCamera, ...] = ()
    more_lidars: tuple[MountedLidar, ...] = ()


def has_odometry(scene: Scene) -> bool:
    """Whether a recording of the scene tells how the vehicle moves."""
    frames = [frame for sequence in scene.sequences for frame in sequence]
    known = (T is not None for f in frames for T in (f.T_world_base, f.T_world_base_image))
    return bool(scene.poses) or (bool(frames) and all(known))


def ahead_offset_s(frames: Iterable[SceneFrame]) -> float:
    """Return when sweeps pass straight ahead, against their stamps: the median over the points.

    It is where a camera that looks ahead has to be compared with the sweep.
    """
    offsets = [
        frame.time_offset_s[np.abs(np.arctan2(frame.xyz_m[:, 1], frame.xyz_m[:, 0])) < _AHEAD_RAD]
        for frame in frames
    ]
    found = np.concatenate(offsets)
    return float(np.median(found)) if len(found) else 0.0


def shown_frames(lengths: tuple[int, ...], count: int) -> list[tuple[int, int]]:
    """Return which frame is shown at each of `count` steps, as (sequence, frame).

    Each sequence gets an equal share of the steps and is shown forth and back
    (0 1 2 3 3 2 1 0 0 1 …), so that nothing jumps by more than one frame.
    """
    steps = []
    for index in range(count):
        sequence = index * len(lengths) // count
        first = -(-sequence * count // len(lengths))  # first step of this sequence
        phase = (index - first) % (2 * lengths[sequence])
        frame = phase if phase < lengths[sequence] else 2 * lengths[sequence] - 1 - phase
        steps.append((sequence, frame))
    return steps
