"""Simulated drives through the vehicle's encoders and fusion, with what is true at every view.

Single frames say nothing of what lasts: which object is which, and where a siren comes from. Each
drive is rendered and encoded once and then fused in several ways, in lock step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_perception.core.types import AudioBlock, Feature, FusedView, Geometry, Instant
from edge_perception.evaluation.frames import LEAST_HITS, is_shown
from edge_perception.evaluation.rig import Rig
from edge_perception.fusion.config import NS
from edge_perception.fusion.fusion import Fusion
from edge_perception.fusion.motion import Pose
from edge_perception.simulation.audio import SimulatedAudio
from edge_perception.simulation.camera import pinhole_of
from edge_perception.simulation.generate import (
    SensorSample,
    generate_audio,
    lidar_pose,
    simulate_sequence,
)
from edge_perception.simulation.scenario import (
    DIRECTIONS,
    SIRENS,
    Emergency,
    Scenario,
    random_scenario,
)
from edge_perception.simulation.seeding import stream
from edge_perception.simulation.world import World

FIRST_DRIVE = 3_000_000  # seeds that neither training nor single frames look at
SECONDS = 8.0
START_NS = 1_000_000_000_000
_RATE_HZ, _ODOMETRY_HZ, _BLOCK_S = 10.0, 50.0, 0.1
_DELAY_NS = NS // 50  # from acquisition to the feature
_LOST_S = (3.0, 5.0)  # in which a sensor is lost
_QUIET = 1e-3  # of what is left of a sound in a pause
WAYS: Mapping[str, tuple[str, bool]] = {  # sensor that is lost for a while, with the fusion model
    "feature level": ("", True),
    "decision level": ("", False),
    "LiDAR lost for 2 s": ("lidar", True),
    "camera lost for 2 s": ("camera", True),
}


@dataclass(frozen=True, kw_only=True)
class TrueObject:
    """One road user at the stamp of a view."""

    actor_id: int
    class_name: str
    center_m: tuple[float, float]
    velocity_mps: tuple[float, float]
    seen: bool  # by LiDAR or camera at about that moment
    emergency: bool


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A fused view and what is true at its stamp."""

    view: FusedView
    truth: tuple[TrueObject, ...]
    sounding: bool  # whether the siren of the drive could be heard


@dataclass(frozen=True, kw_only=True)
class EncodedDrive:
    """A drive as its encoders tell it."""

    seed: int
    world: World
    features: tuple[Feature, ...]  # in the order of their arrival
    seen: tuple[tuple[int, frozenset[int]], ...]  # stamp of a frame, who could be seen in it
    pauses_s: tuple[tuple[float, float], ...]


def drive_scenario(seed: int) -> tuple[Scenario, tuple[tuple[float, float], ...]]:
    """Return what kind of drive a seed is, and when its siren pauses.

    Two of three have an emergency vehicle, from every side, among other traffic; every third of
    their sirens comes and goes.
    """
    rng = stream(seed, "drive")
    scenario = random_scenario(seed)
    emergency = None
    if seed % 3:
        emergency = Emergency(
            direction=str(rng.choice(DIRECTIONS)),
            siren=str(rng.choice(SIRENS)),
            distance_m=float(rng.uniform(12.0, 45.0)),
            speed_mps=float(rng.uniform(2.0, 14.0)),
        )
    pauses = ((2.5, 3.5), (5.0, 6.0)) if rng.random() < 1 / 3 else ()
    return replace(scenario, name=f"drive_{seed}", emergency=emergency), pauses


def encode_drive(rig: Rig, seed: int, seconds: float = SECONDS) -> EncodedDrive:
    """Render a drive and encode it."""
    scenario, pauses = drive_scenario(seed)
    world = World(scenario, seed)
    features, seen = [], []
    moving = replace(scenario, sensors=("camera", "lidar"))
    for sample in simulate_sequence(moving, seed, seconds, start_ns=START_NS):
        features.append(rig.feature(sample.sensor, sample.data, _geometry(sample, scenario)))
        seen.append((sample.stamp_ns, _seen(sample)))
    sound = generate_audio(scenario, seed, seconds, start_ns=START_NS, world=world)
    blocks = [_paused(block, sound, pauses) for block in sound.blocks(_BLOCK_S)]
    microphones = Geometry(microphones_m=np.array(scenario.microphones.positions_m))
    features += rig.listen(blocks, microphones)
    features.sort(key=lambda item: (item.stamp_ns, item.source))
    return EncodedDrive(
        seed=seed, world=world, features=tuple(features), seen=tuple(seen), pauses_s=pauses
    )


