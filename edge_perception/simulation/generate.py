"""Frames with ground truth: what training and the demo ask the simulator for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import AudioBlock, DetectedObject, Geometry, ImageFrame, PointCloud
from edge_perception.simulation import lidar
from edge_perception.simulation.audio import SimulatedAudio, generate_audio
from edge_perception.simulation.camera import Visibility, pinhole_of, render
from edge_perception.simulation.scenario import Camera, Lidar, Scenario
from edge_perception.simulation.seeding import stream
from edge_perception.simulation.world import World


@dataclass(frozen=True, kw_only=True)
class LabelledObject:
    """The truth about one road user."""

    actor_id: int  # the same over a sequence
    box: DetectedObject  # base frame, velocity over ground, score 1
    lidar_hits: int  # returns of the sweep on it
    visibility: Visibility | None  # None: nothing of its outline is in the image
    emergency: bool


@dataclass(frozen=True, kw_only=True)
class SimulatedFrame:
    """All sensors at one moment with ground truth; absent sensors are None."""

    stamp_ns: int
    cloud: PointCloud | None  # sensor frame
    image: ImageFrame | None
    T_base_lidar: NDArray[np.float64]  # (4, 4)
    T_base_camera: NDArray[np.float64]  # (4, 4)
    objects: tuple[LabelledObject, ...]  # within 80 m
    ego_velocity_mps: tuple[float, float, float]

    @property
    def camera_geometry(self) -> Geometry:
        """Pose and projection of the camera."""
        if self.image is None:
            return Geometry(T_base_sensor=self.T_base_camera)
        height, width = self.image.bgr.shape[:2]
        return Geometry(
            T_base_sensor=self.T_base_camera,
            intrinsics=self.image.intrinsics,
            image_size=(width, height),
        )


__all__ = [
    "LabelledObject",
    "SimulatedAudio",
    "SimulatedFrame",
    "generate_audio",
    "generate_frame",
    "simulate_sequence",
]
TRUTH_RANGE_M = 80.0


def lidar_pose(scenario: Scenario) -> NDArray[np.float64]:
    """Return T_base_lidar of a scenario, (4, 4)."""
    return lidar_pose_of(scenario.lidar)


def lidar_pose_of(lidar: Lidar) -> NDArray[np.float64]:
    """Return T_base_lidar of a configured LiDAR, (4, 4)."""
    T = np.eye(4)
    T[:3, 3] = lidar.position_m
    return T


def generate_frame(
    scenario: Scenario,
    seed: int,
    t_s: float = 0.0,
    *,
    start_ns: int = 1_000_000_000_000,
    world: World | None = None,
) -> SimulatedFrame:
    """Return camera and LiDAR of one moment with ground truth.

    Args:
        scenario: What kind of drive.
        seed: Fixes every number together with the scenario.
        t_s: Time since the start of the drive.
        start_ns: Stamp of the start of the drive.
        world: The world of this scenario and seed, where the caller has built it already.
    """
    world = world or World(scenario, seed)
    scene = world.at(t_s)
    stamp_ns = start_ns + round(t_s * 1e9)
    tick = round(t_s * 1e6)
    T_base_lidar, pinhole = lidar_pose(scenario), pinhole_of(scenario.camera)
    sweep, picture = None, None
    if "lidar" in scenario.sensors:
        sweep = lidar.sweep(
            scene, beams=lidar.MODELS[scenario.lidar.model], T_base_lidar=T_base_lidar,
            weather=scenario.weather, dropout=scenario.lidar.dropout,
            rng=stream(seed, scenario.lidar.name, tick), stamp_ns=stamp_ns,
            frame_id=scenario.lidar.name,
        )  # fmt: skip
    if "camera" in scenario.sensors:
        picture = render(
            scene, pinhole, weather=scenario.weather, light=scenario.light, look_seed=seed,
            rng=stream(seed, scenario.camera.name, tick), stamp_ns=stamp_ns,
            dirty_lens=scenario.camera.dirty_lens, wet_lens=scenario.camera.wet_lens,
            frame_id=f"{scenario.camera.name}_optical",
        )  # fmt: skip
    hits = np.zeros(len(scene.actors), int)
    if sweep is not None:
        hits = np.bincount(sweep.actor[sweep.actor >= 0], minlength=len(scene.actors))
    objects = tuple(
        LabelledObject(
            actor_id=state.actor_id,
            box=state.box,
            lidar_hits=int(hits[index]),
            visibility=picture.visibility.get(index) if picture is not None else None,
            emergency=state.emergency,
        )
        for index, state in enumerate(scene.actors)
        if np.hypot(*state.box.center_m[:2]) < TRUTH_RANGE_M
    )
    return SimulatedFrame(
        stamp_ns=stamp_ns,
        cloud=sweep.cloud if sweep is not None else None,
        image=picture.image if picture is not None else None,
        T_base_lidar=T_base_lidar,
        T_base_camera=pinhole.T_base_camera,
        objects=objects,
        ego_velocity_mps=scene.ego_velocity_mps,
    )


def with_one_sensor(scenario: Scenario, source: str) -> Scenario:
    """Return a scenario whose only sensor is one camera or LiDAR of its rig.

    Args:
        scenario: with its rig.
        source: name of the camera or the LiDAR.
    """
    alone = replace(
        scenario, camera=Camera(), lidar=Lidar(), more_cameras=(), more_lidars=(), outages=()
    )
    for camera in (scenario.camera, *scenario.more_cameras):
        if camera.name == source:
            return replace(alone, camera=camera, sensors=("camera",))
    lidar = next(i for i in (scenario.lidar, *scenario.more_lidars) if i.name == source)
    return replace(alone, lidar=lidar, sensors=("lidar",))


def generate_rig(
    scenario: Scenario, seed: int, t_s: float, *, world: World, start_ns: int = 1_000_000_000_000
) -> dict[str, SimulatedFrame]:
    """Return what each camera and LiDAR of a scenario's rig delivers at one moment, by its name.

    The frames have the same objects in the same order; arguments are those of `generate_frame`.
    """
    return {
        name: generate_frame(
            with_one_sensor(scenario, name), seed, t_s, start_ns=start_ns, world=world
        )
        for name in scenario.sources
    }


@dataclass(frozen=True, kw_only=True)
class SensorSample:
    """One delivery of one sensor in a sequence, in the order of acquisition."""

    sensor: str  # name of a camera or LiDAR of the rig, or audio
    stamp_ns: int
    t_s: float  # since the start of the drive
    data: ImageFrame | PointCloud | AudioBlock
    frame: SimulatedFrame | None  # truth at this moment; None for audio


def simulate_sequence(
    scenario: Scenario,
    seed: int,
    duration_s: float,
    *,
    start_ns: int = 1_000_000_000_000,
    rate_hz: float = 10.0,
) -> Iterator[SensorSample]:
    """Yield what the sensors deliver, ordered by stamp.

    Cameras and LiDARs deliver at `rate_hz`, cameras half a LiDAR period after them; audio comes
    in blocks of 100 ms stamped with their first sample. Outages of the scenario are left out.

    Args:
        scenario: What kind of drive.
        seed: Fixes every number together with the scenario.
        duration_s: Length of the drive.
        start_ns: Stamp of its start.
        rate_hz: Rate of cameras and LiDARs.
    """
    world = World(scenario, seed)
    blocks: Sequence[AudioBlock] = ()
    if "audio" in scenario.sensors:
        sound = generate_audio(scenario, seed, duration_s, start_ns=start_ns, world=world)
        blocks = sound.blocks()
    lidars = {item.name for item in (scenario.lidar, *scenario.more_lidars)}
    times = [
        (index / rate_hz + (0.0 if sensor in lidars else 0.5 / rate_hz), sensor)
        for sensor in scenario.sources
        for index in range(int(duration_s * rate_hz + 1e-9))
    ]
    plan: list[tuple[int, str, float, AudioBlock | None]] = [
        (start_ns + round(t * 1e9), sensor, t, None) for t, sensor in times
    ]
    plan += [(b.stamp_ns, "audio", (b.stamp_ns - start_ns) * 1e-9, b) for b in blocks]
    for stamp_ns, sensor, t_s, block in sorted(plan, key=lambda item: (item[0], item[1])):
        if any(o.sensor == sensor and o.start_s <= t_s < o.end_s for o in scenario.outages):
            continue
        if block is not None:
            yield SensorSample(sensor=sensor, stamp_ns=stamp_ns, t_s=t_s, data=block, frame=None)
            continue
        only = with_one_sensor(scenario, sensor)
        frame = generate_frame(only, seed, t_s, start_ns=start_ns, world=world)
        data = frame.cloud if sensor in lidars else frame.image
        if data is not None:
            yield SensorSample(sensor=sensor, stamp_ns=stamp_ns, t_s=t_s, data=data, frame=frame)
