"""What the pipeline benchmarks play: simulated frames at production size, serialised once."""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image

from edge_perception.core.types import PointCloud
from edge_perception.samples.messages import chunk_bytes, cloud_bytes
from edge_perception.samples.scene import SceneFrame
from edge_perception.samples.truth import pose_of
from edge_perception.simulation.generate import SimulatedFrame, generate_frame
from edge_perception.simulation.scenario import Camera, Scenario
from edge_perception.simulation.world import World

WIDTH, HEIGHT, POINTS, AUDIO_RATE_HZ, AUDIO_BLOCK = 1280, 720, 100_000, 16_000, 1_600
FRAMES = 11  # distinct ones, so that none looks frozen, whatever load control skips between two
PARAMETERS = "parameters.yaml"


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Serialised messages; the stamp lies behind the four bytes of encapsulation."""

    images: tuple[bytes, ...]
    clouds: tuple[bytes, ...]
    camera_info: bytes
    chunk: bytes  # 100 ms of sound; first_sample_index counts on from message to message


def make_clip(folder: Path) -> None:
    """Render the frames and write messages and the parameters of the nodes into a folder."""
    scenario = Scenario(
        name="bench", sensors=("camera", "lidar"), camera=Camera(width=WIDTH, height=HEIGHT)
    )
    world = World(scenario, 4)
    frames = [generate_frame(scenario, 4, 0.1 * k, world=world) for k in range(FRAMES)]
    noise = np.random.default_rng(4)
    for index, frame in enumerate(frames):
        assert frame.image is not None
        assert frame.cloud is not None
        (folder / f"image{index}").write_bytes(_image_bytes(frame.image.bgr))
        (folder / f"cloud{index}").write_bytes(_cloud_bytes(frame.cloud, noise))
    (folder / "camera_info").write_bytes(_camera_info_bytes(frames[0]))
    samples = (noise.normal(size=(AUDIO_BLOCK, 1)) * 800).astype(np.int16)
    chunk = chunk_bytes(samples, sample_rate_hz=AUDIO_RATE_HZ, first_index=0)
    (folder / "chunk").write_bytes(chunk)
    poses = {"camera": frames[0].T_base_camera, "lidar": frames[0].T_base_lidar}
    parameters: dict[str, dict[str, dict[str, object]]] = {
        f"/**/{source}_encoder": {
            "ros__parameters": {"T_base_sensor": [float(value) for value in pose_of(T)]}
        }
        for source, T in poses.items()
    }
    parameters["/**/camera_encoder"]["ros__parameters"]["rate_hz"] = 20.0
    (folder / PARAMETERS).write_text(yaml.safe_dump(parameters), encoding="utf-8")
    (folder / "poses").write_text(json.dumps({name: T.tolist() for name, T in poses.items()}))


def load_clip(folder: Path) -> Clip:
    """Read what `make_clip` wrote."""
    return Clip(
        images=tuple((folder / f"image{index}").read_bytes() for index in range(FRAMES)),
        clouds=tuple((folder / f"cloud{index}").read_bytes() for index in range(FRAMES)),
        camera_info=(folder / "camera_info").read_bytes(),
        chunk=(folder / "chunk").read_bytes(),
    )


def load_poses(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Return T_base_sensor of camera and lidar."""
    return {name: np.array(T) for name, T in json.loads((folder / "poses").read_text()).items()}


def _image_bytes(bgr: NDArray[np.uint8]) -> bytes:
    data = array("B")
    data.frombytes(np.ascontiguousarray(bgr).tobytes())
    message = Image(
        height=bgr.shape[0], width=bgr.shape[1], encoding="bgr8", step=3 * bgr.shape[1], data=data
    )
    message.header.frame_id = "camera"
    return bytes(serialize_message(message))


def _cloud_bytes(cloud: PointCloud, noise: np.random.Generator) -> bytes:
    """Return the sweep with `POINTS` points: repeated with some centimetres of noise."""
    picked = np.arange(POINTS) % len(cloud.xyz_m)
    jitter = noise.normal(scale=0.02, size=(POINTS, 3)).astype(np.float32)
    return cloud_bytes(
        SceneFrame(
            name="bench",
            jpeg=b"",
            camera_offset_s=0.0,
            xyz_m=cloud.xyz_m[picked] + jitter,
            intensity=np.full(POINTS, 60, np.uint8),
            time_offset_s=np.zeros(POINTS, np.float32),
            boxes=(),
        )
    )


def _camera_info_bytes(frame: SimulatedFrame) -> bytes:
    assert frame.image is not None
    assert frame.image.intrinsics is not None
    K = frame.image.intrinsics
    message = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob")
    message.header.frame_id = "camera"
    message.d = [0.0] * 5
    message.k = K.reshape(-1).tolist()
    message.p = np.hstack([K, np.zeros((3, 1))]).reshape(-1).tolist()
    return bytes(serialize_message(message))
