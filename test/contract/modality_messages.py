"""For each modality: a message that every encoder takes, and messages that none takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from audio_messages import chunk, header
from camera_messages import camera_info, image_msg
from lidar_messages import cloud_msg

from edge_perception.core.types import Geometry
from edge_perception.encoders.camera.camera_info import geometry_from_camera_info


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """What a sensor of one modality sends."""

    good: Callable[[], Iterator[Any]]  # enough messages for at least one frame
    bad: Callable[[], Iterator[Any]]  # each must be refused
    geometry: Geometry


def _images() -> Iterator[Any]:
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (240, 320, 3), dtype=np.uint8)
        yield image_msg(pixels, "rgb8")


def _bad_images() -> Iterator[Any]:
    message = next(_images())
    message.encoding = "nonsense"
    yield message
    message = next(_images())
    message.data = message.data[:100]
    yield message


def _clouds() -> Iterator[Any]:
    for seed in range(2):
        points = np.random.default_rng(seed).uniform([-20, -20, -0.1], [50, 20, 2.0], (4000, 3))
        yield cloud_msg({**dict(zip("xyz", points.T, strict=True)), "intensity": points[:, 2] / 2})


def _bad_clouds() -> Iterator[Any]:
    message = next(_clouds())
    message.fields = message.fields[1:]
    yield message
    message = next(_clouds())
    message.data = b""
    yield message


def _chunks() -> Iterator[Any]:
    rng = np.random.default_rng(0)
    for index in range(20):
        samples = (rng.normal(0, 3000, 1600)).astype("<i2")
        yield chunk(
            samples.tobytes(),
            header=header(1_000_000_000 + index * 100_000_000),
            first_sample_index=index * 1600,
        )


def _bad_chunks() -> Iterator[Any]:
    yield chunk(b"\0" * 3201)  # half a sample
    yield chunk(b"\0" * 3200, format="mp3")


def _mounted_camera() -> Geometry:
    K = [500.0, 0.0, 160.0, 0.0, 510.0, 120.0, 0.0, 0.0, 1.0]
    T = np.eye(4)
    T[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    T[:3, 3] = [1.0, 0.0, 1.6]
    return geometry_from_camera_info(camera_info(width=320, height=240, k=K), T)


STIMULI = {
    "camera": Stimulus(good=_images, bad=_bad_images, geometry=_mounted_camera()),
    "lidar": Stimulus(good=_clouds, bad=_bad_clouds, geometry=Geometry()),
    "audio": Stimulus(good=_chunks, bad=_bad_chunks, geometry=Geometry()),
}
