"""A simulated drive as a recording: any scenario of the library or of a file."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge_perception.fusion.odometry_watch import Pose
from edge_perception.samples.build import (
    AUDIO,
    IMAGE,
    INFO,
    POINTS,
    BuildOptions,
    Gap,
    build_recording,
    topic_of,
)
from edge_perception.samples.scene import Scene
from edge_perception.samples.simulated import ego_pose, paired_frames, scene_of
from edge_perception.samples.truth import GroundTruth
from edge_perception.simulation.audio import SimulatedAudio, generate_audio
from edge_perception.simulation.generate import SensorSample, SimulatedFrame, simulate_sequence
from edge_perception.simulation.scenario import SENSORS, Scenario
from edge_perception.simulation.world import World

TRUTH = "simulation.json"  # attachment with everything the simulator knows
RATE_HZ, ODOMETRY_HZ = 10.0, 50.0
_BEARING_STEP = 5  # one bearing of a sound in 0.1 s


@dataclass(frozen=True, kw_only=True)
class Drive:
    """A scenario driven once."""

    scenario: Scenario
    seed: int
    duration_s: float
    scene: Scene
    sweeps: tuple[SensorSample, ...]
    images: tuple[SensorSample, ...]
    sound: SimulatedAudio


def steps_of(duration_s: float, scenario: Scenario) -> int:
    """Return how many samples `simulate_drive` makes for a duration."""
    rig = replace(scenario, sensors=SENSORS, outages=()).sources
    return len(rig) * (round(duration_s * RATE_HZ) + 1)


def simulate_drive(
    scenario: Scenario, seed: int, duration_s: float, *, progress: Callable[[int], None]
) -> Drive:
    """Render a drive; what a sensor of the scenario misses is left out when it is written.

    Args:
        scenario: what kind of drive.
        seed: fixes every number together with the scenario.
        duration_s: length.
        progress: is told how many of `steps_of` samples are done.
    """
    seen = replace(scenario, sensors=SENSORS, outages=())
    by_sensor: dict[str, list[SensorSample]] = defaultdict(list)
    moving = replace(seen, sensors=("camera", "lidar"))
    length_s = duration_s + 1 / RATE_HZ
    for count, sample in enumerate(simulate_sequence(moving, seed, length_s), 1):
        by_sensor[sample.sensor].append(sample)
        progress(count)
    world = World(seen, seed)
    sound = generate_audio(seen, seed, duration_s, world=world)
    scene = scene_of(
        by_sensor,
        sound,
        origin=f"simulated drive: scenario {scenario.name}, seed {seed}",
        sequences=(tuple(paired_frames(by_sensor, f"{scenario.name}_{seed}", world)),),
        start_ns=by_sensor["lidar"][1].stamp_ns,
        clip_name=f"{scenario.name}_{seed}",
        microphones_m=scenario.microphones.positions_m,
        poses=_poses(world, by_sensor["lidar"][0], length_s),
    )
    return Drive(
        scenario=scenario, seed=seed, duration_s=duration_s, scene=scene,
        sweeps=tuple(by_sensor["lidar"][1:]), images=tuple(by_sensor["camera"][:-1]), sound=sound,
    )  # fmt: skip


def _poses(world: World, sample: SensorSample, duration_s: float) -> tuple[Pose, ...]:
    """Return the odometry of the drive that a sample belongs to."""
    start_ns = sample.stamp_ns - round(sample.t_s * 1e9)
    poses = []
    for step in range(round(duration_s * ODOMETRY_HZ) + 1):
        t_s = step / ODOMETRY_HZ
        x, y, z, qx, qy, qz, qw = ego_pose(world, t_s)
        stamp_ns = start_ns + round(t_s * 1e9)
        turn = (qx, qy, qz, qw)
        poses.append(Pose(stamp_ns=stamp_ns, position_m=(x, y, z), orientation=turn))
    return tuple(poses)


def write_drive(drive: Drive, path: Path) -> GroundTruth:
    """Write the recording with its ground truth inside and its calibration beside it."""
    options = BuildOptions(duration_s=drive.duration_s, period_s=1 / RATE_HZ, gaps=gaps(drive))
    content = json.dumps(simulation_truth(drive)).encode()
    return build_recording(drive.scene, path, options, attachments={TRUTH: content})


def gaps(drive: Drive) -> tuple[Gap, ...]:
    """Return when sensors deliver nothing: outages, and sensors the scenario does not have."""
    scenario = drive.scenario
    found = [
        Gap(topics=_topics(outage.sensor), start_s=outage.start_s, end_s=outage.end_s)
        for outage in scenario.outages
    ]
    there = {*scenario.sources, *scenario.sensors}
    rig = replace(scenario, sensors=SENSORS, outages=()).sources
    absent = [name for name in (*rig, "audio") if name not in there]
    found += [Gap(topics=_topics(name), start_s=-1.0, end_s=float("inf")) for name in absent]
    return tuple(found)


def _topics(source: str) -> tuple[str, ...]:
    if source == "audio":
        return (AUDIO,)
    names = (IMAGE, INFO) if source.startswith("camera") else (POINTS,)
    return tuple(topic_of(name, source) for name in names)


def simulation_truth(drive: Drive) -> dict[str, Any]:
    """Return the truth of every sweep, and of the sounds, as plain data.

    Positions in the base frame of their moment, m; velocities over ground, m/s; bearings about
    +z of the base frame, rad, 0 ahead; times in s since the start of the recording.
    """
    start_ns = drive.scene.start_ns
    return {
        "scenario": asdict(drive.scenario),
        "seed": drive.seed,
        "frames": [
            {
                "stamp_ns": sweep.stamp_ns,
                "ego_velocity_mps": list(sweep.frame.ego_velocity_mps),
                "objects": _objects(sweep.frame, image.frame),
            }
            for sweep, image in zip(drive.sweeps, drive.images, strict=True)
            if sweep.frame is not None and image.frame is not None
        ],
        "sounds": [
            {
                "class_name": track.class_name,
                "spans_s": [list(span) for span in track.spans_s],
                "time_s": track.time_s[::_BEARING_STEP].round(3).tolist(),
                "bearing_rad": track.bearing_rad[::_BEARING_STEP].round(4).tolist(),
                "distance_m": track.distance_m[::_BEARING_STEP].round(2).tolist(),
            }
            for track in drive.sound.tracks
        ],
        "start_ns": start_ns,
    }


def _objects(swept: SimulatedFrame, shown: SimulatedFrame) -> list[dict[str, Any]]:
    """Return the road users of a sweep, with how much the image before it shows of each."""
    visible = {item.actor_id: item.visibility for item in shown.objects}
    return [
        {
            "id": item.actor_id,
            "class_name": item.box.class_name,
            "center_m": [round(float(v), 3) for v in item.box.center_m],
            "size_m": [round(float(v), 3) for v in item.box.size_m],
            "yaw_rad": round(float(item.box.yaw_rad), 4),
            "velocity_mps": [round(float(v), 3) for v in item.box.velocity_mps],
            "lidar_returns": item.lidar_hits,
            "camera": None if (seen := visible.get(item.actor_id)) is None else asdict(seen),
            "emergency": item.emergency,
        }
        for item in swept.objects
    ]
