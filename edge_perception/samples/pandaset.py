"""Scene from labelled PandaSet frames (Hesai and Scale AI, CC BY 4.0).

Layout: ``pandaset/<sequence>/<frame>.jpg`` and ``.npz`` (arrays named in the data folder's README),
``audio/<clip>.wav`` 16 kHz mono.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError
from edge_perception.fusion.label_names import OTHER, class_of_label
from edge_perception.samples.images import decoded
from edge_perception.samples.scene import Scene, SceneFrame
from edge_perception.samples.truth import LabelledBox, LabelledSound, inverse, points_in_box

ORIGIN = "PandaSet, © Hesai and Scale AI, CC BY 4.0; front camera and Pandar64, base frame = LiDAR"
CLIP = "siren_horn_voice.wav"
CLIP_SOUNDS = (
    LabelledSound(class_name="siren", start_s=2.0, end_s=7.0),
    LabelledSound(class_name="car_horn", start_s=5.0, end_s=5.7),
)


def has_pandaset(data: Path) -> bool:
    """Whether a data folder holds the frames and the clip."""
    return any((data / "pandaset").glob("*/*.npz")) and (data / "audio" / CLIP).is_file()


def load_pandaset(data: Path) -> Scene:
    """Read all frames of a data folder.

    Raises:
        ConfigurationError: a file is missing or not as described.
    """
    folders = sorted(path for path in (data / "pandaset").iterdir() if path.is_dir())
    poses: list[NDArray[np.float64]] = []
    sequences, start_ns = [], 0
    for folder in folders:
        frames = []
        for path in sorted(folder.glob("*.npz")):
            frame, stamp_ns, T_camera_lidar, K = _load_frame(path)
            start_ns = start_ns or stamp_ns
            poses.append(T_camera_lidar)
            frames.append(frame)
        if frames:
            sequences.append(tuple(frames))
    if not sequences:
        raise ConfigurationError(f"{data}/pandaset: expected folders with .npz frames, got none")
    clip, rate_hz = read_wav(data / "audio" / CLIP)
    return Scene(
        origin=ORIGIN,
        sequences=tuple(sequences),
        start_ns=start_ns,
        intrinsics=K,
        image_size=_jpeg_size(sequences[0][0].jpeg, f"{data}/pandaset"),
        T_base_camera=inverse(mean_transform(poses)),
        T_base_lidar=np.eye(4),
        clip_name=CLIP,
        clip=clip[:, None],
        sample_rate_hz=rate_hz,
        sounds=CLIP_SOUNDS,
    )


def _load_frame(path: Path) -> tuple[SceneFrame, int, NDArray, NDArray]:
    try:
        with np.load(path) as arrays:
            data = {name: arrays[name] for name in arrays.files}
        jpeg = path.with_suffix(".jpg").read_bytes()
        lidar_ns, camera_ns = int(data["lidar_stamp_ns"]), int(data["camera_stamp_ns"])
        T_world = np.asarray(data["T_world_lidar"], np.float64)
        xyz_m = (data["xyz_cm"].astype(np.float32)) * np.float32(0.01)
        frame = SceneFrame(
            name=f"{path.parent.name}/{path.stem}",
            jpeg=jpeg,
            camera_offset_s=(camera_ns - lidar_ns) * 1e-9,
            xyz_m=xyz_m,
            intensity=data["intensity"],
            time_offset_s=data["time_offset_us"].astype(np.float32) * np.float32(1e-6),
            boxes=boxes_of(data, xyz_m),
            # Points, labels and the calibration of a frame are all of the moment of its stamp.
            T_world_base=T_world,
            T_world_base_image=T_world,
        )
        return frame, lidar_ns, data["T_camera_lidar"], data["camera_K"]
    except (OSError, KeyError, ValueError) as error:
        raise ConfigurationError(f"{path}: expected a PandaSet frame: {error!r}") from error


def boxes_of(data: dict[str, NDArray], xyz_m: NDArray) -> tuple[LabelledBox, ...]:
    """Return the labelled boxes of a frame with the points inside each."""
    boxes = []
    xyz_m = xyz_m[np.argsort(xyz_m[:, 0])]
    for center, size, yaw, label in zip(
        data["box_center_m"].tolist(),
        data["box_size_m"].tolist(),
        data["box_yaw_rad"].tolist(),
        data["box_label"].tolist(),
        strict=True,
    ):
        reach_m = float(np.hypot(size[0], size[1])) / 2
        first, last = np.searchsorted(xyz_m[:, 0], (center[0] - reach_m, center[0] + reach_m))
        boxes.append(
            LabelledBox(
                label=label,
                class_name=class_of_label(label) or OTHER,
                center_m=tuple(center),
                size_m=tuple(size),
                yaw_rad=yaw,
                points=int(points_in_box(xyz_m[first:last], center, size, yaw).sum()),
            )
        )
    return tuple(boxes)


def mean_transform(transforms: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the chordal mean of rigid transforms (4, 4): the rotation nearest to their mean."""
    mean = np.mean(transforms, axis=0)
    u, _, vt = np.linalg.svd(mean[:3, :3])
    T = np.eye(4)
    T[:3, :3] = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    T[:3, 3] = mean[:3, 3]
    return T


def read_wav(path: Path) -> tuple[NDArray[np.int16], int]:
    """Return the samples, (M,), and rate of a 16-bit mono WAV file.

    Raises:
        ConfigurationError: missing, or of another kind.
    """
    try:
        with wave.open(str(path), "rb") as file:
            kind = (file.getnchannels(), file.getsampwidth())
            if kind != (1, 2):
                raise ConfigurationError(
                    f"{path}: expected 1 channel of 2 bytes, got {kind[0]} of {kind[1]}"
                )
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            return samples.astype(np.int16), file.getframerate()
    except (OSError, wave.Error, EOFError) as error:
        raise ConfigurationError(f"{path}: expected a WAV file: {error}") from error


def _jpeg_size(jpeg: bytes, where: str) -> tuple[int, int]:
    height, width = decoded(jpeg, where).shape[:2]
    return width, height