def fuse_drive(rig: Rig, drive: EncodedDrive, way: str) -> list[Moment]:
    """Fuse a drive in one of the WAYS."""
    lost, with_model = WAYS[way]
    fusion = Fusion(
        config=rig.config, now=_instant(START_NS), models=(rig.fusion_model,) if with_model else ()
    )
    for pose in _poses(drive.world, drive.features[-1].stamp_ns):
        fusion.add_odometry(pose)
    views = []
    for feature in drive.features:
        t_s = (feature.stamp_ns - START_NS) / NS
        if feature.source == lost and _LOST_S[0] <= t_s < _LOST_S[1]:
            continue
        at_ns = feature.stamp_ns + _DELAY_NS
        views += _until(fusion, at_ns)
        fusion.offer(feature, _instant(at_ns))
        views += _due(fusion, at_ns)
    return [_moment(drive, view) for view in views if view.oldest_stamp_ns]


def _until(fusion: Fusion, at_ns: int) -> Iterator[FusedView]:
    """Yield what is due before a moment."""
    last_ns = 0
    while (due_ns := fusion.next_deadline_ns()) is not None and last_ns < due_ns < at_ns:
        yield from _due(fusion, due_ns)
        last_ns = due_ns


def _due(fusion: Fusion, at_ns: int) -> Iterator[FusedView]:
    while (view := fusion.poll(_instant(at_ns))) is not None:
        yield view


def _instant(at_ns: int) -> Instant:
    return Instant(node_ns=at_ns, steady_ns=at_ns)


def _geometry(sample: SensorSample, scenario: Scenario) -> Geometry:
    if sample.sensor == "lidar":
        return Geometry(T_base_sensor=lidar_pose(scenario))
    pinhole = pinhole_of(scenario.camera)
    return Geometry(
        T_base_sensor=pinhole.T_base_camera,
        intrinsics=pinhole.intrinsics,
        image_size=(pinhole.width, pinhole.height),
    )


def _seen(sample: SensorSample) -> frozenset[int]:
    objects = () if sample.frame is None else sample.frame.objects
    return frozenset(
        item.actor_id for item in objects if item.lidar_hits >= LEAST_HITS or is_shown(item)
    )


def _paused(
    block: AudioBlock, sound: SimulatedAudio, pauses: Sequence[tuple[float, float]]
) -> AudioBlock:
    t_s = (block.stamp_ns - sound.start_ns) / NS
    if not any(start <= t_s < end for start, end in pauses):
        return block
    return replace(block, samples=block.samples * np.float32(_QUIET))


def _poses(world: World, end_ns: int) -> Iterator[Pose]:
    for step in range(math.ceil((end_ns - START_NS) / NS * _ODOMETRY_HZ) + 2):
        t_s = step / _ODOMETRY_HZ
        x, y, yaw = world.ego_position(t_s)
        yield Pose(
            stamp_ns=START_NS + round(t_s * NS),
            position_m=(x, y, 0.0),
            orientation=(0.0, 0.0, math.sin(0.5 * yaw), math.cos(0.5 * yaw)),
        )


def _moment(drive: EncodedDrive, view: FusedView) -> Moment:
    t_s = (view.stamp_ns - START_NS) / NS
    near = [who for stamp_ns, who in drive.seen if abs(stamp_ns - view.stamp_ns) < 0.06 * NS]
    seen: frozenset[int] = frozenset().union(*near)
    truth = tuple(
        TrueObject(
            actor_id=state.actor_id,
            class_name=state.box.class_name,
            center_m=state.box.center_m[:2],
            velocity_mps=state.box.velocity_mps[:2],
            seen=state.actor_id in seen,
            emergency=state.emergency,
        )
        for state in drive.world.at(t_s).actors
    )
    sounding = any(item.emergency for item in truth) and not any(
        start <= t_s < end for start, end in drive.pauses_s
    )
    return Moment(view=view, truth=truth, sounding=sounding)
