"""Sensor messages for tests: small, valid, and easy to break."""

from __future__ import annotations

from array import array

import numpy as np
from harness import wait_until
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from edge_perception.msg import AudioChunk
from edge_perception.nodes.conversion import time_msg
from edge_perception.nodes.encoder.node import EncoderNode

RATE_HZ = 16000
CHUNK = 1600


def filled(values: np.ndarray) -> array:
    data = array("B")
    data.frombytes(np.ascontiguousarray(values).tobytes())
    return data


def image(stamp_ns: int, *, width: int = 320, height: int = 240) -> Image:
    rows, columns = np.mgrid[0:height, 0:width] + stamp_ns // 1_000_000 % 256  # never frozen
    pixels = np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=-1)
    message = Image(
        width=width,
        height=height,
        encoding="bgr8",
        step=width * 3,
        data=filled(pixels.astype(np.uint8)),
    )
    message.header.stamp, message.header.frame_id = time_msg(stamp_ns), "camera_optical"
    return message


def camera_info(stamp_ns: int, *, width: int = 320, height: int = 240) -> CameraInfo:
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob")
    message.k = [300.0, 0.0, width / 2, 0.0, 300.0, height / 2, 0.0, 0.0, 1.0]
    message.p = [300.0, 0.0, width / 2, 0.0, 0.0, 300.0, height / 2, 0.0, 0.0, 0.0, 1.0, 0.0]
    message.header.stamp, message.header.frame_id = time_msg(stamp_ns), "camera_optical"
    return message


def calibrate(driver: Node, encoder: EncoderNode) -> None:
    """Publish camera_info until the encoder has it."""
    publisher = driver.create_publisher(CameraInfo, "camera/camera_info", qos_profile_sensor_data)

    def known() -> bool:
        publisher.publish(camera_info(1))
        return encoder.geometry.intrinsics is not None

    wait_until(known, "calibration")


def cloud(
    stamp_ns: int, *, points: int = 5000, seed: int = 0, height_m: float = 0.0
) -> PointCloud2:
    """Return points all around; without a height they are those of a scanner of one layer."""
    rng = np.random.default_rng(seed)
    values = np.zeros((points, 4), np.float32)
    values[:, 0] = rng.uniform(-20, 50, points)
    values[:, 1] = rng.uniform(-20, 20, points)
    values[:, 2] = height_m * rng.uniform(-0.5, 0.5, points)
    values[:, 3] = 0.5
    values[:, :2] += stamp_ns // 1_000_000 % 1000 * 1e-4  # never frozen
    message = PointCloud2(
        width=points,
        height=1,
        point_step=16,
        row_step=16 * points,
        is_dense=True,
        fields=[
            PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
            for index, name in enumerate(("x", "y", "z", "intensity"))
        ],
        data=filled(values),
    )
    message.header.stamp, message.header.frame_id = time_msg(stamp_ns), "lidar"
    return message


def chunk(stamp_ns: int, index: int, *, samples: int = CHUNK) -> AudioChunk:
    """Return the chunk that starts at sample `index` of a 440 Hz tone."""
    time_s = (index + np.arange(samples)) / RATE_HZ
    tone = np.round(8000 * np.sin(2 * np.pi * 440 * time_s)).astype("<i2")
    message = AudioChunk(
        sample_rate=RATE_HZ,
        channels=1,
        format=AudioChunk.FORMAT_S16LE,
        first_sample_index=index,
        data=filled(tone),
    )
    message.header.stamp, message.header.frame_id = time_msg(stamp_ns), "microphone"
    return message
