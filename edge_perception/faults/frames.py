"""Small sensor messages with the noise of live sensors, for fault runs without a recording.

The messages are built by functions that are passed in, so that the same frames serve ROS (message
classes) and runs without it (plain objects with the same attributes).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 320, 240
POINTS = 4000
RATE_HZ, CHUNK, CHANNELS = 16000, 1600, 2
PERIOD_S = 0.1
MESSAGE_TYPES: Mapping[str, str] = {
    "camera": "sensor_msgs/msg/Image",
    "lidar": "sensor_msgs/msg/PointCloud2",
    "audio": "edge_perception/msg/AudioChunk",
}
TOPICS: Mapping[str, str] = {
    "camera": "camera/image_raw",
    "lidar": "lidar/points",
    "audio": "audio",
}
_FLOAT32 = 7  # sensor_msgs/PointField.FLOAT32


def plain(_type: str) -> Any:
    """Return an object that takes any attribute, in place of a message class."""
    message = SimpleNamespace(is_bigendian=False)
    message.header = SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=0), frame_id="")
    return message


def as_bytes(values: NDArray) -> array:
    """Return the bytes of an array as ROS messages hold them."""
    data = array("B")
    data.frombytes(np.ascontiguousarray(values).tobytes())
    return data


def set_stamp(message: Any, stamp_ns: int) -> Any:
    """Write an acquisition stamp into a message and return it."""
    message.header.stamp.sec = int(stamp_ns // 1_000_000_000)
    message.header.stamp.nanosec = int(stamp_ns % 1_000_000_000)
    return message


def stamp_of(message: Any) -> int:
    """Return a message's acquisition stamp, ns."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


class Frames:
    """Makes the frames of a camera, a LiDAR and a stereo microphone in a static scene.

    The contents are drawn once and taken in turn, so that making a frame costs next to nothing.
    """

    POOL = 8

    def __init__(self, make: Callable[[str], Any] = plain, *, seed: int = 0) -> None:
        self._make = make
        rng = np.random.default_rng(seed)
        self._images = [as_bytes(_image(rng)) for _ in range(self.POOL)]
        azimuth, distance = rng.uniform(-np.pi, np.pi, POINTS), rng.uniform(4.0, 45.0, POINTS)
        height = rng.choice((-1.7, -1.7, -1.0, -0.3), POINTS)
        scene = np.stack([distance * np.cos(azimuth), distance * np.sin(azimuth), height], axis=1)
        self._clouds = [as_bytes(_cloud(scene, rng)) for _ in range(self.POOL)]
        noise = rng.normal(0.0, 0.02 * 32767, (self.POOL, CHUNK, CHANNELS))
        self._sounds = [as_bytes(np.round(block).astype("<i2")) for block in noise]
        self._count = dict.fromkeys(MESSAGE_TYPES, 0)

    def frame(self, source: str, stamp_ns: int) -> Any:
        """Return the message of a source (its name begins with the modality)."""
        modality = source.split("_", maxsplit=1)[0]
        message = self._make(MESSAGE_TYPES[modality])
        number = self._count[modality]
        self._count[modality] += 1
        getattr(self, f"_{modality}")(message, number)
        message.header.frame_id = source
        return set_stamp(message, stamp_ns)

    def _camera(self, message: Any, number: int) -> None:
        message.width, message.height = WIDTH, HEIGHT
        message.encoding, message.step = "bgr8", WIDTH * 3
        message.data = self._images[number % self.POOL]

    def _lidar(self, message: Any, number: int) -> None:
        message.fields = []
        for index, name in enumerate(("x", "y", "z", "intensity")):
            field = self._make("sensor_msgs/msg/PointField")
            field.name, field.offset, field.datatype, field.count = name, 4 * index, _FLOAT32, 1
            message.fields.append(field)
        message.height, message.width, message.is_dense = 1, POINTS, True
        message.point_step, message.row_step = 16, 16 * POINTS
        message.data = self._clouds[number % self.POOL]

    def _audio(self, message: Any, number: int) -> None:
        message.sample_rate, message.channels = RATE_HZ, CHANNELS
        message.format, message.first_sample_index = "s16le", number * CHUNK
        message.data = self._sounds[number % self.POOL]


def _image(rng: np.random.Generator) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    road = 90.0 + 40.0 * np.sin(columns / 40.0) + 50.0 * (rows < HEIGHT // 2)
    noisy = road[..., None] + rng.normal(0.0, 2.0, (HEIGHT, WIDTH, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _cloud(scene: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    points = np.full((POINTS, 4), 0.4, np.float32)
    points[:, :3] = scene * rng.normal(1.0, 0.001, (POINTS, 1))
    return points
