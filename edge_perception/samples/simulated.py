"""Scene from the simulator, where no recorded data is at hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from edge_perception.core.types import ImageFrame, PointCloud
from edge_perception.samples.scene import Scene, SceneFrame
from edge_perception.samples.truth import LabelledBox, LabelledSound
from edge_perception.simulation.audio import SimulatedAudio, generate_audio
from edge_perception.simulation.generate import SensorSample, SimulatedFrame, simulate_sequence
from edge_perception.simulation.scenario import Emergency, Scenario

ORIGIN = "simulated street scenes of this package"
FRAMES = 4  # a sequence, as many as the recorded ones have
CLIP_S = 10.0
_RATE_HZ = 10.0
_DRIVES = (("intersection", 11), ("road", 12))
_SIREN = Scenario(
    name="siren", emergency=Emergency(), sounds=("horn", "engine"), sensors=("audio",)
)


def simulated_scene() -> Scene:
    """Render two short drives and ten seconds of a siren and a horn."""
    samples = [_samples(layout, seed) for layout, seed in _DRIVES]
    sequences = tuple(
        tuple(paired_frames(by_sensor, f"{layout}_{seed}"))
        for by_sensor, (layout, seed) in zip(samples, _DRIVES, strict=True)
    )
    return scene_of(
        samples[0],
        simulated_sound(),
        origin=ORIGIN,
        sequences=sequences,
        start_ns=samples[0]["lidar"][0].stamp_ns,
        clip_name="simulated siren and horn",
        microphones_m=_SIREN.microphones.positions_m,
    )


def simulated_sound() -> SimulatedAudio:
    """Return ten seconds of a siren and a horn, as the simulated scene plays again and again."""
    return generate_audio(_SIREN, seed=11, duration_s=CLIP_S)


def scene_of(
    samples: Mapping[str, Sequence[SensorSample]], sound: SimulatedAudio, **known: Any
) -> Scene:
    """Return a simulated scene: calibration of the rendered samples, clip and labels of the sound.

    Args:
        samples: images and sweeps of one drive by sensor; all drives have the same sensors.
        sound: what the microphones hear, and which sounds it is made of.
        known: the other fields of `Scene`.
    """
    first = samples["camera"][0]
    image = first.data
    assert isinstance(image, ImageFrame)
    assert first.frame is not None
    assert image.intrinsics is not None
    return Scene(
        intrinsics=image.intrinsics,
        image_size=(image.bgr.shape[1], image.bgr.shape[0]),
        T_base_camera=first.frame.T_base_camera,
        T_base_lidar=first.frame.T_base_lidar,
        clip=(sound.samples * 32767).astype(np.int16),
        sample_rate_hz=sound.sample_rate_hz,
        sounds=tuple(
            LabelledSound(class_name=track.class_name, start_s=start_s, end_s=end_s)
            for track in sound.tracks
            if track.class_name in ("siren", "car_horn")
            for start_s, end_s in track.spans_s
        ),
        T_base_audio=np.eye(4),
        **known,
    )


def _samples(layout: str, seed: int) -> dict[str, list[SensorSample]]:
    scenario = Scenario(name=layout, layout=layout, sensors=("camera", "lidar"))
    by_sensor: dict[str, list[SensorSample]] = defaultdict(list)
    for sample in simulate_sequence(scenario, seed, (FRAMES + 1) / _RATE_HZ):
        by_sensor[sample.sensor].append(sample)
    return by_sensor


def paired_frames(samples: dict[str, list[SensorSample]], name: str) -> list[SceneFrame]:
    """Pair each image with the sweep that ends half a period after it; one less than sweeps."""
    frames = []
    for index, (image, sweep) in enumerate(
        zip(samples["camera"][:-1], samples["lidar"][1:], strict=True)
    ):
        picture, cloud = image.data, sweep.data
        assert isinstance(picture, ImageFrame)
        assert isinstance(cloud, PointCloud)
        assert sweep.frame is not None
        count = len(cloud.xyz_m)
        frames.append(
            SceneFrame(
                name=f"{name}/{index:02d}",
                jpeg=_jpeg(picture),
                camera_offset_s=image.t_s - sweep.t_s,
                xyz_m=cloud.xyz_m,
                intensity=_or_zeros(cloud.intensity, count, 255.0).astype(np.uint8),
                time_offset_s=_or_zeros(cloud.time_offset_s, count, 1.0),
                boxes=_boxes(sweep.frame),
            )
        )
    return frames


def _jpeg(image: ImageFrame) -> bytes:
    _, encoded = cv2.imencode(".jpg", image.bgr, (cv2.IMWRITE_JPEG_QUALITY, 92))
    return encoded.tobytes()


def _or_zeros(values: np.ndarray | None, count: int, scale: float) -> np.ndarray:
    return np.zeros(count, np.float32) if values is None else values * np.float32(scale)


def _boxes(frame: SimulatedFrame) -> tuple[LabelledBox, ...]:
    return tuple(
        LabelledBox(
            label=truth.box.class_name,
            class_name=truth.box.class_name,
            center_m=truth.box.center_m,
            size_m=truth.box.size_m,
            yaw_rad=truth.box.yaw_rad,
            points=truth.lidar_hits,
        )
        for truth in frame.objects
    )
