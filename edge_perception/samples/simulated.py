"""Scene from the simulator, where no recorded data is at hand."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from edge_perception.core.types import ImageFrame, PointCloud
from edge_perception.samples.scene import Scene, SceneFrame, SceneSweep
from edge_perception.samples.truth import (
    LabelledBox,
    LabelledSound,
    MountedCamera,
    MountedLidar,
    matrix_of,
    pose_of,
)
from edge_perception.simulation.audio import SimulatedAudio, generate_audio
from edge_perception.simulation.generate import SensorSample, SimulatedFrame, simulate_sequence
from edge_perception.simulation.rigs import with_rig
from edge_perception.simulation.scenario import Emergency, Scenario
from edge_perception.simulation.world import World

ORIGIN = "simulated street scenes of this package"
FRAMES = 20  # a sequence, shown forth and back: long enough for tracks to tell how fast things are
CLIP_S = 10.0
_RATE_HZ = 10.0
_DRIVES = (("intersection", 11), ("road", 12))
_SIREN = Scenario(
    name="siren", emergency=Emergency(), sounds=("horn", "engine"), sensors=("audio",)
)


def simulated_scene(rig: str = "") -> Scene:
    """Render two short drives and ten seconds of a siren and a horn.

    Args:
        rig: one of `simulation.rigs`; empty: the one camera of a scenario.
    """
    scenarios = [_scenario(layout, rig) for layout, _ in _DRIVES]
    samples = [_samples(s, seed) for s, (_, seed) in zip(scenarios, _DRIVES, strict=True)]
    sequences = tuple(
        tuple(paired_frames(by_sensor, f"{layout}_{seed}", World(scenario, seed)))
        for by_sensor, scenario, (layout, seed) in zip(samples, scenarios, _DRIVES, strict=True)
    )
    return scene_of(
        samples[0],
        simulated_sound(),
        origin=origin_of(rig),
        sequences=sequences,
        start_ns=samples[0]["lidar"][0].stamp_ns,
        clip_name="simulated siren and horn",
        microphones_m=_SIREN.microphones.positions_m,
    )


def origin_of(rig: str) -> str:
    """Return what a recording of the scene says of where it comes from."""
    return f"{ORIGIN}, {rig}" if rig else ORIGIN


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
        more_cameras=tuple(
            _mounted(name, found[0])
            for name, found in samples.items()
            if name.startswith("camera_")
        ),
        more_lidars=tuple(
            MountedLidar(source=name, T_base_lidar=pose_of(found[0].frame.T_base_lidar))
            for name, found in samples.items()
            if name.startswith("lidar_") and found[0].frame is not None
        ),
        **known,
    )


def _mounted(source: str, sample: SensorSample) -> MountedCamera:
    assert sample.frame is not None
    geometry = sample.frame.camera_geometry
    assert geometry.intrinsics is not None
    assert geometry.image_size is not None
    return MountedCamera(
        source=source,
        T_base_camera=pose_of(geometry.T_base_sensor),
        intrinsics=tuple(tuple(row) for row in geometry.intrinsics.tolist()),
        image_size=geometry.image_size,
    )


def _scenario(layout: str, rig: str) -> Scenario:
    scenario = Scenario(name=layout, layout=layout, sensors=("camera", "lidar"))
    return with_rig(scenario, rig) if rig else scenario


def _samples(scenario: Scenario, seed: int) -> dict[str, list[SensorSample]]:
    by_sensor: dict[str, list[SensorSample]] = defaultdict(list)
    for sample in simulate_sequence(scenario, seed, (FRAMES + 1) / _RATE_HZ):
        by_sensor[sample.sensor].append(sample)
    return by_sensor


def paired_frames(
    samples: dict[str, list[SensorSample]], name: str, world: World
) -> list[SceneFrame]:
    """Pair each image with the sweep that ends half a period after it; one less than sweeps."""
    frames = []
    for index, (image, sweep) in enumerate(
        zip(samples["camera"][:-1], samples["lidar"][1:], strict=True)
    ):
        assert sweep.frame is not None
        frames.append(
            SceneFrame(
                **_sweep(sweep),
                name=f"{name}/{index:02d}",
                jpeg=_jpeg(image),
                camera_offset_s=image.t_s - sweep.t_s,
                boxes=_boxes(sweep.frame),
                T_world_base=matrix_of(ego_pose(world, sweep.t_s)),
                T_world_base_image=matrix_of(ego_pose(world, image.t_s)),
                more_jpegs={
                    source: _jpeg(found[index])
                    for source, found in samples.items()
                    if source.startswith("camera_")
                },
                more_sweeps={
                    source: SceneSweep(**_sweep(found[index + 1]))
                    for source, found in samples.items()
                    if source.startswith("lidar_")
                },
            )
        )
    return frames


def ego_pose(world: World, t_s: float) -> tuple[float, float, float, float, float, float, float]:
    """Return where the vehicle of a simulated world is: x, y, z (m), unit quaternion x, y, z, w."""
    x, y, yaw = world.ego_position(t_s)
    return (x, y, 0.0, 0.0, 0.0, math.sin(0.5 * yaw), math.cos(0.5 * yaw))


def _sweep(sample: SensorSample) -> dict[str, Any]:
    """Return the fields of a `SceneSweep`."""
    cloud = sample.data
    assert isinstance(cloud, PointCloud)
    count = len(cloud.xyz_m)
    return {
        "xyz_m": cloud.xyz_m,
        "intensity": _or_zeros(cloud.intensity, count, 255.0).astype(np.uint8),
        "time_offset_s": _or_zeros(cloud.time_offset_s, count, 1.0),
    }


def _jpeg(sample: SensorSample) -> bytes:
    image = sample.data
    assert isinstance(image, ImageFrame)
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
